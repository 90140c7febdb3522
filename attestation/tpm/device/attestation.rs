//! The attestation key, activation and quotes.

use super::Device;
use super::endorsement::NV_FIRST;
use crate::error::TpmError;
use attest_evidence::tpm::{Attest, Attested, Credential, PcrIndex, PcrSelection, PcrValues, TpmName};
use attest_evidence::{SecretBytes, Sha256Digest};
use tss_esapi::Context;
use tss_esapi::abstraction::{AsymmetricAlgorithmSelection, KeyCustomization, ak, pcr};
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{AuthHandle, KeyHandle, PcrHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, SignatureSchemeAlgorithm};
use tss_esapi::interface_types::dynamic_handles::Persistent;
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::{Hierarchy, Provision};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{
    Auth, Data, Digest as TpmDigest, DigestValues, EncryptedSecret, IdObject, PcrSelectionList, PcrSlot, Public,
    SignatureScheme,
};
use tss_esapi::traits::{Marshall as _, UnMarshall as _};

/// An attestation key as its owner remembers it.
#[derive(Debug)]
pub struct AttestationKey {
    /// `TPMT_PUBLIC`.
    pub public: Vec<u8>,
    /// What it takes to use it.
    pub credentials: Credentials,
}

/// What it takes to use an attestation key that lies in the TPM.
#[derive(Debug)]
pub struct Credentials {
    /// Where it lies.
    pub handle: u32,
    /// Its Name.
    pub name: TpmName,
    /// The Name of the EK that it was made under: whoever salts sessions must salt with this one.
    pub ek: TpmName,
    /// Its authorization value.
    pub auth: SecretBytes,
}

impl Credentials {
    /// The same credentials once more, authorization value included, for another owner.
    pub fn duplicate(&self) -> Self {
        let auth = SecretBytes::new(self.auth.expose(<[u8]>::to_vec));
        Self { handle: self.handle, name: self.name.clone(), ek: self.ek.clone(), auth }
    }
}

/// A quote and the values that it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuoteOutput {
    /// `TPMS_ATTEST`.
    pub message: Vec<u8>,
    /// `TPMT_SIGNATURE`.
    pub signature: Vec<u8>,
    /// The values of the selected PCRs at that moment: their digest is the one in the message.
    pub pcrs: PcrValues,
}

pub(super) struct Loaded {
    handle: KeyHandle,
    credentials: Credentials,
}

/// Our attestation keys, one per runner identity on this machine, within the owner's persistent range
/// (TCG Registry of Reserved TPM 2.0 Handles §2.3).
const FIRST_HANDLE: u32 = 0x8101_a700;
const HANDLES: u32 = 16;
/// Where Google's virtual TPMs have certificates of attestation keys, and the templates that the keys are made from
/// in the endorsement hierarchy: P-256, then RSA-2048 (Compute Engine, `instances.getShieldedInstanceIdentity`).
const GOOGLE: [(u32, u32); 2] = [(0x01c1_0002, 0x01c1_0003), (0x01c1_0000, 0x01c1_0001)];
/// Where Azure's have the certificate, and the key itself (Azure, guest attestation for trusted launch).
const AZURE: (u32, u32) = (0x01c1_01d0, 0x8100_0003);
/// Quotes in a row whose PCRs changed between reading and quoting.
const MOST_RACES: u32 = 5;

/// Exempt from dictionary-attack protection: an unclean stop must not lock anything out.
struct NoDictionaryAttack;

impl KeyCustomization for &NoDictionaryAttack {
    fn attributes(&self, attributes: ObjectAttributesBuilder) -> ObjectAttributesBuilder {
        attributes.with_no_da(true)
    }
}

impl Device {
    /// The attestation key for which the maker of a virtual machine put a certificate into its TPM, ready to be used:
    /// `None` in any other TPM. It has no authorization value: the template, or the key itself, is the maker's.
    ///
    /// # Errors
    /// Whatever the TPM reports.
    pub fn certified_attestation_key(&mut self) -> Result<Option<(AttestationKey, Vec<u8>)>, TpmError> {
        let defined = self.handles_from(NV_FIRST)?;
        let has = |index: &u32| defined.contains(index);
        if let Some((certificate, template)) =
            GOOGLE.into_iter().find(|(certificate, template)| has(certificate) && has(template))
        {
            let (certificate, template) = (self.read_nv(certificate)?, self.read_nv(template)?);
            let template = Public::unmarshall(&template).map_err(|error| self.error("AK template", error))?;
            let created = self.guarded("TPM2_CreatePrimary", |context| {
                context.create_primary(Hierarchy::Endorsement, template, None, None, None, None)
            })?;
            let key = self.keep(created.key_handle, &created.out_public)?;
            return Ok(Some((key, certificate)));
        }
        let (certificate, handle) = AZURE;
        if has(&certificate)
            && let Some((object, name)) = self.persistent(handle)?
        {
            let (public, _, _) = self.plain("TPM2_ReadPublic", |context| context.read_public(object))?;
            let ek = self.load_endorsement_key()?;
            self.flush(ek.handle.into());
            let credentials = Credentials { handle, name, ek: ek.name(), auth: SecretBytes::new(Vec::new()) };
            let key = AttestationKey { public: self.marshal(&public)?, credentials };
            return Ok(Some((key, self.read_nv(certificate)?)));
        }
        Ok(None)
    }

    /// Leaves a transient key without authorization value in the TPM.
    fn keep(&mut self, transient: KeyHandle, public: &Public) -> Result<AttestationKey, TpmError> {
        let kept = self.with_transient(transient, |device, transient| {
            let handle = device.free_handle()?;
            device.make_persistent(transient, handle)?;
            Ok(handle)
        });
        let handle = kept?;
        let public = self.marshal(public)?;
        let ek = self.load_endorsement_key()?;
        self.flush(ek.handle.into());
        let name = TpmName::of(&public);
        let credentials = Credentials { handle, name, ek: ek.name(), auth: SecretBytes::new(Vec::new()) };
        Ok(AttestationKey { public, credentials })
    }

    /// A handle for an attestation key that no key has.
    fn free_handle(&mut self) -> Result<u32, TpmError> {
        let used = self.handles_from(FIRST_HANDLE)?;
        (FIRST_HANDLE..FIRST_HANDLE + HANDLES).find(|handle| !used.contains(handle)).ok_or_else(|| TpmError::Command {
            command: "TPM2_EvictControl",
            reason: format!("all {HANDLES} handles from {FIRST_HANDLE:#x} are taken: retire runners of this machine"),
        })
    }

    fn make_persistent(&mut self, transient: KeyHandle, handle: u32) -> Result<(), TpmError> {
        let persistent = Persistent::Persistent(self.persistent_handle(handle)?);
        self.guarded("TPM2_EvictControl", |context| {
            context.evict_control(Provision::Owner, transient.into(), persistent).map(drop)
        })
    }

    /// Makes an attestation key under the EK, with an authorization value of its own, and leaves it in the
    /// TPM: P-256, ECDSA with SHA-256, restricted, fixed to this TPM.
    ///
    /// # Errors
    /// Whatever the TPM reports; that all handles for attestation keys are taken.
    pub fn create_attestation_key(&mut self) -> Result<AttestationKey, TpmError> {
        let handle = self.free_handle()?;
        let auth = SecretBytes::random(32).map_err(|_| TpmError::Entropy)?;
        let tss_auth = self.auth(&auth)?;
        let ek = self.load_endorsement_key()?;
        let ek_name = ek.name();
        let created = ak::create_ak_2(
            &mut self.context,
            ek.handle,
            HashingAlgorithm::Sha256,
            AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256),
            SignatureSchemeAlgorithm::EcDsa,
            Some(tss_auth.clone()),
            &NoDictionaryAttack,
        );
        let loaded = created.and_then(|created| {
            let public = created.out_public.clone();
            ak::load_ak(&mut self.context, ek.handle, Some(tss_auth), created.out_private, created.out_public)
                .map(|handle| (handle, public))
        });
        self.flush(ek.handle.into());
        let (transient, public) = loaded.map_err(|error| self.error("TPM2_Create", error))?;
        self.with_transient(transient, |device, transient| device.make_persistent(transient, handle))?;
        let public = self.marshal(&public)?;
        let name = TpmName::of(&public);
        Ok(AttestationKey { public, credentials: Credentials { handle, name, ek: ek_name, auth } })
    }

    /// Takes an attestation key out of the TPM. One that is not there, or that the machine's maker put there, is no
    /// error.
    ///
    /// # Errors
    /// Whatever the TPM reports; [`TpmError::AttestationKeyChanged`] if another key lies there.
    pub fn remove_attestation_key(&mut self, credentials: &Credentials) -> Result<(), TpmError> {
        if !(FIRST_HANDLE..FIRST_HANDLE + HANDLES).contains(&credentials.handle) {
            return Ok(());
        }
        let Some((object, found)) = self.persistent(credentials.handle)? else { return Ok(()) };
        if found != credentials.name {
            let (handle, wanted) = (credentials.handle, credentials.name.clone());
            return Err(TpmError::AttestationKeyChanged { handle, wanted, found });
        }
        let persistent = Persistent::Persistent(self.persistent_handle(credentials.handle)?);
        self.attestation_key = None;
        self.guarded("TPM2_EvictControl", |context| {
            context.evict_control(Provision::Owner, object.into(), persistent).map(drop)
        })
    }

    /// Makes ready to quote with an attestation key that lies in the TPM.
    ///
    /// # Errors
    /// [`TpmError::AttestationKeyMissing`] or [`TpmError::AttestationKeyChanged`] if the TPM is not the one it
    /// was made in, or has been cleared.
    pub fn use_attestation_key(&mut self, credentials: &Credentials) -> Result<(), TpmError> {
        let handle = credentials.handle;
        let Some((object, found)) = self.persistent(handle)? else {
            return Err(TpmError::AttestationKeyMissing { handle });
        };
        if found != credentials.name {
            return Err(TpmError::AttestationKeyChanged { handle, wanted: credentials.name.clone(), found });
        }
        // The session was salted with whatever EK the TPM showed. It has to be the one that was checked against its
        // certificate at enrolment, or an interposer may have shown its own.
        if let Some(found) = self.salted_with.as_ref().filter(|found| **found != credentials.ek) {
            return Err(TpmError::OtherEndorsementKey { wanted: credentials.ek.clone(), found: found.clone() });
        }
        let auth = self.auth(&credentials.auth)?;
        self.plain("authorization value", |context| context.tr_set_auth(object.into(), auth))?;
        self.attestation_key = Some(Loaded { handle: object, credentials: credentials.duplicate() });
        Ok(())
    }

    /// `TPM2_ActivateCredential`: the secret in `credential`, if this TPM holds both the EK that it was
    /// encrypted to and the attestation key that it names.
    ///
    /// # Errors
    /// Whatever the TPM reports: a credential for another key fails its integrity check.
    pub fn activate(&mut self, credential: &Credential) -> Result<SecretBytes, TpmError> {
        let ak = self.attestation_key()?;
        let id_object =
            IdObject::try_from(credential.id_object.clone()).map_err(|error| self.error("TPM2B_ID_OBJECT", error))?;
        let secret = EncryptedSecret::try_from(credential.encrypted_secret.clone())
            .map_err(|error| self.error("TPM2B_ENCRYPTED_SECRET", error))?;
        let ek = self.load_endorsement_key()?;
        let digest = self.with_transient(ek.handle, |device, ek| {
            device.with_policy_session(SessionType::Policy, |device, session, policy| {
                device.guarded("TPM2_PolicySecret", |context| {
                    let (nonce, cp_hash, reference) = Default::default();
                    context.policy_secret(policy, AuthHandle::Endorsement, nonce, cp_hash, reference, None).map(drop)
                })?;
                device.guarded_twice("TPM2_ActivateCredential", (device.guard(), session), |context| {
                    context.activate_credential(ak, ek, id_object, secret)
                })
            })
        })?;
        Ok(SecretBytes::new(digest.value().to_vec()))
    }

    /// Quotes the selected PCRs of the SHA-256 bank with `qualifying_data`, and tells their values.
    ///
    /// One command, as long as the PCRs are what they were at the last quote.
    ///
    /// # Errors
    /// Whatever the TPM reports; [`TpmError::NotEnrolled`] without an attestation key.
    pub fn quote(&mut self, selection: PcrSelection, qualifying_data: &Sha256Digest) -> Result<QuoteOutput, TpmError> {
        let ak = self.attestation_key()?;
        let list = self.selection_list(selection)?;
        for _ in 0..MOST_RACES {
            let data = Data::try_from(qualifying_data.as_bytes().as_slice())
                .map_err(|error| self.error("TPM2B_DATA", error))?;
            let (attest, signature) =
                self.guarded("TPM2_Quote", |context| context.quote(ak, data, SignatureScheme::Null, list.clone()))?;
            let message = attest.marshall().map_err(|error| self.error("TPMS_ATTEST", error))?;
            let signature = signature.marshall().map_err(|error| self.error("TPMT_SIGNATURE", error))?;
            for attempt in 0..2 {
                if attempt == 1 || self.pcrs.as_ref().is_none_or(|pcrs| pcrs.selection() != selection) {
                    self.pcrs = Some(self.read_pcrs(selection)?);
                }
                if let Some(pcrs) = self.pcrs.as_ref().filter(|pcrs| covers(&message, pcrs)) {
                    return Ok(QuoteOutput { message, signature, pcrs: pcrs.clone() });
                }
            }
        }
        Err(TpmError::PcrsUnstable(MOST_RACES))
    }

    /// The values of the selected PCRs of the SHA-256 bank.
    ///
    /// # Errors
    /// Whatever the TPM reports, and PCRs that the bank doesn't have.
    pub fn read_pcrs(&mut self, selection: PcrSelection) -> Result<PcrValues, TpmError> {
        let list = self.selection_list(selection)?;
        let data = self.plain("TPM2_PCR_Read", |context| pcr::read_all(context, list))?;
        let missing = || TpmError::Command {
            command: "TPM2_PCR_Read",
            reason: format!("the TPM has no value for each of {selection}: is its SHA-256 bank active?"),
        };
        let bank = data.pcr_bank(HashingAlgorithm::Sha256).ok_or_else(missing)?;
        let value = |index: PcrIndex| {
            let digest = bank.get_digest(slot(index)?)?;
            Some((index, <[u8; 32]>::try_from(digest.value()).ok()?))
        };
        let values = selection.indexes().map(value).collect::<Option<Vec<_>>>().ok_or_else(missing)?;
        Ok(PcrValues::new(values))
    }

    /// Extends PCRs of the SHA-256 bank, in this order: for a TPM whose boot nobody else measures.
    ///
    /// # Errors
    /// Whatever the TPM reports.
    pub fn extend_pcrs(&mut self, digests: &[(PcrIndex, Sha256Digest)]) -> Result<(), TpmError> {
        self.pcrs = None;
        for (index, digest) in digests {
            let handle =
                PcrHandle::try_from(u32::from(index.get())).map_err(|error| self.error("TPMI_DH_PCR", error))?;
            let digest =
                TpmDigest::try_from(digest.as_bytes().as_slice()).map_err(|error| self.error("TPM2B_DIGEST", error))?;
            let mut values = DigestValues::new();
            values.set(HashingAlgorithm::Sha256, digest);
            let command = |context: &mut Context| {
                context.execute_with_session(Some(AuthSession::Password), |context| context.pcr_extend(handle, values))
            };
            self.plain("TPM2_PCR_Extend", command)?;
        }
        Ok(())
    }

    /// What it takes to use the present attestation key.
    pub(crate) fn credentials(&self) -> Option<Credentials> {
        self.attestation_key.as_ref().map(|key| key.credentials.duplicate())
    }

    pub(super) fn attestation_key(&self) -> Result<KeyHandle, TpmError> {
        self.attestation_key.as_ref().map(|key| key.handle).ok_or(TpmError::NotEnrolled)
    }

    pub(super) fn selection_list(&self, selection: PcrSelection) -> Result<PcrSelectionList, TpmError> {
        let slots = selection.indexes().filter_map(slot).collect::<Vec<_>>();
        PcrSelectionList::builder()
            .with_selection(HashingAlgorithm::Sha256, &slots)
            .build()
            .map_err(|error| self.error("TPML_PCR_SELECTION", error))
    }

    pub(super) fn auth(&self, auth: &SecretBytes) -> Result<Auth, TpmError> {
        auth.expose(|bytes| Auth::try_from(bytes)).map_err(|error| self.error("TPM2B_AUTH", error))
    }

    /// Sessions for a command whose second handle is the attestation key and whose first has an empty
    /// authorization value.
    pub(super) const fn sessions_with_attestation_key_second(&self) -> (AuthSession, AuthSession) {
        (AuthSession::Password, self.guard())
    }
}

fn slot(index: PcrIndex) -> Option<PcrSlot> {
    PcrSlot::try_from(1u32 << index.get()).ok()
}

fn covers(message: &[u8], pcrs: &PcrValues) -> bool {
    matches!(
        Attest::parse(message),
        Ok(Attest { attested: Attested::Quote(quote), .. }) if quote.pcr_digest == pcrs.digest().as_bytes()
    )
}
