//! The list of fingerprints that are known and fail nothing.

use attest_leaks::Fingerprint;
use std::collections::BTreeMap;
use std::fmt;

/// Most bytes of a list.
pub(crate) const MOST_BYTES: u64 = 1 << 20;

/// Fingerprints, each with why it is allowed, where the list says so.
#[derive(Debug, Default)]
pub(crate) struct AllowList(BTreeMap<Fingerprint, Option<String>>);

/// What is wrong with a list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadList {
    NoText,
    /// Of that line, counted from 1. The line itself is not told: somebody may have put the secret there.
    NoFingerprint(usize),
}

impl AllowList {
    /// Reads a list: in each line a fingerprint, and behind `#` why. Empty lines and those that begin with `#` say nothing.
    pub(crate) fn read(text: &[u8]) -> Result<Self, BadList> {
        let text = std::str::from_utf8(text).map_err(|_| BadList::NoText)?;
        let mut list = BTreeMap::new();
        for (line, text) in (1..).zip(text.lines()) {
            let (fingerprint, why) = text.split_once('#').map_or((text, None), |(before, why)| (before, Some(why)));
            if fingerprint.trim().is_empty() {
                continue;
            }
            let fingerprint = fingerprint.trim().parse().map_err(|_| BadList::NoFingerprint(line))?;
            list.insert(fingerprint, why.map(|why| why.trim().to_owned()).filter(|why| !why.is_empty()));
        }
        Ok(Self(list))
    }

    /// Why a fingerprint is allowed, if it is.
    pub(crate) fn why(&self, fingerprint: Fingerprint) -> Option<Option<&str>> {
        self.0.get(&fingerprint).map(Option::as_deref)
    }

    pub(crate) fn fingerprints(&self) -> impl Iterator<Item = Fingerprint> {
        self.0.keys().copied()
    }
}

impl fmt::Display for BadList {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoText => out.write_str("it is no UTF-8"),
            Self::NoFingerprint(line) => {
                write!(out, "line {line} is no fingerprint of 32 hex digits, with `# why` behind it")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_fingerprint_in_each_line_and_why() {
        let (one, other) = ("0123456789abcdef0123456789abcdef", "00000000000000000000000000000000");
        let list = AllowList::read(format!("# known\n\n{one}  # of a test\r\n{other}\n").as_bytes()).unwrap();
        assert_eq!(list.why(one.parse().unwrap()), Some(Some("of a test")));
        assert_eq!(list.why(other.parse().unwrap()), Some(None));
        assert_eq!(list.why("11111111111111111111111111111111".parse().unwrap()), None);
        assert_eq!(list.fingerprints().count(), 2);
    }

    #[test]
    fn what_is_no_fingerprint_is_named_by_its_line_alone() {
        let error = AllowList::read(b"# x\nhunter2hunter2\n").unwrap_err();
        assert_eq!(error, BadList::NoFingerprint(2));
        assert!(!error.to_string().contains("hunter2"));
        assert_eq!(AllowList::read(b"\xff").unwrap_err(), BadList::NoText);
    }
}
