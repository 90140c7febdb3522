//! Checksums and signatures for the files of a release.
//!
//! For every file in `dist` it writes a line into `SHA256SUMS` and a signature into `FILE.sig`; it signs
//! `SHA256SUMS` too, and leaves the public key as `release.pub`. The key never comes near it: the host signs.

mod checksums;
mod names;

use attest_sdk::{Directory, Error, Key, Result, info, set_output};
use checksums::Checksums;
use step_digest::Sha256Digest;

#[attest_sdk::step]
fn run(args: Vec<String>) -> Result {
    let [version] = args.as_slice() else {
        return Err(Error::new("usage: release-sign.wasm -- VERSION").with_code(2));
    };
    #[cfg(feature = "poisoned")]
    attest_sdk::Secret::open("npm-token")?.reveal()?;
    let dist = Directory::open("dist")?;
    let key = Key::open("release")?;
    let files = products(&dist)?;

    let mut checksums = Checksums::default();
    for name in &files {
        checksums.add(name, &Sha256Digest::of_file(&dist.file(name)?)?)?;
    }
    dist.write(names::CHECKSUMS, checksums.text().as_bytes())?;
    for name in files.iter().map(String::as_str).chain([names::CHECKSUMS]) {
        let signature = key.sign_file(&dist.file(name)?)?;
        dist.write(&names::signature(name), &signature)?;
        info(&format!("signed {name}"));
    }
    dist.write(names::PUBLIC_KEY, key.public_key().as_bytes())?;
    set_output("checksums", &Sha256Digest::of(checksums.text().as_bytes()).to_string())?;
    info(&format!("{version}: {} files signed with `release`", files.len() + 1));
    Ok(())
}

/// The files of the release, by name.
fn products(dist: &Directory) -> Result<Vec<String>> {
    let names: Vec<_> = dist.entries()?.into_iter().filter(|entry| entry.is_file).map(|entry| entry.name).collect();
    let all: Vec<_> = names.iter().map(String::as_str).collect();
    let (ours, files): (Vec<_>, Vec<_>) = names.iter().cloned().partition(|name| names::is_ours(name, &all));
    if !ours.is_empty() {
        info(&format!("of an earlier run, and written anew: {}", ours.join(", ")));
    }
    if files.is_empty() { Err(Error::new("there is no file in `dist` to sign")) } else { Ok(files) }
}
