//! The search in a stream that comes in chunks.

use super::{BEFORE, Finding, Fingerprint, Patterns, Position, Ready};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes that are taken from a chunk at once.
const AT_ONCE: usize = 64 * 1024;

/// Looks for [`Patterns`] in one stream, chunk by chunk. What it finds does not depend on where chunks end.
///
/// A finding is told when what stands around it is there: mostly some hundred bytes, for keys in PEM 16 KiB. It
/// keeps less than 200 KiB.
///
/// ```
/// # use attest_leaks::{Patterns, PatternScanner};
/// let mut scanner = PatternScanner::new(Patterns::new());
/// let mut found = Vec::new();
/// scanner.push(b"token: xoxb-482910375", |finding| found.push(finding.pattern.name));
/// scanner.push(b"610-k3Jd8sLq0PzmW4xT7bVn", |finding| found.push(finding.pattern.name));
/// scanner.finish(|finding| found.push(finding.pattern.name));
/// assert_eq!(found, ["slack-token"]);
/// ```
pub struct PatternScanner {
    patterns: Arc<Patterns>,
    kept: Zeroizing<Vec<u8>>,
    /// Bytes of the stream before those that are kept.
    before: u64,
    /// No anchor that is not decided begins before that byte of what is kept.
    next: usize,
    /// That many bytes of what is kept lie before `position`.
    passed: usize,
    position: Position,
    /// For each kind, where in the stream its last secret ended: what begins before that is a part of it.
    ends: Vec<u64>,
}

impl PatternScanner {
    /// Of a stream that begins.
    pub fn new(patterns: Arc<Patterns>) -> Self {
        Self {
            ends: vec![0; patterns.ready.len()],
            patterns,
            kept: Zeroizing::new(Vec::new()),
            before: 0,
            next: 0,
            passed: 0,
            position: Position::START,
        }
    }

    /// Takes more of the stream, and calls `found` with what was found by now.
    pub fn push(&mut self, chunk: &[u8], mut found: impl FnMut(Finding)) {
        for piece in chunk.chunks(AT_ONCE) {
            if self.kept.len() + piece.len() > self.kept.capacity() {
                self.make_room(piece.len());
            }
            self.kept.extend_from_slice(piece);
            self.search(false, &mut found);
        }
    }

    /// Ends the stream, and calls `found` with what is left of it.
    pub fn finish(mut self, mut found: impl FnMut(Finding)) {
        self.search(true, &mut found);
    }

    /// Moves what is still wanted to the front, where that is the smaller part, or all to where there is more room: a vector that
    /// grows by itself leaves copies.
    fn make_room(&mut self, more: usize) {
        let done = self.next.saturating_sub(BEFORE + 1);
        if done > self.kept.len() / 2 {
            self.pass(done);
            let left = self.kept.len() - done;
            self.kept.copy_within(done.., 0);
            self.kept.truncate(left);
            self.before += to_u64(done);
            self.next -= done;
            self.passed -= done;
        }
        if self.kept.len() + more > self.kept.capacity() {
            let mut kept = Zeroizing::new(Vec::with_capacity((self.kept.len() + more) * 2));
            kept.extend_from_slice(&self.kept);
            self.kept.zeroize();
            self.kept = kept;
        }
    }

    fn search(&mut self, all: bool, found: &mut impl FnMut(Finding)) {
        let patterns = Arc::clone(&self.patterns);
        while let Some((anchor, at)) = patterns.anchor(&self.kept, self.next) {
            self.next = at;
            // One byte more than the reach: what stands behind a secret tells whether it ends there.
            if !all && self.kept.len() <= at + patterns.reach(anchor) {
                return;
            }
            for ready in patterns.of(anchor) {
                if self.try_at(ready, at, found) {
                    break;
                }
            }
            self.next = at + 1;
        }
        // An anchor may be there in part.
        self.next = self.next.max((self.kept.len() + 1).saturating_sub(patterns.longest_anchor));
    }

    /// Whether the anchor at `at` is one of that pattern's secrets, old or new.
    fn try_at(&mut self, ready: &Ready, at: usize, found: &mut impl FnMut(Finding)) -> bool {
        let ended = self.ends.get(ready.kind).copied().unwrap_or_default();
        let in_stream = |at: usize| self.before + to_u64(at);
        if ready.pattern.nearby.is_none() && in_stream(at) < ended {
            return true;
        }
        let Some(secret) = ready.secret(&self.kept, at) else { return false };
        let (offset, end) = (in_stream(secret.start), in_stream(secret.end));
        if offset < ended {
            return true;
        }
        if let Some(ended) = self.ends.get_mut(ready.kind) {
            *ended = end;
        }
        self.pass(at.saturating_sub(BEFORE));
        if let Some(finding) = self.finding(ready, offset, secret) {
            found(finding);
        }
        true
    }

    fn finding(&self, ready: &Ready, offset: u64, secret: Range<usize>) -> Option<Finding> {
        let bytes = self.kept.get(secret.clone())?;
        let mut start = self.position;
        start.pass(self.kept.get(self.passed..secret.start)?);
        let mut end = start;
        end.pass(bytes);
        let fingerprint = Fingerprint::of(ready.pattern, bytes);
        Some(Finding { pattern: ready.pattern, offset, length: secret.len(), start, end, fingerprint })
    }

    /// Bytes that it could keep without more memory.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.kept.capacity()
    }

    /// Counts lines and columns up to that byte of what is kept.
    fn pass(&mut self, to: usize) {
        if let Some(text) = self.kept.get(self.passed..to) {
            self.position.pass(text);
            self.passed = to;
        }
    }
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Shows how much is kept.
impl fmt::Debug for PatternScanner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PatternScanner").field("kept", &self.kept.len()).finish_non_exhaustive()
    }
}
