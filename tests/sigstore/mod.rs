//! Sigstore: what others signed is verified, what was tampered with is refused, by its reason.

mod conformance;
mod strangers;
mod tampers;
mod timestamps;

use std::path::{Path, PathBuf};

/// A file of others, see `tests/testdata/README.md`.
fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/sigstore").join(path)
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(data(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
