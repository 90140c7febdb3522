//! The search in one file.

use attest_leaks::{Finding, PatternScanner, Patterns};
use std::sync::Arc;

/// Most bytes of a binary file that is searched. Larger ones are media and programs, of which a thousand bytes in a row look like
/// anything.
pub(crate) const MOST_OF_BINARY: u64 = 1 << 20;
/// Where a zero byte tells that a file is no text: as `git` and `grep` have it.
const LOOKED_AT: usize = 8000;

/// A file whose parts come one after the other.
pub(crate) struct FileSearch {
    scanner: PatternScanner,
    findings: Vec<Finding>,
    /// Most findings that are kept.
    room: usize,
    length: u64,
    binary: bool,
}

/// What came of it.
pub(crate) enum Searched {
    /// All of it was searched.
    Whole {
        findings: Vec<Finding>,
        /// Lines mean nothing in it.
        binary: bool,
    },
    /// It is binary and large.
    LeftOut,
}

impl FileSearch {
    pub(crate) fn new(patterns: &Arc<Patterns>, room: usize) -> Self {
        let scanner = PatternScanner::new(Arc::clone(patterns));
        Self { scanner, findings: Vec::new(), room, length: 0, binary: false }
    }

    pub(crate) fn push(&mut self, part: &[u8]) {
        let looked_at = LOOKED_AT.saturating_sub(usize::try_from(self.length).unwrap_or(LOOKED_AT)).min(part.len());
        self.binary |= part.get(..looked_at).is_some_and(|begin| begin.contains(&0));
        self.length = self.length.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
        if self.left_out() {
            return;
        }
        self.scanner.push(part, |finding| keep(&mut self.findings, self.room, finding));
    }

    pub(crate) fn finish(mut self) -> Searched {
        if self.left_out() {
            return Searched::LeftOut;
        }
        self.scanner.finish(|finding| keep(&mut self.findings, self.room, finding));
        self.findings.sort_by_key(|finding| finding.offset);
        Searched::Whole { findings: self.findings, binary: self.binary }
    }

    fn left_out(&self) -> bool {
        self.binary && self.length > MOST_OF_BINARY
    }
}

fn keep(findings: &mut Vec<Finding>, room: usize, finding: Finding) {
    if findings.len() < room {
        findings.push(finding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(parts: &[&[u8]], room: usize) -> Searched {
        let mut search = FileSearch::new(&Patterns::new(), room);
        parts.iter().for_each(|part| search.push(part));
        search.finish()
    }

    fn token() -> Vec<u8> {
        ["SG.", "q7Lw2ZxT0bRk9VnE4mHs5A", ".", "Yp3Jd8Uf1Gc6Xo0Ni2Bt7Ql4Ws9Ke5Mz8Ra3Vh6Cy1D"].concat().into_bytes()
    }

    #[test]
    fn text_and_small_binary_files_are_searched() {
        for (before, is_binary) in [(&b"text "[..], false), (b"\x7fELF\0 ", true)] {
            let Searched::Whole { findings, binary } = search(&[before, &token(), b" ", &token()], 9) else { panic!() };
            assert_eq!((findings.len(), binary), (2, is_binary));
            assert_eq!(findings[0].offset, before.len() as u64);
        }
    }

    #[test]
    fn large_binary_files_are_left_out_and_large_texts_are_not() {
        let part = [vec![b' '; 1 << 20], token(), vec![b' '; 1 << 20]].concat();
        assert!(matches!(search(&[b"\0", &part], 9), Searched::LeftOut));
        assert!(
            matches!(search(&[&part, b"\0"], 9), Searched::Whole { findings, binary: false } if findings.len() == 1)
        );
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let text = [token(), b"\n".to_vec()].concat().repeat(50);
        assert!(matches!(search(&[&text], 7), Searched::Whole { findings, .. } if findings.len() == 7));
    }
}
