//! Signatures by aws-lc, which the broker links for TLS: several times as fast as pure Rust, and most of what an exchange
//! costs.
//!
//! What is believed at all is decided in [`attest_appraisal::signature`], and that both verifiers say the same is tested in
//! `tests/evidence/signatures.rs`.

use attest_appraisal::signature::{Operation, PureRust, RsaKey, SignatureClaim, SignatureRefused, SignatureVerifier};
use attest_evidence::HashAlgorithm;
use aws_lc_rs::signature::{self as aws_lc, ParsedPublicKey, RsaParameters, RsaPssSaltLength, RsaPublicKeyComponents};

/// The verifier on aws-lc. The few combinations that this library has no name for are computed by [`PureRust`]: curves with
/// a hash of another length than theirs, and SHA-1.
#[derive(Debug, Clone, Copy, Default)]
pub struct AwsLc;

impl SignatureVerifier for AwsLc {
    fn verify(&self, claim: &SignatureClaim<'_>) -> Result<(), SignatureRefused> {
        match (claim.operation(), claim.hash()) {
            (Operation::EcdsaP256 { point, signature }, HashAlgorithm::Sha256) => {
                ecdsa(&aws_lc::ECDSA_P256_SHA256_FIXED, point, claim.message(), signature)
            }
            (Operation::EcdsaP384 { point, signature }, HashAlgorithm::Sha384) => {
                ecdsa(&aws_lc::ECDSA_P384_SHA384_FIXED, point, claim.message(), signature)
            }
            (Operation::RsaSsa { key, signature }, HashAlgorithm::Sha256) => {
                rsa(&aws_lc::RSA_PKCS1_2048_8192_SHA256, key, claim.message(), signature)
            }
            (Operation::RsaSsa { key, signature }, HashAlgorithm::Sha384) => {
                rsa(&aws_lc::RSA_PKCS1_2048_8192_SHA384, key, claim.message(), signature)
            }
            (Operation::RsaSsa { key, signature }, HashAlgorithm::Sha512) => {
                rsa(&aws_lc::RSA_PKCS1_2048_8192_SHA512, key, claim.message(), signature)
            }
            (Operation::RsaPss { key, signature, salt }, HashAlgorithm::Sha256) => {
                rsa(&salted(aws_lc::RSA_PSS_2048_8192_SHA256, *salt), key, claim.message(), signature)
            }
            (Operation::RsaPss { key, signature, salt }, HashAlgorithm::Sha384) => {
                rsa(&salted(aws_lc::RSA_PSS_2048_8192_SHA384, *salt), key, claim.message(), signature)
            }
            (Operation::RsaPss { key, signature, salt }, HashAlgorithm::Sha512) => {
                rsa(&salted(aws_lc::RSA_PSS_2048_8192_SHA512, *salt), key, claim.message(), signature)
            }
            (Operation::EcdsaP256 { .. } | Operation::EcdsaP384 { .. }, _)
            | (Operation::RsaSsa { .. } | Operation::RsaPss { .. }, HashAlgorithm::Sha1) => PureRust.verify(claim),
        }
    }
}

fn ecdsa(
    algorithm: &'static aws_lc::EcdsaVerificationAlgorithm,
    point: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureRefused> {
    let key = ParsedPublicKey::new(algorithm, point).map_err(|_| SignatureRefused::Key)?;
    key.verify_sig(message, signature).map_err(|_| SignatureRefused::Wrong)
}

fn rsa(parameters: &RsaParameters, key: &RsaKey<'_>, message: &[u8], signature: &[u8]) -> Result<(), SignatureRefused> {
    let exponent = key.exponent().to_be_bytes();
    let leading = exponent.iter().take_while(|byte| **byte == 0).count();
    let exponent = exponent.get(leading..).unwrap_or_default();
    let key = RsaPublicKeyComponents { n: key.modulus(), e: exponent };
    key.verify(parameters, message, signature).map_err(|_| SignatureRefused::Wrong)
}

const fn salted(parameters: RsaParameters, salt: u16) -> RsaParameters {
    parameters.with_pss_salt_length(RsaPssSaltLength::Custom(salt))
}
