//! minisign's signatures: Ed25519 over the BLAKE2b-512 of the message, and over that with a comment.
//!
//! Source: <https://jedisct1.github.io/minisign/>, "Signature format" and "Public key format".

use crate::keys::KeyError;
use attest_evidence::{Sha256Digest, UnixSeconds};
use attest_wire::client::Key;
use data_encoding::{BASE64, HEXUPPER};
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::DecodePublicKey as _;

/// Of a key.
const ALGORITHM: &[u8; 2] = b"Ed";
/// Of a signature over a message's hash.
const HASHED: &[u8; 2] = b"ED";

type KeyId = [u8; 8];

/// The key, and the number by which minisign finds it: it makes them at random, ours is of the key.
fn known(key: &Key) -> Result<(VerifyingKey, KeyId), KeyError> {
    let damaged = |_| KeyError::Damaged { stage: key.stage, name: key.name.clone() };
    let point = VerifyingKey::from_public_key_pem(&key.public_key).map_err(damaged)?;
    let digest = Sha256Digest::of(point.as_bytes());
    let id = digest.as_bytes().first_chunk().copied().unwrap_or_default();
    Ok((point, id))
}

/// As minisign prints it: the number's bytes, the last first.
fn id_in_words(id: KeyId) -> String {
    HEXUPPER.encode(&u64::from_le_bytes(id).to_be_bytes())
}

/// The public key's file, `minisign.pub`.
pub(super) fn public_key_file(key: &Key) -> Result<String, KeyError> {
    let (point, id) = known(key)?;
    let blob = [ALGORITHM.as_slice(), &id, point.as_bytes()].concat();
    Ok(format!("untrusted comment: minisign public key {}\n{}\n", id_in_words(id), BASE64.encode(&blob)))
}

/// What the host says of the signature, and signs: when, and with which key. Nothing of it is a step's.
pub(super) fn trusted_comment(key: &Key, now: UnixSeconds) -> String {
    format!("timestamp:{now}\tkey:{}/{}\thashed", key.stage, key.name)
}

/// The bytes of the second signature: the first, and the comment.
pub(super) fn signed_with_comment(signature: &[u8; 64], comment: &str) -> Vec<u8> {
    [signature.as_slice(), comment.as_bytes()].concat()
}

/// The signature's file, `FILE.minisig`.
pub(super) fn signature_file(
    key: &Key,
    signature: &[u8; 64],
    comment: &str,
    with_comment: &[u8; 64],
) -> Result<String, KeyError> {
    let (_, id) = known(key)?;
    let blob = [HASHED.as_slice(), &id, signature].concat();
    Ok(format!(
        "untrusted comment: signature by attest-run, key {}\n{}\ntrusted comment: {comment}\n{}\n",
        id_in_words(id),
        BASE64.encode(&blob),
        BASE64.encode(with_comment)
    ))
}
