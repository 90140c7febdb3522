//! The endorsement key: what the TPM's maker vouches for.

use super::Device;
use crate::error::TpmError;
use attest_evidence::tpm::TpmName;
use tss_esapi::abstraction::{AsymmetricAlgorithmSelection, ek, nv};
use tss_esapi::handles::{KeyHandle, NvIndexTpmHandle, TpmHandle};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::interface_types::resource_handles::{Hierarchy, NvAuth};

/// An endorsement key as it goes to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsed {
    /// `TPMT_PUBLIC`.
    pub public: Vec<u8>,
    /// Its certificate, DER as it lies in NV, if the maker put one there.
    pub certificate: Option<Vec<u8>>,
}

/// A loaded endorsement key.
pub(super) struct LoadedEk {
    pub(super) handle: KeyHandle,
    pub(super) public: Vec<u8>,
}

/// Where certificates lie (TCG EK Credential Profile §2.2.1.4), the faster key first.
const CERTIFICATES: [(u32, AsymmetricAlgorithmSelection); 2] = [
    (0x01c0_000a, AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256)),
    (0x01c0_0002, AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa2048)),
];
/// `TPM_HT_NV_INDEX` (Part 2 §7.2).
pub(super) const NV_FIRST: u32 = 0x0100_0000;

impl Device {
    /// The endorsement key that has a certificate; where none has, the P-256 key alone.
    ///
    /// # Errors
    /// Whatever the TPM reports.
    pub fn endorsement(&mut self) -> Result<Endorsed, TpmError> {
        let certificate = self.endorsement_certificate()?;
        let ek = self.load_endorsement_key()?;
        self.flush(ek.handle.into());
        Ok(Endorsed { public: ek.public, certificate: certificate.map(|(certificate, _)| certificate) })
    }

    fn endorsement_certificate(&mut self) -> Result<Option<(Vec<u8>, AsymmetricAlgorithmSelection)>, TpmError> {
        let defined = self.handles_from(NV_FIRST)?;
        for (index, algorithm) in CERTIFICATES {
            if defined.contains(&index) {
                return Ok(Some((self.read_nv(index)?, algorithm)));
            }
        }
        Ok(None)
    }

    /// All bytes of an NV index that may be read with an empty authorization.
    ///
    /// # Errors
    /// Whatever the TPM reports.
    pub fn read_nv(&mut self, index: u32) -> Result<Vec<u8>, TpmError> {
        let index = NvIndexTpmHandle::new(index).map_err(|error| self.error("NV index", error))?;
        let object =
            self.plain("TPM2_NV_ReadPublic", |context| context.tr_from_tpm_public(TpmHandle::NvIndex(index)))?;
        let contents =
            self.guarded("TPM2_NV_Read", |context| nv::read_full(context, NvAuth::NvIndex(object.into()), index));
        let mut object = object;
        let _ = self.plain("close", |context| context.tr_close(&mut object));
        contents
    }

    /// Makes the endorsement key anew from its seed: the same key each time. The caller flushes it.
    pub(super) fn load_endorsement_key(&mut self) -> Result<LoadedEk, TpmError> {
        let algorithm = match self.endorsement_certificate()? {
            Some((_, algorithm)) => algorithm,
            None => AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256),
        };
        let template = ek::create_ek_public_from_default_template_2(algorithm, None)
            .map_err(|error| self.error("EK template", error))?;
        let created = self.guarded("TPM2_CreatePrimary", |context| {
            context.create_primary(Hierarchy::Endorsement, template, None, None, None, None)
        })?;
        match self.marshal(&created.out_public) {
            Ok(public) => Ok(LoadedEk { handle: created.key_handle, public }),
            Err(error) => {
                self.flush(created.key_handle.into());
                Err(error)
            }
        }
    }
}

impl LoadedEk {
    pub(super) fn name(&self) -> TpmName {
        TpmName::of(&self.public)
    }
}
