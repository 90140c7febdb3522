//! Signing: the host hashes and frames, the key signs.

use crate::derived;
use crate::keys::{KeyError, KeySecret, RehearsedKey, UsableKey};
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::KeyFormat;
use attest_evidence::name::KeyName;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use sha2::{Digest as _, Sha256};

/// Most bytes that an Ed25519 key signs: the algorithm reads its message twice, so that it is held in memory.
pub const LONGEST_ED25519_MESSAGE: u64 = 16 << 20;

/// A message on its way to a signature.
pub(crate) struct Message {
    key: UsableKey,
    format: KeyFormat,
    contents: Contents,
}

enum Contents {
    /// ECDSA signs a digest.
    Hashed(Box<Sha256>),
    /// Ed25519 signs the message.
    Whole(Vec<u8>),
    /// It has grown too long.
    TooLong,
}

impl Message {
    /// An empty message for `key`. The caller has made sure that the key may sign in `format`.
    pub(crate) fn new(key: UsableKey, format: KeyFormat) -> Self {
        let contents = match key.secret {
            KeySecret::P256 { .. } | KeySecret::Rehearsed(RehearsedKey::P256(_)) => Contents::Hashed(Box::default()),
            KeySecret::Ed25519 { .. } | KeySecret::Rehearsed(RehearsedKey::Ed25519(_)) => Contents::Whole(Vec::new()),
        };
        Self { key, format, contents }
    }

    pub(crate) const fn key_name(&self) -> &KeyName {
        &self.key.public.name
    }

    pub(crate) fn update(&mut self, part: &[u8]) {
        match &mut self.contents {
            Contents::Hashed(hash) => hash.update(part),
            Contents::Whole(message) => {
                if (message.len() as u64).saturating_add(part.len() as u64) > LONGEST_ED25519_MESSAGE {
                    self.contents = Contents::TooLong;
                } else {
                    message.extend_from_slice(part);
                }
            }
            Contents::TooLong => {}
        }
    }

    /// The signature, or why there is none.
    pub(crate) async fn sign(self) -> Result<Vec<u8>, SigningError> {
        match (self.format, self.contents, self.key.secret) {
            (KeyFormat::Raw, Contents::Hashed(hash), KeySecret::P256 { tpm, key }) => {
                let digest = Sha256Digest::from_bytes(hash.finalize().into());
                let r_s = tpm.run(move |device| device.sign(&key, &digest)).await.map_err(KeyError::Tpm)?;
                let signature = p256::ecdsa::Signature::from_slice(&r_s).map_err(|_| SigningError::NotASignature)?;
                Ok(signature.to_der().as_bytes().to_vec())
            }
            (KeyFormat::Raw, Contents::Whole(message), KeySecret::Ed25519 { tpm, derivation, label }) => {
                let public = self.key.public;
                let signature = derived::sign(&tpm, derivation, label, message, &public).await?;
                Ok(signature.to_vec())
            }
            (KeyFormat::Raw, Contents::Hashed(hash), KeySecret::Rehearsed(RehearsedKey::P256(key))) => {
                let signature: p256::ecdsa::Signature =
                    key.sign_prehash(hash.finalize().as_slice()).map_err(|_| SigningError::NotASignature)?;
                Ok(signature.to_der().as_bytes().to_vec())
            }
            (KeyFormat::Raw, Contents::Whole(message), KeySecret::Rehearsed(RehearsedKey::Ed25519(key))) => {
                use ed25519_dalek::Signer as _;
                Ok(key.sign(&message).to_bytes().to_vec())
            }
            (KeyFormat::Raw, Contents::TooLong, _) => Err(SigningError::TooLong),
            (KeyFormat::Raw, _, _) => Err(SigningError::NotASignature),
        }
    }
}

/// Why there is no signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SigningError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("an Ed25519 key signs at most {LONGEST_ED25519_MESSAGE} bytes")]
    TooLong,
    #[error("the key gave something that is no signature")]
    NotASignature,
}
