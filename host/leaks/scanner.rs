//! Streams that must not hold a value at all.

use crate::values::{Hit, Values};
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Bytes that are searched at once, beside what was kept.
const AT_ONCE: usize = 64 * 1024;

/// Looks for the first hit in one stream, chunk by chunk: a file, a response.
///
/// It has been found when its last byte is there, so a stream has no end to be told. Where chunks end makes no difference to what
/// is found. Of a stream it keeps what could be the beginning of a hit, at most [`LONGEST_HIT`](crate::LONGEST_HIT) bytes.
pub struct Scanner {
    values: Arc<Values>,
    kept: Zeroizing<Vec<u8>>,
    /// Bytes of the stream before those that are kept.
    before: u64,
    first: Option<Hit>,
}

impl Scanner {
    /// Of a stream that begins.
    pub fn new(values: Arc<Values>) -> Self {
        Self { values, kept: Zeroizing::new(Vec::new()), before: 0, first: None }
    }

    /// Takes more of the stream. Says which hit ended first in all of it so far; of those, the longest.
    pub fn push(&mut self, chunk: &[u8]) -> Option<Hit> {
        for piece in chunk.chunks(AT_ONCE) {
            if self.first.is_some() {
                break;
            }
            if self.kept.is_empty() {
                self.search(piece);
            } else {
                let mut text = Zeroizing::new(Vec::with_capacity(self.kept.len() + piece.len()));
                text.extend_from_slice(&self.kept);
                text.extend_from_slice(piece);
                self.search(&text);
            }
        }
        self.first
    }

    /// The hit that ended first, if there was one.
    pub fn first(&self) -> Option<Hit> {
        self.first
    }

    fn search(&mut self, text: &[u8]) {
        self.first = self.values.first_hit(text, self.before);
        let open = self.values.prefixes.open(&self.values.needles, text);
        let tail = text.get(open..).unwrap_or_default();
        let mut kept = Zeroizing::new(Vec::with_capacity(tail.len()));
        kept.extend_from_slice(tail);
        self.kept = kept;
        self.before += u64::try_from(open).unwrap_or(u64::MAX);
    }
}

/// Shows how much is kept.
impl fmt::Debug for Scanner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Scanner").field("kept", &self.kept.len()).field("first", &self.first).finish_non_exhaustive()
    }
}
