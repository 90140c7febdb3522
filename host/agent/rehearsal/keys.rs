//! Keys of a rehearsal: made of the fixture's seed and of their names, so that what they sign is the same each time. They are of no
//! worth, and no agent has such a key.

use crate::keys::{DerivedKey, KeySecret, RehearsedKey, UsableKey};
use attest_evidence::name::{KeyName, Stage};
use attest_evidence::{SecretBytes, Sha256Digest};
use attest_wire::client::{Key, KeyAlgorithm};
use ed25519_dalek::pkcs8::EncodePublicKey;
use p256::pkcs8::LineEnding;

/// The stage that a rehearsal is in.
const STAGE: Stage = Stage::Dev;
/// Bytes that are no P-256 key come about once in 2³² tries.
const MOST_TRIES: u8 = 8;

/// A key to sign with. None if there is none by this seed.
pub(super) fn signing(seed: &str, name: &KeyName, algorithm: KeyAlgorithm) -> Option<UsableKey> {
    match algorithm {
        KeyAlgorithm::P256 => {
            let key = (0..MOST_TRIES).find_map(|attempt| {
                let bytes = bytes(seed, &format!("p256/{attempt}"), name);
                p256::ecdsa::SigningKey::from_slice(bytes.as_bytes()).ok()
            })?;
            let public = p256::PublicKey::from(key.verifying_key());
            usable(name, algorithm, &public, KeySecret::Rehearsed(RehearsedKey::P256(key)))
        }
        KeyAlgorithm::Ed25519 => {
            let key = ed25519_dalek::SigningKey::from_bytes(bytes(seed, "ed25519", name).as_bytes());
            let public = key.verifying_key();
            usable(name, algorithm, &public, KeySecret::Rehearsed(RehearsedKey::Ed25519(key)))
        }
    }
}

/// A key to derive others from.
pub(super) fn derivation(seed: &str, name: &KeyName) -> DerivedKey {
    DerivedKey::rehearsed(SecretBytes::new(bytes(seed, "derive", name).as_bytes().to_vec()))
}

fn usable(
    name: &KeyName,
    algorithm: KeyAlgorithm,
    public: &impl EncodePublicKey,
    secret: KeySecret,
) -> Option<UsableKey> {
    let public_key = public.to_public_key_pem(LineEnding::LF).ok()?;
    let fingerprint = Sha256Digest::of(public.to_public_key_der().ok()?.as_bytes());
    let public =
        Key { stage: STAGE, name: name.clone(), algorithm, lease: None, public_key, fingerprint, former: Vec::new() };
    Some(UsableKey { public, secret })
}

/// Neither a label nor a name has a line break: the parts can't be shifted.
fn bytes(seed: &str, label: &str, name: &KeyName) -> Sha256Digest {
    Sha256Digest::of(format!("attest-run/rehearsal/v1\n{label}\n{name}\n{seed}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::Message;
    use attest_evidence::exchange::KeyFormat;

    async fn signature(seed: &str, name: &str, algorithm: KeyAlgorithm) -> (String, Vec<u8>) {
        let key = signing(seed, &name.parse().unwrap(), algorithm).unwrap();
        let public = key.public.public_key.clone();
        let mut message = Message::new(key, KeyFormat::Raw).unwrap();
        message.update(b"message");
        (public, message.sign(&crate::signing::Timestamps::None).await.unwrap())
    }

    fn verifies(algorithm: KeyAlgorithm, public: &str, message: &[u8], signature: &[u8]) -> bool {
        use ed25519_dalek::pkcs8::DecodePublicKey as _;
        use p256::ecdsa::signature::Verifier as _;
        match algorithm {
            KeyAlgorithm::P256 => {
                let key = p256::ecdsa::VerifyingKey::from_public_key_pem(public).unwrap();
                key.verify(message, &p256::ecdsa::Signature::from_der(signature).unwrap()).is_ok()
            }
            KeyAlgorithm::Ed25519 => {
                let key = ed25519_dalek::VerifyingKey::from_public_key_pem(public).unwrap();
                key.verify(message, &ed25519_dalek::Signature::from_slice(signature).unwrap()).is_ok()
            }
        }
    }

    #[tokio::test]
    async fn a_key_is_the_same_each_time_and_another_for_another_name_or_seed() {
        for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::Ed25519] {
            let one = signature("", "release", algorithm).await;
            assert_eq!(one, signature("", "release", algorithm).await);
            assert!(verifies(algorithm, &one.0, b"message", &one.1));
            assert!(!verifies(algorithm, &one.0, b"another", &one.1));
            assert_ne!(one.0, signature("", "other", algorithm).await.0);
            assert_ne!(one.0, signature("seed", "release", algorithm).await.0);
        }
    }

    #[tokio::test]
    async fn derived_keys_are_the_same_each_time() {
        let mut one = derivation("", &"k".parse().unwrap());
        let mut other = derivation("", &"k".parse().unwrap());
        let first = one.derive("p", None).await.unwrap();
        assert!(first == other.derive("p", None).await.unwrap());
        assert!(first != one.derive("q", None).await.unwrap());
    }
}
