//! SSH signatures, as `ssh-keygen -Y verify` checks them.
//!
//! Source: `PROTOCOL.sshsig` of OpenSSH; key and signature encodings of RFC 4253 §6.6, RFC 5656 §3.1 and RFC 8709 §4 and §6.

use super::Signature;
use crate::keys::KeyError;
use attest_wire::client::{Key, KeyAlgorithm};
use data_encoding::BASE64;
use ed25519_dalek::pkcs8::DecodePublicKey as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;

const PREAMBLE: &[u8] = b"SSHSIG";
const VERSION: u32 = 1;
/// What the signature is for: files, as `ssh-keygen -Y sign -n file` has it. A step can't sign in the domain of others, such as
/// that of Git's commits.
const NAMESPACE: &str = "file";
/// The hash of the message.
const HASH: &str = "sha512";
/// As `ssh-keygen` breaks its lines.
const LINE: usize = 70;

const P256: &str = "ecdsa-sha2-nistp256";
const P256_CURVE: &str = "nistp256";
const ED25519: &str = "ssh-ed25519";

/// Bytes behind their length (RFC 4251 §5, `string`).
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(bytes);
}

/// A positive number (RFC 4251 §5, `mpint`): without leading zeros, but with one where the first bit is set.
fn put_number(out: &mut Vec<u8>, bytes: &[u8]) {
    let digits = bytes.iter().position(|byte| *byte != 0).and_then(|first| bytes.get(first..)).unwrap_or_default();
    match digits.first() {
        Some(first) if first & 0x80 != 0 => put(out, &[&[0], digits].concat()),
        _ => put(out, digits),
    }
}

/// What is signed of a message with this digest.
pub(super) fn signed_data(digest: &[u8]) -> Vec<u8> {
    let mut out = PREAMBLE.to_vec();
    for part in [NAMESPACE.as_bytes(), b"", HASH.as_bytes(), digest] {
        put(&mut out, part);
    }
    out
}

/// The name of a key's algorithm, and the key.
fn public_key(key: &Key) -> Result<(&'static str, Vec<u8>), KeyError> {
    let damaged = || KeyError::Damaged { stage: key.stage, name: key.name.clone() };
    let mut out = Vec::new();
    let algorithm = match key.algorithm {
        KeyAlgorithm::P256 => {
            let point = p256::PublicKey::from_public_key_pem(&key.public_key).map_err(|_| damaged())?;
            put(&mut out, P256.as_bytes());
            put(&mut out, P256_CURVE.as_bytes());
            put(&mut out, point.to_sec1_point(false).as_bytes());
            P256
        }
        KeyAlgorithm::Ed25519 => {
            let point = ed25519_dalek::VerifyingKey::from_public_key_pem(&key.public_key).map_err(|_| damaged())?;
            put(&mut out, ED25519.as_bytes());
            put(&mut out, point.as_bytes());
            ED25519
        }
    };
    Ok((algorithm, out))
}

/// The line of a public key, as in `id_ed25519.pub`. Behind a principal it is a line of an allowed-signers file.
pub(super) fn public_key_line(key: &Key) -> Result<String, KeyError> {
    let (algorithm, blob) = public_key(key)?;
    Ok(format!("{algorithm} {} attest-run-{}-{}\n", BASE64.encode(&blob), key.stage, key.name))
}

/// The signature's file.
pub(super) fn armored(key: &Key, signature: &Signature) -> Result<String, KeyError> {
    let (algorithm, public_key) = public_key(key)?;
    let mut blob = Vec::new();
    put(&mut blob, algorithm.as_bytes());
    match signature {
        Signature::Ed25519(signature) => put(&mut blob, signature),
        Signature::P256(signature) => {
            let (r, s) = signature.split_bytes();
            let mut numbers = Vec::new();
            put_number(&mut numbers, &r);
            put_number(&mut numbers, &s);
            put(&mut blob, &numbers);
        }
    }
    let mut out = PREAMBLE.to_vec();
    out.extend(VERSION.to_be_bytes());
    for part in [public_key.as_slice(), NAMESPACE.as_bytes(), b"", HASH.as_bytes(), &blob] {
        put(&mut out, part);
    }
    let text = BASE64.encode(&out);
    let mut armored = "-----BEGIN SSH SIGNATURE-----\n".to_owned();
    for line in text.as_bytes().chunks(LINE) {
        armored += &String::from_utf8_lossy(line);
        armored.push('\n');
    }
    Ok(armored + "-----END SSH SIGNATURE-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_rfc_4251_has_them() {
        for (bytes, encoded) in [
            (&[0_u8, 0][..], &[0_u8, 0, 0, 0][..]),
            (&[0, 0x7f], &[0, 0, 0, 1, 0x7f]),
            (&[0x80], &[0, 0, 0, 2, 0, 0x80]),
            (&[0, 0, 0xff, 1], &[0, 0, 0, 3, 0, 0xff, 1]),
        ] {
            let mut out = Vec::new();
            put_number(&mut out, bytes);
            assert_eq!(out, encoded);
        }
    }
}
