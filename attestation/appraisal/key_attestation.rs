//! Key attestations, from a document to belief.

use crate::certificate::{CertificateRefused, StoredCertificate, TpmClass, VerifiedEndorsement};
use crate::certified::{CertificationRefused, CertifiedKey, RawCertification};
use crate::key::{AttestationKey, KeyRefused};
use crate::roots::Roots;
use crate::signature::SignatureVerifier;
use attest_evidence::UnixSeconds;
use attest_evidence::key_attestation::KeyAttestation;
use attest_evidence::report::{Explain, Fault, Report};

/// A key that was made in a TPM for which a broker has vouched, and can't leave it.
///
/// Its one constructor is [`VerifiedKeyAttestation::verify`].
#[derive(Debug, Clone)]
pub struct VerifiedKeyAttestation {
    key: CertifiedKey,
    leased: bool,
    subject: Vec<String>,
}

/// Why a key attestation is not believed. The first thing wrong, in the order of the checks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyAttestationRefused {
    /// It is of another form.
    #[error("it is of form `{0}`, and `{wanted}` is known here", wanted = KeyAttestation::SCHEMA)]
    Schema(String),
    /// The attestation key is none that may attest.
    #[error(transparent)]
    AttestationKey(#[from] KeyRefused),
    /// The broker has not vouched for the attestation key.
    #[error("the attestation key's certificate is not believed: {0}")]
    Certificate(#[from] CertificateRefused),
    /// The certificate is another key's.
    #[error("the certificate is for another attestation key")]
    OtherKey,
    /// The attestation key has not vouched for the key, or for one of this kind.
    #[error(transparent)]
    Certification(#[from] CertificationRefused),
}

impl VerifiedKeyAttestation {
    /// Verifies `attestation` at `now`. `authority` is the certificate of the broker's authority for attestation keys, which
    /// whoever asks has from somewhere else; what stands in the document itself vouches for nothing.
    ///
    /// # Errors
    /// See [`KeyAttestationRefused`].
    pub fn verify(
        attestation: &KeyAttestation,
        authority: &[u8],
        now: UnixSeconds,
        verifier: &dyn SignatureVerifier,
    ) -> Result<Self, KeyAttestationRefused> {
        if attestation.schema != KeyAttestation::SCHEMA {
            return Err(KeyAttestationRefused::Schema(attestation.schema.clone()));
        }
        let ak = AttestationKey::check(&attestation.ak)?;
        let mut roots = Roots::default();
        for trusted in StoredCertificate::read(authority)? {
            // What its TPMs are is not this authority's to say: the certificate's subject does.
            roots.add_root(TpmClass::Software, trusted.der)?;
        }
        let chain = StoredCertificate::read(attestation.ak_certificate.as_bytes())?;
        let leaf = chain.first().ok_or_else(|| CertificateRefused::Malformed("there is none".to_owned()))?;
        let endorsement = VerifiedEndorsement::verify_ak(&leaf.der, &roots, now)?;
        if !endorsement.is_for(ak.key()) {
            return Err(KeyAttestationRefused::OtherKey);
        }
        let raw = RawCertification {
            public: &attestation.public,
            message: &attestation.certification,
            signature: &attestation.signature,
        };
        let key = CertifiedKey::verify(raw, &ak, verifier)?;
        let policy = attestation.policy();
        if let Some(policy) = &policy {
            key.obeys(policy)?;
        }
        Ok(Self { key, leased: policy.is_some(), subject: endorsement.chain().to_vec() })
    }

    /// The key.
    pub const fn key(&self) -> &CertifiedKey {
        &self.key
    }

    /// Whether its TPM uses it only while its broker has signed for it.
    pub const fn is_leased(&self) -> bool {
        self.leased
    }

    /// Whose certificates vouch for it, from the runner's to the broker's authority, for people.
    pub fn chain(&self) -> &[String] {
        &self.subject
    }
}

impl Explain for KeyAttestationRefused {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Identity, self.to_string());
        match self {
            Self::Schema(_) => report("AR-K311"),
            Self::AttestationKey(refused) => refused.report(),
            Self::Certificate(CertificateRefused::UnknownIssuer { .. }) => report("AR-K313").hint(
                "`--authority` takes what `attest-broker authority` prints at the broker that the runner has enrolled with",
            ),
            Self::Certificate(refused) => Report { what: self.to_string(), ..refused.report() },
            Self::OtherKey => report("AR-K312"),
            Self::Certification(refused) => refused.report(),
        }
    }
}
