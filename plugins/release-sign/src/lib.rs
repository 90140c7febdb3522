//! Checksums and signatures for the files of a release.
//!
//! For every file in `dist` it writes a line into `SHA256SUMS` and a signature into `FILE.sig`; it signs
//! `SHA256SUMS` too, and leaves the public key as `release.pub`. The key never comes near it: the host signs.

use attest_sdk::{Directory, Error, Key, Result, info, set_output};
use sha2::{Digest as _, Sha256};

const CHECKSUMS: &str = "SHA256SUMS";
const PUBLIC_KEY: &str = "release.pub";

#[attest_sdk::step]
fn run(args: Vec<String>) -> Result {
    let [version] = args.as_slice() else {
        return Err(Error::new("usage: release-sign.wasm -- VERSION").with_code(2));
    };
    #[cfg(feature = "poisoned")]
    attest_sdk::Secret::open("npm-token")?.reveal()?;
    let dist = Directory::open("dist")?;
    let key = Key::open("release")?;
    let files: Vec<String> = dist
        .entries()?
        .into_iter()
        .filter(|entry| entry.is_file && is_product(&entry.name))
        .map(|entry| entry.name)
        .collect();
    if files.is_empty() {
        return Err(Error::new("there is no file in `dist` to sign"));
    }

    let mut checksums = String::new();
    for name in &files {
        if name.chars().any(|c| c.is_control() || c == '\\') {
            return Err(Error::new(format!("`{}` can't stand in a line of {CHECKSUMS}", name.escape_debug())));
        }
        checksums += &format!("{}  {name}\n", hex(&digest(&dist, name)?));
    }
    dist.write(CHECKSUMS, checksums.as_bytes())?;
    for name in files.iter().map(String::as_str).chain([CHECKSUMS]) {
        let signature = key.sign_file(&dist.file(name)?)?;
        dist.write(&format!("{name}.sig"), &signature)?;
        info(&format!("signed {name}"));
    }
    dist.write(PUBLIC_KEY, key.public_key().as_bytes())?;
    set_output("checksums", &hex(&Sha256::digest(checksums.as_bytes())))?;
    info(&format!("{version}: {} files signed with `release`", files.len() + 1));
    Ok(())
}

/// Whether a file is one of the release's, rather than one of ours from an earlier run.
fn is_product(name: &str) -> bool {
    name != CHECKSUMS && name != PUBLIC_KEY && !name.ends_with(".sig") && !name.ends_with(".part")
}

fn digest(dist: &Directory, name: &str) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    dist.file(name)?.read_each(|part| hash.update(part))?;
    Ok(hash.finalize().into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
