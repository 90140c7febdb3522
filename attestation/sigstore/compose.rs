//! Bundles of ours: version 0.3, with a key that the reader knows.

use crate::timestamp::Timestamp;
use attest_evidence::Sha256Digest;
use sigstore_verify::bundle::{BundleV03, VerificationMaterialV03};
use sigstore_verify::types::bundle::{MessageDigest, MessageSignature};
use sigstore_verify::types::{DigestBytes, HashAlgorithm, SignatureBytes, SignatureContent, TimestampToken};

/// A bundle that can't be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the bundle can't be written: {0}")]
pub struct NotComposed(String);

/// The signature of a message, by a key that the reader finds by `hint`: JSON of a bundle (`messageSignature`).
///
/// `signature` is DER of ECDSA over P-256, of the message whose SHA-256 is `digest`. Without a timestamp nothing says when it was
/// made, and no verifier takes it.
///
/// # Errors
/// See [`NotComposed`].
pub fn message_bundle(
    hint: &str,
    digest: &Sha256Digest,
    signature: &[u8],
    timestamp: Option<&Timestamp>,
) -> Result<String, NotComposed> {
    let digest = MessageDigest::new(HashAlgorithm::Sha2256, DigestBytes::new(digest.as_bytes().to_vec()));
    let signature = MessageSignature::new(SignatureBytes::from_bytes(signature)).with_message_digest(digest);
    let material = VerificationMaterialV03::PublicKey { hint: hint.to_owned() };
    let mut bundle = BundleV03::new(material, SignatureContent::MessageSignature(signature));
    if let Some(timestamp) = timestamp {
        bundle = bundle.with_rfc3161_timestamp(TimestampToken::from_bytes(timestamp.as_bytes()));
    }
    bundle.into_bundle().to_json().map_err(|error| NotComposed(error.to_string()))
}
