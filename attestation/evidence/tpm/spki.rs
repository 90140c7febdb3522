//! Public keys outside of TPMs: `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7).

use super::PublicKey;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use rsa::traits::PublicKeyParts as _;

impl PublicKey {
    /// DER of the key as a `SubjectPublicKeyInfo` (RFC 5480 §2, RFC 3279 §2.3.1). `None` where it is no key: off its
    /// curve, or no modulus.
    pub fn to_spki(&self) -> Option<Vec<u8>> {
        match self {
            Self::P256 { x, y } => {
                let point = p256::Sec1Point::from_affine_coordinates(x.into(), y.into(), false);
                let key = p256::PublicKey::from_sec1_bytes(point.as_bytes()).ok()?;
                Some(key.to_public_key_der().ok()?.into_vec())
            }
            Self::P384 { x, y } => {
                let point = p384::Sec1Point::from_affine_coordinates(x.into(), y.into(), false);
                let key = p384::PublicKey::from_sec1_bytes(point.as_bytes()).ok()?;
                Some(key.to_public_key_der().ok()?.into_vec())
            }
            Self::Rsa { modulus, exponent, .. } => {
                let modulus = rsa::BigUint::from_bytes_be(modulus);
                let key = rsa::RsaPublicKey::new(modulus, (*exponent).into()).ok()?;
                Some(rsa::pkcs8::EncodePublicKey::to_public_key_der(&key).ok()?.into_vec())
            }
        }
    }

    /// The same as text (RFC 7468 §13).
    pub fn to_pem(&self) -> Option<String> {
        let document = p256::pkcs8::Document::try_from(self.to_spki()?).ok()?;
        document.to_pem("PUBLIC KEY", p256::pkcs8::LineEnding::LF).ok()
    }

    /// The inverse of [`PublicKey::to_spki`]. `None` for other kinds of key and for what is no key.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        if let Ok(key) = p256::PublicKey::from_public_key_der(der) {
            let point = key.to_sec1_point(false);
            return Some(Self::P256 { x: (*point.x()?).into(), y: (*point.y()?).into() });
        }
        if let Ok(key) = p384::PublicKey::from_public_key_der(der) {
            let point = key.to_sec1_point(false);
            return Some(Self::P384 { x: (*point.x()?).into(), y: (*point.y()?).into() });
        }
        let key = <rsa::RsaPublicKey as rsa::pkcs8::DecodePublicKey>::from_public_key_der(der).ok()?;
        let modulus = key.n().to_bytes_be();
        let bits = u16::try_from(modulus.len() * 8).ok()?;
        let exponent = key.e().to_str_radix(10).parse().ok()?;
        Some(Self::Rsa { bits, exponent, modulus })
    }
}
