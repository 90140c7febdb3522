//! Signatures: the key says by which scheme, never the signature.

use attest_evidence::HashAlgorithm;
use attest_evidence::tpm::{PublicKey, SignatureValue, SigningAlgorithm, SigningScheme, fixed};
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use rsa::traits::{PublicKeyParts as _, SignatureScheme as _};
use rsa::{BigUint, Pkcs1v15Sign, Pss, RsaPublicKey};

/// The smallest modulus that is believed, in bits.
pub(crate) const SMALLEST_RSA: u16 = 2048;

/// Why a signature is not a key's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignatureRefused {
    /// The key is none: off its curve, too short a modulus.
    Key,
    /// It is not that key's over these bytes.
    Wrong,
}

/// Whether `signature` is `key`'s over `message`, by `scheme`.
///
/// The caller must have taken `scheme` from the key, or have compared it with the key's.
pub(crate) fn verify(
    key: &PublicKey,
    scheme: SigningScheme,
    message: &[u8],
    signature: &SignatureValue<'_>,
) -> Result<(), SignatureRefused> {
    let digest = scheme.hash.hash(message);
    let digest = digest.as_bytes();
    match (key, scheme.algorithm, signature) {
        (PublicKey::P256 { x, y }, SigningAlgorithm::Ecdsa, SignatureValue::Ecdsa { r, s }) => {
            let point = p256::Sec1Point::from_affine_coordinates(x.into(), y.into(), false);
            let key = p256::ecdsa::VerifyingKey::from_sec1_point(&point).map_err(|_| SignatureRefused::Key)?;
            let scalars = fixed::<32>(r).zip(fixed::<32>(s)).ok_or(SignatureRefused::Wrong)?;
            let signature = p256::ecdsa::Signature::from_scalars(scalars.0, scalars.1);
            let signature = signature.map_err(|_| SignatureRefused::Wrong)?;
            key.verify_prehash(digest, &signature).map_err(|_| SignatureRefused::Wrong)
        }
        (PublicKey::P384 { x, y }, SigningAlgorithm::Ecdsa, SignatureValue::Ecdsa { r, s }) => {
            let point = p384::Sec1Point::from_affine_coordinates(x.into(), y.into(), false);
            let key = p384::ecdsa::VerifyingKey::from_sec1_point(&point).map_err(|_| SignatureRefused::Key)?;
            let scalars = fixed::<48>(r).zip(fixed::<48>(s)).ok_or(SignatureRefused::Wrong)?;
            let signature = p384::ecdsa::Signature::from_scalars(scalars.0, scalars.1);
            let signature = signature.map_err(|_| SignatureRefused::Wrong)?;
            key.verify_prehash(digest, &signature).map_err(|_| SignatureRefused::Wrong)
        }
        (PublicKey::Rsa { bits, exponent, modulus }, SigningAlgorithm::RsaSsa, SignatureValue::Rsa(signature)) => {
            let key = rsa_key(*bits, *exponent, modulus)?;
            pkcs1(scheme.hash).verify(&key, digest, signature).map_err(|_| SignatureRefused::Wrong)
        }
        (PublicKey::Rsa { bits, exponent, modulus }, SigningAlgorithm::RsaPss, SignatureValue::Rsa(signature)) => {
            let key = rsa_key(*bits, *exponent, modulus)?;
            let verified =
                pss(scheme.hash, key.size()).into_iter().any(|pss| pss.verify(&key, digest, signature).is_ok());
            if verified { Ok(()) } else { Err(SignatureRefused::Wrong) }
        }
        _ => Err(SignatureRefused::Wrong),
    }
}

fn rsa_key(bits: u16, exponent: u32, modulus: &[u8]) -> Result<RsaPublicKey, SignatureRefused> {
    if bits < SMALLEST_RSA {
        return Err(SignatureRefused::Key);
    }
    RsaPublicKey::new(BigUint::from_bytes_be(modulus), exponent.into()).map_err(|_| SignatureRefused::Key)
}

/// EMSA-PKCS1-v1_5 (RFC 8017 §9.2): the hash's `DigestInfo` stands in front of the digest.
pub(crate) fn pkcs1(hash: HashAlgorithm) -> Pkcs1v15Sign {
    match hash {
        HashAlgorithm::Sha1 => Pkcs1v15Sign {
            hash_len: Some(20),
            prefix: Box::new([
                0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14,
            ]),
        },
        HashAlgorithm::Sha256 => Pkcs1v15Sign::new::<rsa::sha2::Sha256>(),
        HashAlgorithm::Sha384 => Pkcs1v15Sign::new::<rsa::sha2::Sha384>(),
        HashAlgorithm::Sha512 => Pkcs1v15Sign::new::<rsa::sha2::Sha512>(),
    }
}

/// EMSA-PSS (RFC 8017 §9.1). TPMs before revision 1.38 take the longest salt, later ones one as long as the hash (Part 1
/// §B.7). No key of this project's trust signs PSS with SHA-1.
fn pss(hash: HashAlgorithm, modulus: usize) -> Vec<Pss> {
    let longest = modulus.saturating_sub(hash.size() + 2);
    let of = |salt| match hash {
        HashAlgorithm::Sha1 => None,
        HashAlgorithm::Sha256 => Some(Pss::new_with_salt::<rsa::sha2::Sha256>(salt)),
        HashAlgorithm::Sha384 => Some(Pss::new_with_salt::<rsa::sha2::Sha384>(salt)),
        HashAlgorithm::Sha512 => Some(Pss::new_with_salt::<rsa::sha2::Sha512>(salt)),
    };
    [hash.size(), longest].into_iter().filter_map(of).collect()
}
