//! SHA-256 as the official steps write it.

use attest_sdk::{Directory, File, Result};
use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// A SHA-256. Shown in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sha256Digest([u8; 32]);

/// Text that is no SHA-256: not 64 digits `0-9a-f`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadDigest;

impl Sha256Digest {
    /// Of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Of a file, of any size.
    pub fn of_file(file: &File) -> Result<Self> {
        let mut hash = Sha256::new();
        file.read_each(|part| hash.update(part))?;
        Ok(Self(hash.finalize().into()))
    }

    /// Its bytes in base64 (RFC 4648 §4).
    pub fn base64(&self) -> String {
        BASE64.encode(&self.0)
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl FromStr for Sha256Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> std::result::Result<Self, BadDigest> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| BadDigest)?;
        bytes.try_into().map(Self).map_err(|_| BadDigest)
    }
}

/// A file of a directory, as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    /// Its path in the directory.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// Of its contents.
    pub digest: Sha256Digest,
}

impl LocalFile {
    /// Looks at a file.
    pub fn look(directory: &Directory, path: &str) -> Result<Self> {
        let file = directory.file(path)?;
        Ok(Self { path: path.to_owned(), size: file.size()?, digest: Sha256Digest::of_file(&file)? })
    }

    /// Its name, without the directories in front.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_shown() {
        // FIPS 180-4, of the empty message.
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Sha256Digest::of(b"").to_string(), empty);
        assert_eq!(empty.parse(), Ok(Sha256Digest::of(b"")));
        assert_eq!(Sha256Digest::of(b"").base64(), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        for bad in ["", "e3", &empty[1..], &empty.to_uppercase(), &format!("{empty}0"), &empty.replace('e', "g")] {
            assert_eq!(bad.parse::<Sha256Digest>(), Err(BadDigest), "{bad}");
        }
    }
}
