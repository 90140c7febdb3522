//! Why a TPM is believed at enrolment.

use crate::certificate::{CertificateRefused, TpmClass, VerifiedEndorsement};
use crate::key::AttestationKey;
use crate::roots::Roots;
use attest_evidence::exchange::Endorsement;
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::time::UnixSeconds;
use attest_evidence::tpm::Public;
use attest_evidence::{Malformed, Sha256Digest};

/// An endorsement that was checked, as far as it goes without the TPM's own proof.
#[derive(Debug, Clone)]
pub struct ProvenEndorsement {
    /// What the TPM is: [`TpmClass::Software`] where nobody vouches for it.
    pub class: TpmClass,
    /// Digest that stands for the endorsement key, or for the certified attestation key: one TPM, one value.
    pub identity: Sha256Digest,
    /// The key to activate against; `None` where a certificate vouches for the attestation key itself.
    pub ek: Option<Public>,
    /// Whether somebody vouches for it. If not, an admin has to.
    pub certified: bool,
}

/// Why an endorsement is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndorsementRefused {
    /// The EK's public area is not of its form.
    #[error("the endorsement key's public area can't be used: {0}")]
    Malformed(#[from] Malformed),
    /// The certificate is not believed.
    #[error(transparent)]
    Certificate(#[from] CertificateRefused),
    /// The certificate is another key's.
    #[error("the certificate is not for the {0} that came with it")]
    OtherKey(&'static str),
}

impl ProvenEndorsement {
    /// Checks an endorsement for the attestation key `ak`.
    ///
    /// # Errors
    /// See [`EndorsementRefused`].
    pub fn check(
        endorsement: &Endorsement,
        ak: &AttestationKey,
        roots: &Roots,
        now: UnixSeconds,
    ) -> Result<Self, EndorsementRefused> {
        match endorsement {
            Endorsement::EkCertificate { certificate, ek } => {
                let verified = VerifiedEndorsement::verify_ek(certificate, roots, now)?;
                let public = Public::parse(ek)?;
                if !verified.is_for(&public.key) {
                    return Err(EndorsementRefused::OtherKey("endorsement key"));
                }
                Ok(Self { class: verified.class(), identity: Sha256Digest::of(ek), ek: Some(public), certified: true })
            }
            Endorsement::EkPublic { ek } => {
                let public = Public::parse(ek)?;
                let identity = Sha256Digest::of(ek);
                Ok(Self { class: TpmClass::Software, identity, ek: Some(public), certified: false })
            }
            Endorsement::AkCertificate { certificate } => {
                let verified = VerifiedEndorsement::verify_ak(certificate, roots, now)?;
                if !verified.is_for(ak.key()) {
                    return Err(EndorsementRefused::OtherKey("attestation key"));
                }
                let identity = Sha256Digest::of(ak.bytes());
                Ok(Self { class: verified.class(), identity, ek: None, certified: true })
            }
        }
    }
}

impl Explain for EndorsementRefused {
    fn report(&self) -> Report {
        match self {
            Self::Malformed(malformed) => Report::new("AR-E407", Fault::Identity, self.to_string())
                .fact("structure", malformed.structure)
                .fact("byte", malformed.offset),
            Self::Certificate(refused) => refused.report(),
            Self::OtherKey(_) => Report::new("AR-E408", Fault::Identity, self.to_string()),
        }
    }
}
