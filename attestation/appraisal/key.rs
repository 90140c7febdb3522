//! Which keys may attest.

use attest_evidence::Malformed;
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::tpm::{Attributes, Parameters, Public, TpmName};

/// A public area whose key signs only what its TPM generated (Part 1 §25.2): restricted, made in the TPM,
/// bound to it, for signatures alone, strong enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationKey {
    public: Public,
    bytes: Vec<u8>,
}

/// Why a key may not attest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    /// Not a public area this project believes in.
    #[error("the attestation key's public area can't be used: {0}")]
    Malformed(#[from] Malformed),
    /// Attributes are missing: the key could sign what a program made up, or be elsewhere too.
    #[error("an attestation key must be {missing} as well")]
    Attributes {
        /// What it has.
        found: Attributes,
        /// What it lacks.
        missing: Attributes,
    },
    /// A key that also decrypts.
    #[error("an attestation key must not decrypt")]
    Decrypts,
    /// Too weak, or without a signing scheme of its own.
    #[error("an attestation key is P-256 with ECDSA, or RSA of 2048 bits and more with RSASSA or RSAPSS")]
    Algorithm,
}

impl AttestationKey {
    const NEEDED: Attributes = Attributes::RESTRICTED
        .and(Attributes::SIGN)
        .and(Attributes::FIXED_TPM)
        .and(Attributes::FIXED_PARENT)
        .and(Attributes::SENSITIVE_DATA_ORIGIN);

    /// Checks a `TPMT_PUBLIC`. That the key lies in a particular TPM is not said yet: an activation or a
    /// certificate says that.
    ///
    /// # Errors
    /// See [`KeyRefused`].
    pub fn check(bytes: &[u8]) -> Result<Self, KeyRefused> {
        let public = Public::parse(bytes)?;
        let missing = public.attributes.missing(Self::NEEDED);
        if !missing.is_empty() {
            return Err(KeyRefused::Attributes { found: public.attributes, missing });
        }
        if public.attributes.contains(Attributes::DECRYPT) {
            return Err(KeyRefused::Decrypts);
        }
        match public.parameters {
            Parameters::P256 { ecdsa: true, .. } => {}
            Parameters::Rsa { scheme: Some(_), bits, .. } if bits >= crate::signature::SMALLEST_RSA => {}
            _ => return Err(KeyRefused::Algorithm),
        }
        Ok(Self { public, bytes: bytes.to_vec() })
    }

    /// Its Name.
    pub const fn name(&self) -> &TpmName {
        &self.public.name
    }

    /// `TPMT_PUBLIC`.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Curve point or modulus.
    pub const fn parameters(&self) -> &Parameters {
        &self.public.parameters
    }
}

impl Explain for KeyRefused {
    fn report(&self) -> Report {
        let report = Report::new("AR-E101", Fault::Identity, self.to_string());
        match self {
            Self::Attributes { found, missing } => report.fact("attributes", found).fact("missing", missing),
            _ => report,
        }
        .hint("`attest-run enroll` makes a key that fits; a key made by hand does not")
    }
}
