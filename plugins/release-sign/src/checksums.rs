//! `SHA256SUMS`, as `sha256sum --check` reads it.

use crate::names;
use attest_sdk::{Error, Result};
use step_digest::Sha256Digest;

/// The file's lines.
#[derive(Debug, Default)]
pub(crate) struct Checksums(String);

impl Checksums {
    /// Adds a file.
    pub(crate) fn add(&mut self, name: &str, digest: &Sha256Digest) -> Result {
        // Such names have an escaped form in these files, which not every program reads alike.
        if name.chars().any(|c| c.is_control() || c == '\\') {
            let file = names::CHECKSUMS;
            return Err(Error::new(format!("`{}` can't stand in a line of {file}", name.escape_debug())));
        }
        self.0 += &format!("{digest}  {name}\n");
        Ok(())
    }

    /// The file's contents.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_sha256sum_writes_them() {
        let mut checksums = Checksums::default();
        checksums.add("abc.txt", &Sha256Digest::of(b"abc")).unwrap();
        checksums.add("a b", &Sha256Digest::of(b"")).unwrap();
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  abc.txt\n\
            e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a b\n";
        assert_eq!(checksums.text(), text);
    }

    #[test]
    fn a_name_can_not_make_a_line_of_its_own() {
        for name in ["a\nb", "a\\b", "a\rb"] {
            let mut checksums = Checksums::default();
            assert!(checksums.add(name, &Sha256Digest::of(b"")).is_err(), "{name:?}");
            assert_eq!(checksums.text(), "");
        }
    }
}
