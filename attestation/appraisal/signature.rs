//! Signatures: the key says by which scheme, never the signature.

use attest_evidence::tpm::{Parameters, Signature, algorithm};
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use rsa::traits::SignatureScheme as _;
use rsa::{BigUint, Pkcs1v15Sign, Pss, RsaPublicKey};
use sha2::{Digest as _, Sha256};

/// The smallest modulus that is believed, in bits.
pub(crate) const SMALLEST_RSA: u16 = 2048;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignatureRefused {
    Scheme { wanted: &'static str, found: &'static str },
    Key,
    Wrong,
}

/// Whether `signature` is `key`'s over `message`, with SHA-256.
pub(crate) fn verify(key: &Parameters, message: &[u8], signature: &Signature<'_>) -> Result<(), SignatureRefused> {
    let digest: [u8; 32] = Sha256::digest(message).into();
    match (key, signature) {
        (Parameters::P256 { x, y, .. }, Signature::EcdsaP256 { r_s }) => {
            let point = p256::Sec1Point::from_affine_coordinates(x.into(), y.into(), false);
            let key = p256::ecdsa::VerifyingKey::from_sec1_point(&point).map_err(|_| SignatureRefused::Key)?;
            let signature = p256::ecdsa::Signature::from_slice(r_s).map_err(|_| SignatureRefused::Wrong)?;
            key.verify_prehash(&digest, &signature).map_err(|_| SignatureRefused::Wrong)
        }
        (Parameters::Rsa { scheme, exponent, modulus, bits }, signature) => {
            let wanted = match scheme {
                Some(algorithm::RSAPSS) => "RSAPSS",
                _ => "RSASSA",
            };
            let (Signature::RsaSsa { bytes } | Signature::RsaPss { bytes }) = signature else {
                return Err(SignatureRefused::Scheme { wanted, found: signature.scheme() });
            };
            if signature.scheme() != wanted {
                return Err(SignatureRefused::Scheme { wanted, found: signature.scheme() });
            }
            if *bits < SMALLEST_RSA {
                return Err(SignatureRefused::Key);
            }
            let key = RsaPublicKey::new(BigUint::from_bytes_be(modulus), (*exponent).into())
                .map_err(|_| SignatureRefused::Key)?;
            let result = if wanted == "RSAPSS" {
                Pss::new::<rsa::sha2::Sha256>().verify(&key, &digest, bytes)
            } else {
                Pkcs1v15Sign::new::<rsa::sha2::Sha256>().verify(&key, &digest, bytes)
            };
            result.map_err(|_| SignatureRefused::Wrong)
        }
        (Parameters::P256 { .. }, other) => Err(SignatureRefused::Scheme { wanted: "ECDSA", found: other.scheme() }),
    }
}
