//! Checksums and signatures for the files of a release.
//!
//! For every file in `dist` it writes a line into `SHA256SUMS` and a signature into `FILE.sig`, or into what the formats that are
//! asked for are called; it signs `SHA256SUMS` too, and leaves the public key as `release.pub`. The key never comes near it: the host signs.

mod checksums;
mod names;

use attest_sdk::{Arguments, Directory, Error, Key, Result, SignatureFormat, info, set_output};
use checksums::Checksums;
use step_digest::Sha256Digest;

const USAGE: &str = "usage: release-sign.wasm -- [--formats raw,minisign,ssh,sigstore] VERSION";

#[attest_sdk::step]
fn run(args: Vec<String>) -> Result {
    let mut arguments = Arguments::new(args, USAGE);
    let formats = formats(&arguments.option("--formats")?.unwrap_or_else(|| "raw".to_owned()))?;
    let rest = arguments.rest()?;
    let [version] = rest.as_slice() else { return Err(Error::new(USAGE).with_code(2)) };
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
        for format in &formats {
            let signature = key.sign_file_as(*format, &dist.file(name)?)?;
            dist.write(&names::signature(name, *format), &signature)?;
        }
        info(&format!("signed {name}"));
    }
    dist.write(names::PUBLIC_KEY, key.public_key().as_bytes())?;
    set_output("checksums", &Sha256Digest::of(checksums.text().as_bytes()).to_string())?;
    info(&format!("{version}: {} files signed with `release`", files.len() + 1));
    Ok(())
}

/// The formats in a list of their names.
fn formats(list: &str) -> Result<Vec<SignatureFormat>> {
    let named = |name: &str| match name {
        "raw" => Ok(SignatureFormat::Raw),
        "minisign" => Ok(SignatureFormat::Minisign),
        "ssh" => Ok(SignatureFormat::Ssh),
        "sigstore" => Ok(SignatureFormat::Sigstore),
        other => Err(Error::new(format!("`{}` is no format\n{USAGE}", other.escape_debug())).with_code(2)),
    };
    list.split(',').map(named).collect()
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
