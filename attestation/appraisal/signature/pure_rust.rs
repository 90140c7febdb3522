//! Signatures by RustCrypto's crates: no C, on every machine, constant in nothing that is secret.

use super::{Operation, RsaKey, SignatureClaim, SignatureRefused, SignatureVerifier};
use attest_evidence::HashAlgorithm;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use rsa::traits::SignatureScheme as _;
use rsa::{BigUint, Pkcs1v15Sign, Pss, RsaPublicKey};

/// The verifier that needs nothing but Rust.
#[derive(Debug, Clone, Copy, Default)]
pub struct PureRust;

impl SignatureVerifier for PureRust {
    fn verify(&self, claim: &SignatureClaim<'_>) -> Result<(), SignatureRefused> {
        let wrong = |_| SignatureRefused::Wrong;
        let digest = claim.hash().hash(claim.message());
        let digest = digest.as_bytes();
        match claim.operation() {
            Operation::EcdsaP256 { point, signature } => {
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(|_| SignatureRefused::Key)?;
                let signature = p256::ecdsa::Signature::from_slice(signature).map_err(wrong)?;
                key.verify_prehash(digest, &signature).map_err(wrong)
            }
            Operation::EcdsaP384 { point, signature } => {
                let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(|_| SignatureRefused::Key)?;
                let signature = p384::ecdsa::Signature::from_slice(signature).map_err(wrong)?;
                key.verify_prehash(digest, &signature).map_err(wrong)
            }
            Operation::RsaSsa { key, signature } => {
                let verified = pkcs1(claim.hash()).verify(&public(key)?, digest, signature);
                verified.map_err(|_| SignatureRefused::Wrong)
            }
            Operation::RsaPss { key, signature, salt } => {
                let pss = pss(claim.hash(), usize::from(*salt)).ok_or(SignatureRefused::Wrong)?;
                pss.verify(&public(key)?, digest, signature).map_err(|_| SignatureRefused::Wrong)
            }
        }
    }
}

fn public(key: &RsaKey<'_>) -> Result<RsaPublicKey, SignatureRefused> {
    let modulus = BigUint::from_bytes_be(key.modulus());
    RsaPublicKey::new(modulus, key.exponent().into()).map_err(|_| SignatureRefused::Key)
}

/// EMSA-PKCS1-v1_5 (RFC 8017 §9.2): the hash's `DigestInfo` stands in front of the digest.
fn pkcs1(hash: HashAlgorithm) -> Pkcs1v15Sign {
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

/// EMSA-PSS (RFC 8017 §9.1).
fn pss(hash: HashAlgorithm, salt: usize) -> Option<Pss> {
    match hash {
        HashAlgorithm::Sha1 => None,
        HashAlgorithm::Sha256 => Some(Pss::new_with_salt::<rsa::sha2::Sha256>(salt)),
        HashAlgorithm::Sha384 => Some(Pss::new_with_salt::<rsa::sha2::Sha384>(salt)),
        HashAlgorithm::Sha512 => Some(Pss::new_with_salt::<rsa::sha2::Sha512>(salt)),
    }
}
