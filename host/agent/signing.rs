//! Signing: the host hashes and frames, the key signs.

mod minisign;
mod sigstore;
mod ssh;

pub(crate) use sigstore::Timestamps;

use crate::derived;
use crate::keys::{KeyError, KeySecret, RehearsedKey, UsableKey};
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::KeyFormat;
use attest_evidence::name::KeyName;
use attest_evidence::time::{Clock as _, SystemClock};
use attest_wire::client::{Key, KeyAlgorithm, PublicKeyFormat};
use blake2::Blake2b512;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use sha2::{Digest as _, Sha256, Sha512};

/// Most bytes that an Ed25519 key signs as they are: the algorithm reads its message twice, so that it is held in memory.
pub const LONGEST_ED25519_MESSAGE: u64 = 16 << 20;

/// A message on its way to a signature.
pub(crate) struct Message {
    key: UsableKey,
    contents: Contents,
}

enum Contents {
    /// ECDSA signs a digest.
    Raw(Box<Sha256>),
    /// Ed25519 signs the message.
    Whole(Vec<u8>),
    /// It has grown too long.
    TooLong,
    Ssh(Box<Sha512>),
    Minisign(Box<Blake2b512>),
    Sigstore(Box<Sha256>),
}

/// A signature by either kind of key.
enum Signature {
    P256(p256::ecdsa::Signature),
    Ed25519([u8; 64]),
}

/// Whether a key can sign in a format.
///
/// # Errors
/// [`KeyError::Format`].
pub(crate) fn fits(key: &Key, format: KeyFormat) -> Result<(), KeyError> {
    match (key.algorithm, format) {
        (KeyAlgorithm::P256, KeyFormat::Minisign) | (KeyAlgorithm::Ed25519, KeyFormat::Sigstore) => {
            Err(KeyError::Format { stage: key.stage, name: key.name.clone(), algorithm: key.algorithm, format })
        }
        (KeyAlgorithm::P256, KeyFormat::Raw | KeyFormat::Ssh | KeyFormat::Sigstore)
        | (KeyAlgorithm::Ed25519, KeyFormat::Raw | KeyFormat::Ssh | KeyFormat::Minisign) => Ok(()),
    }
}

/// A public key in the form in which a verifier wants it.
///
/// # Errors
/// The key is damaged, or is not of an algorithm that the form is for.
pub fn public_key_text(key: &Key, format: PublicKeyFormat) -> Result<String, KeyError> {
    match format {
        PublicKeyFormat::Pem => Ok(key.public_key.clone()),
        PublicKeyFormat::Ssh => ssh::public_key_line(key),
        PublicKeyFormat::Minisign => {
            fits(key, KeyFormat::Minisign)?;
            minisign::public_key_file(key)
        }
    }
}

impl Message {
    /// An empty message for `key`. The caller has made sure that the key may sign in `format`.
    ///
    /// # Errors
    /// It can't: see [`fits`].
    pub(crate) fn new(key: UsableKey, format: KeyFormat) -> Result<Self, KeyError> {
        fits(&key.public, format)?;
        let contents = match (format, key.public.algorithm) {
            (KeyFormat::Raw, KeyAlgorithm::P256) => Contents::Raw(Box::default()),
            (KeyFormat::Raw, KeyAlgorithm::Ed25519) => Contents::Whole(Vec::new()),
            (KeyFormat::Ssh, _) => Contents::Ssh(Box::default()),
            (KeyFormat::Minisign, _) => Contents::Minisign(Box::default()),
            (KeyFormat::Sigstore, _) => Contents::Sigstore(Box::default()),
        };
        Ok(Self { key, contents })
    }

    pub(crate) const fn key_name(&self) -> &KeyName {
        &self.key.public.name
    }

    pub(crate) fn update(&mut self, part: &[u8]) {
        match &mut self.contents {
            Contents::Raw(hash) | Contents::Sigstore(hash) => hash.update(part),
            Contents::Ssh(hash) => hash.update(part),
            Contents::Minisign(hash) => blake2::Digest::update(hash.as_mut(), part),
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

    /// The signature, or why there is none. Of a bundle, `timestamps` say when.
    pub(crate) async fn sign(self, timestamps: &Timestamps) -> Result<Vec<u8>, SigningError> {
        let Self { key, contents } = self;
        match contents {
            Contents::Raw(hash) => Ok(key.sign_digest(hash.finalize().into()).await?.to_der().as_bytes().to_vec()),
            Contents::Whole(message) => Ok(key.sign_ed25519(message).await?.to_vec()),
            Contents::TooLong => Err(SigningError::TooLong),
            Contents::Ssh(hash) => {
                let signed = ssh::signed_data(&hash.finalize());
                Ok(ssh::armored(&key.public, &key.sign(signed).await?)?.into_bytes())
            }
            Contents::Sigstore(hash) => {
                let digest = Sha256Digest::from_bytes(hash.finalize().into());
                let signature = key.sign_digest(*digest.as_bytes()).await?.to_der();
                sigstore::bundle(&key.public, &digest, signature.as_bytes(), timestamps).await
            }
            Contents::Minisign(hash) => {
                let signature = key.sign_ed25519(blake2::Digest::finalize(*hash).to_vec()).await?;
                let comment = minisign::trusted_comment(&key.public, SystemClock.now());
                let with_comment = key.sign_ed25519(minisign::signed_with_comment(&signature, &comment)).await?;
                Ok(minisign::signature_file(&key.public, &signature, &comment, &with_comment)?.into_bytes())
            }
        }
    }
}

impl UsableKey {
    /// Signs a message as the algorithm of the key does: ECDSA its SHA-256.
    async fn sign(&self, message: Vec<u8>) -> Result<Signature, SigningError> {
        match self.public.algorithm {
            KeyAlgorithm::P256 => self.sign_digest(*Sha256Digest::of(&message).as_bytes()).await.map(Signature::P256),
            KeyAlgorithm::Ed25519 => self.sign_ed25519(message).await.map(Signature::Ed25519),
        }
    }

    async fn sign_digest(&self, digest: [u8; 32]) -> Result<p256::ecdsa::Signature, SigningError> {
        match &self.secret {
            KeySecret::P256 { tpm, key } => {
                let (key, digest) = (key.clone(), Sha256Digest::from_bytes(digest));
                let r_s = tpm.run(move |device| device.sign(&key, &digest)).await.map_err(KeyError::Tpm)?;
                p256::ecdsa::Signature::from_slice(&r_s).map_err(|_| SigningError::NotASignature)
            }
            KeySecret::Obedient(key) => {
                let digest = Sha256Digest::from_bytes(digest);
                let r_s = key.sign(digest, &self.public.name, self.public.stage).await?;
                p256::ecdsa::Signature::from_slice(&r_s).map_err(|_| SigningError::NotASignature)
            }
            KeySecret::Rehearsed(RehearsedKey::P256(key)) => {
                key.sign_prehash(&digest).map_err(|_| SigningError::NotASignature)
            }
            KeySecret::Ed25519 { .. } | KeySecret::Rehearsed(RehearsedKey::Ed25519(_)) => {
                Err(SigningError::NotASignature)
            }
        }
    }

    async fn sign_ed25519(&self, message: Vec<u8>) -> Result<[u8; 64], SigningError> {
        match &self.secret {
            KeySecret::Ed25519 { tpm, derivation, label } => {
                Ok(derived::sign(tpm, derivation.clone(), label.clone(), message, &self.public).await?)
            }
            KeySecret::Rehearsed(RehearsedKey::Ed25519(key)) => {
                use ed25519_dalek::Signer as _;
                Ok(key.sign(&message).to_bytes())
            }
            KeySecret::P256 { .. } | KeySecret::Obedient(_) | KeySecret::Rehearsed(RehearsedKey::P256(_)) => {
                Err(SigningError::NotASignature)
            }
        }
    }
}

/// Why there is no signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SigningError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("an Ed25519 key signs at most {LONGEST_ED25519_MESSAGE} bytes as they are")]
    TooLong,
    #[error("the key gave something that is no signature")]
    NotASignature,
    #[error("there is no timestamp for the signature, and so no bundle: {0}")]
    NoTimestamp(String),
    #[error("{0}")]
    NotComposed(String),
}
