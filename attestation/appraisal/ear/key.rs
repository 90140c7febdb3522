//! Keys of verifiers.

use super::json::Object;
use super::refused::EarRefused;
use data_encoding::BASE64URL_NOPAD;
use p256::ecdsa::signature::Verifier as _;

/// A signature algorithm of attestation results. Its signatures have 64 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EarAlgorithm {
    /// ECDSA with P-256 and SHA-256 (RFC 7518 §3.4): r and s, 32 bytes each.
    Es256,
    /// Ed25519 (RFC 8037 §3.1).
    EdDsa,
}

impl EarAlgorithm {
    /// As a header names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// The public key of a verifier, which the reader has from somewhere else than the result. It has one algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarKey(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    P256(p256::ecdsa::VerifyingKey),
    Ed25519(ed25519_dalek::VerifyingKey),
}

impl EarKey {
    /// Reads a public key as a JWK (RFC 7517; RFC 8037 §2).
    ///
    /// # Errors
    /// [`EarRefused::Key`]: it is of another kind, for another use, not valid, or private.
    pub fn from_jwk(json: &[u8]) -> Result<Self, EarRefused> {
        let mut object = Object::parse("key", json).map_err(|_| EarRefused::Key("is no JWK"))?;
        if object.take("d").is_some() {
            return Err(EarRefused::Key("is a private one: whoever has it can make results"));
        }
        let mut text = |name: &str| object.take_text(name).map_err(|_| EarRefused::Key("is no JWK"));
        let (kind, curve) = (text("kty")?, text("crv")?);
        let (x, y) = (text("x")?, text("y")?);
        if text("use")?.is_some_and(|purpose| purpose != "sig") {
            return Err(EarRefused::Key("is not for signatures"));
        }
        let key = match (kind.as_deref(), curve.as_deref(), x, y) {
            (Some("EC"), Some("P-256"), Some(x), Some(y)) => p256_key(&x, &y),
            (Some("OKP"), Some("Ed25519"), Some(x), None) => ed25519_key(&x),
            _ => return Err(EarRefused::Key("is neither of P-256 nor of Ed25519")),
        };
        let key = key.ok_or(EarRefused::Key("is not a valid one of its kind"))?;
        if text("alg")?.is_some_and(|named| named != key.algorithm().as_str()) {
            return Err(EarRefused::Key("is for another algorithm than its kind's"));
        }
        Ok(key)
    }

    /// What it signs by.
    pub const fn algorithm(&self) -> EarAlgorithm {
        match self.0 {
            Kind::P256(_) => EarAlgorithm::Es256,
            Kind::Ed25519(_) => EarAlgorithm::EdDsa,
        }
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), EarRefused> {
        let verified = match &self.0 {
            Kind::P256(key) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            Kind::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
        };
        if verified { Ok(()) } else { Err(EarRefused::Signature) }
    }
}

impl From<p256::ecdsa::VerifyingKey> for EarKey {
    fn from(key: p256::ecdsa::VerifyingKey) -> Self {
        Self(Kind::P256(key))
    }
}

/// A weak key stays one: no signature is ever believed from it.
impl From<ed25519_dalek::VerifyingKey> for EarKey {
    fn from(key: ed25519_dalek::VerifyingKey) -> Self {
        Self(Kind::Ed25519(key))
    }
}

fn bytes(text: &str) -> Option<[u8; 32]> {
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()?.try_into().ok()
}

fn p256_key(x: &str, y: &str) -> Option<EarKey> {
    let point = p256::Sec1Point::from_affine_coordinates(&bytes(x)?.into(), &bytes(y)?.into(), false);
    Some(p256::ecdsa::VerifyingKey::from_sec1_point(&point).ok()?.into())
}

fn ed25519_key(x: &str) -> Option<EarKey> {
    let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes(x)?).ok()?;
    (!key.is_weak()).then(|| key.into())
}
