//! Evidence that real machines made, with known answers, and what attackers would make of it.
//!
//! Needs nothing but the verifier: no TPM, no broker, no root. `tests/testdata/README.md` has the origins of the data.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

mod eventlogs;
mod strangers;

use std::path::PathBuf;

fn testdata(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata")).join(path)
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(testdata(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
