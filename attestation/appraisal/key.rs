//! Which keys may attest.

use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::tpm::{Attributes, Public, PublicKey, SigningScheme, TpmName};
use attest_evidence::{HashAlgorithm, Malformed};

/// A public area whose key signs only what its TPM generated (Part 1 §25.2): restricted, made in the TPM,
/// bound to it, for signatures alone, strong enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationKey {
    name: TpmName,
    key: PublicKey,
    scheme: SigningScheme,
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
    /// A file that holds no key.
    #[error("neither a public key, nor a certificate, nor a TPM's public area")]
    File,
    /// A key that also decrypts.
    #[error("an attestation key must not decrypt")]
    Decrypts,
    /// Too weak, or without a signing scheme of its own.
    #[error("an attestation key is P-256 or P-384 with ECDSA, or RSA of 2048 bits and more with RSASSA or RSAPSS")]
    Algorithm,
    /// It signs, or is named, by a hash whose collisions can be made.
    #[error("an attestation key signs with SHA-256 or better and has a SHA-256 Name; this one has {0}")]
    Hash(HashAlgorithm),
}

/// Whether SHA-1 may be rested on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HashPolicy {
    /// Never.
    #[default]
    Strict,
    /// For old machines, by people who know what it is worth. Nothing is granted by it.
    Legacy,
}

impl HashPolicy {
    /// Whether `hash` may be rested on.
    pub const fn takes(self, hash: HashAlgorithm) -> bool {
        matches!(self, Self::Legacy) || !hash.is_weak()
    }
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
        Self::check_by(bytes, HashPolicy::Strict)
    }

    /// The same by a policy for hashes.
    ///
    /// # Errors
    /// See [`KeyRefused`].
    pub fn check_by(bytes: &[u8], policy: HashPolicy) -> Result<Self, KeyRefused> {
        let public = Public::parse(bytes)?;
        let missing = public.attributes.missing(Self::NEEDED);
        if !missing.is_empty() {
            return Err(KeyRefused::Attributes { found: public.attributes, missing });
        }
        if public.attributes.contains(Attributes::DECRYPT) {
            return Err(KeyRefused::Decrypts);
        }
        let Some(scheme) = public.scheme else { return Err(KeyRefused::Algorithm) };
        if matches!(public.key, PublicKey::Rsa { bits, .. } if bits < crate::signature::SMALLEST_RSA) {
            return Err(KeyRefused::Algorithm);
        }
        if !policy.takes(scheme.hash) {
            return Err(KeyRefused::Hash(scheme.hash));
        }
        let Some(name) = public.tpm_name() else { return Err(KeyRefused::Hash(public.name.algorithm())) };
        Ok(Self { name, key: public.key, scheme, bytes: bytes.to_vec() })
    }

    /// Its Name.
    pub const fn name(&self) -> &TpmName {
        &self.name
    }

    /// `TPMT_PUBLIC`.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Curve point or modulus.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// What it signs by, and by nothing else.
    pub const fn scheme(&self) -> SigningScheme {
        self.scheme
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
