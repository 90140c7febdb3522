//! What is told of a secret that was found: everything but the secret.

use super::Pattern;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// Something in a stream that looks like a secret.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Like which.
    pub pattern: &'static Pattern,
    /// Where it begins: bytes from the stream's beginning.
    pub offset: u64,
    /// Its bytes.
    pub length: usize,
    /// Where it begins, for people.
    pub start: Position,
    /// Behind its last character.
    pub end: Position,
    /// Which secret it is, for lists of those that are known.
    pub fingerprint: Fingerprint,
}

/// A place in a text: both are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line. Lines end with `\n`.
    pub line: u64,
    /// The character in it, where the text is UTF-8.
    pub column: u64,
}

/// SHA-256 of a secret with its pattern's name before it, cut to 16 bytes. As text, 32 hex digits.
///
/// Who has it can try what the secret may be. That tells nothing of a token; of a password that people made, it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 16]);

/// A text that is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint has 32 hex digits")]
pub struct NotAFingerprint;

impl Position {
    pub(super) const START: Self = Self { line: 1, column: 1 };

    /// Passes over `text`.
    pub(super) fn pass(&mut self, text: &[u8]) {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let mut last = text;
        if let Some(newline) = memchr::memrchr(b'\n', text) {
            self.line += count(memchr::memchr_iter(b'\n', text).count());
            self.column = 1;
            last = text.get(newline + 1..).unwrap_or_default();
        }
        // All bytes but those that go on with a character.
        self.column += count(last.iter().filter(|byte| **byte & 0xc0 != 0x80).count());
    }
}

impl Fingerprint {
    pub(super) fn of(pattern: &Pattern, secret: &[u8]) -> Self {
        let digest = Sha256::new().chain_update(pattern.name).chain_update([0]).chain_update(secret).finalize();
        Self(digest.first_chunk().copied().unwrap_or_default())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| NotAFingerprint)?;
        bytes.try_into().map(Self).map_err(|_| NotAFingerprint)
    }
}
