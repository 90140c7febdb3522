//! What a search has come to.

use crate::allow::AllowList;
use attest_leaks::{Finding, Fingerprint, Pattern};
use std::collections::BTreeSet;

/// Most findings of one search. Whoever has more has one cause for them, and no use of the rest.
pub(crate) const MOST_FINDINGS: usize = 10_000;
/// Most problems that are told.
const MOST_PROBLEMS: usize = 1000;

/// Something that looks like a secret, in a file.
pub(crate) struct Leak {
    /// The file, from `source` on, with `/` between its names.
    pub(crate) path: String,
    /// Whether the file is no text: then lines say nothing.
    pub(crate) binary: bool,
    pub(crate) finding: Finding,
}

/// All of it.
pub(crate) struct Report {
    allowed: AllowList,
    pub(crate) leaks: Vec<Leak>,
    /// Files that were searched.
    pub(crate) searched: usize,
    /// Large binary files that were not.
    pub(crate) skipped: Vec<String>,
    /// Why not all was searched.
    pub(crate) problems: Vec<String>,
}

impl Report {
    pub(crate) fn new(allowed: AllowList) -> Self {
        Self { allowed, leaks: Vec::new(), searched: 0, skipped: Vec::new(), problems: Vec::new() }
    }

    /// How many more findings it takes.
    pub(crate) fn room(&self) -> usize {
        MOST_FINDINGS.saturating_sub(self.leaks.len())
    }

    pub(crate) fn problem(&mut self, problem: String) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(problem);
        }
    }

    /// Why what was found is allowed, if it is.
    pub(crate) fn why(&self, leak: &Leak) -> Option<Option<&str>> {
        self.allowed.why(leak.finding.fingerprint)
    }

    /// Those that are not allowed.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Leak> {
        self.leaks.iter().filter(|leak| self.why(leak).is_none())
    }

    /// How many are.
    pub(crate) fn allowed(&self) -> usize {
        self.leaks.len() - self.open().count()
    }

    /// Fingerprints that are allowed, and that nothing has.
    pub(crate) fn unused(&self) -> impl Iterator<Item = Fingerprint> {
        let found: BTreeSet<_> = self.leaks.iter().map(|leak| leak.finding.fingerprint).collect();
        self.allowed.fingerprints().filter(move |fingerprint| !found.contains(fingerprint))
    }
}

/// What is said of a finding.
pub(crate) fn message(pattern: &Pattern) -> String {
    format!("This looks like {}. Whoever reads these sources has it: revoke it.", pattern.what)
}
