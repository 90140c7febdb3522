//! How this house is built: rules that a compiler does not hold by itself.

mod codes;
mod dependencies;
mod help;
mod json;
mod proofs;

pub(crate) use json::is_as_documented;

use std::path::{Path, PathBuf};

/// Every Rust file of the programs.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<_> =
        ["host", "attestation"].map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}
