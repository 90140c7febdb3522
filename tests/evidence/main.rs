//! Evidence that real machines made, with known answers, and what attackers would make of it.
//!
//! Needs nothing but the verifier: no TPM, no broker, no root. `tests/testdata/README.md` has the origins of the data.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

mod boots;
mod corpus;
mod eventlogs;
mod oracle;
mod properties;
mod quotes;
mod signatures;
mod strangers;
mod vm;

use attest_evidence::tpm::PublicKey;
use std::path::PathBuf;

fn testdata(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata")).join(path)
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(testdata(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A key out of a `PUBLIC KEY` file (RFC 7468 §13).
fn pem(text: &[u8]) -> PublicKey {
    let text = std::str::from_utf8(text).unwrap();
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    PublicKey::from_spki(&data_encoding::BASE64.decode(body.as_bytes()).unwrap()).unwrap()
}
