//! Key attestations, from a document to belief.

use crate::certificate::{CertificateRefused, StoredCertificate, TpmClass, VerifiedEndorsement};
use crate::certified::{CertificationRefused, CertifiedKey, RawCertification};
use crate::key::{AttestationKey, KeyRefused};
use crate::roots::Roots;
use crate::signature::SignatureVerifier;
use attest_evidence::UnixSeconds;
use attest_evidence::key_attestation::KeyAttestation;
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::tpm::{TpmName, authority_public};
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::pkcs8::DecodePublicKey as _;
use x509_parser::pem::Pem;

/// Most parts of the file of an authority: it has two.
const MOST_BLOCKS: usize = 8;

/// A key that was made in a TPM for which a broker has vouched, and can't leave it.
///
/// Its one constructor is [`VerifiedKeyAttestation::verify`].
#[derive(Debug, Clone)]
pub struct VerifiedKeyAttestation {
    key: CertifiedKey,
    leased: bool,
    subject: Vec<String>,
}

/// By what a broker is known to whoever verifies keys.
#[derive(Debug, Clone)]
pub struct BrokerAuthority {
    /// The certificate that those of attestation keys lead to, DER.
    certificate: Vec<u8>,
    /// Name of the grant key, as TPMs have it.
    grant_key: TpmName,
}

impl BrokerAuthority {
    /// Reads what `attest-broker authority` prints: a certificate and a public key, PEM.
    ///
    /// # Errors
    /// [`KeyAttestationRefused::Authority`].
    pub fn read(text: &[u8]) -> Result<Self, KeyAttestationRefused> {
        let refused = KeyAttestationRefused::Authority;
        let (mut certificates, mut keys) = (Vec::new(), Vec::new());
        for block in Pem::iter_from_buffer(text).take(MOST_BLOCKS) {
            let block = block.map_err(|_| refused("it is not PEM"))?;
            match block.label.as_str() {
                "CERTIFICATE" => certificates.push(block.contents),
                "PUBLIC KEY" => keys.push(block.contents),
                _ => return Err(refused("it holds something else")),
            }
        }
        let [certificate] = <[_; 1]>::try_from(certificates).map_err(|_| refused("one certificate is wanted"))?;
        let [key] = <[_; 1]>::try_from(keys).map_err(|_| refused("one public key is wanted"))?;
        let point = p256::PublicKey::from_public_key_der(&key).map_err(|_| refused("its key is not P-256"))?;
        let point = point.to_sec1_point(false);
        let (Some(x), Some(y)) = (point.x(), point.y()) else { return Err(refused("its key is none")) };
        Ok(Self { certificate, grant_key: TpmName::of(&authority_public(&(*x).into(), &(*y).into())) })
    }
}

/// Why a key attestation is not believed. The first thing wrong, in the order of the checks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyAttestationRefused {
    /// By what the broker is known is not in the file.
    #[error("the broker's authority is a certificate and a P-256 public key, PEM: {0}")]
    Authority(&'static str),
    /// The key obeys somebody else.
    #[error("the key obeys {found}, and the broker's key is {wanted}")]
    Obeys {
        /// Name of the broker's grant key.
        wanted: TpmName,
        /// Name of the key that it obeys.
        found: TpmName,
    },
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
    /// Verifies `attestation` at `now`. `authority` is what whoever asks has from the broker's people; what stands in the document
    /// itself vouches for nothing.
    ///
    /// # Errors
    /// See [`KeyAttestationRefused`].
    pub fn verify(
        attestation: &KeyAttestation,
        authority: &BrokerAuthority,
        now: UnixSeconds,
        verifier: &dyn SignatureVerifier,
    ) -> Result<Self, KeyAttestationRefused> {
        if attestation.schema != KeyAttestation::SCHEMA {
            return Err(KeyAttestationRefused::Schema(attestation.schema.clone()));
        }
        let ak = AttestationKey::check(&attestation.ak)?;
        let mut roots = Roots::default();
        // What its TPMs are is not this root's to say: the certificate's subject does.
        roots.add_root(TpmClass::Software, authority.certificate.clone())?;
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
        let key = CertifiedKey::verify(raw, (attestation.stage, &attestation.name), &ak, verifier)?;
        let policy = attestation.policy();
        match &policy {
            Some(policy) if policy.authority != authority.grant_key => {
                let (wanted, found) = (authority.grant_key.clone(), policy.authority.clone());
                return Err(KeyAttestationRefused::Obeys { wanted, found });
            }
            Some(policy) => key.obeys(policy)?,
            // What a key obeys is not left out of its attestation.
            None => key.obeys_nobody()?,
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
            Self::Authority(_) => Report::new("AR-K316", Fault::Environment, self.to_string())
                .hint("`attest-broker authority` prints both, at the broker"),
            Self::Obeys { wanted, found } => report("AR-K317").fact("wanted", wanted).fact("got", found),
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
