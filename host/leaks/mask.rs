//! Streams without the values.

use crate::encodings::Encoding;
use crate::table::Found;
use crate::values::{Hit, Values};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use zeroize::{Zeroize as _, Zeroizing};

/// What stands where a value stood. Hits that overlap or touch have one together.
pub const MARK: &str = "***";
/// Bytes that are searched at once, beside what is held back.
const AT_ONCE: usize = 64 * 1024;

/// How much of a stream is held back until more of it is there. Never more than [`LONGEST_HIT`](crate::LONGEST_HIT) bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HoldBack {
    /// What could be the beginning of a hit. Whoever writes the stream and sees *when* its parts come out can tell from this
    /// whether they wrote a value's beginning.
    #[default]
    Beginnings,
    /// As many bytes as the longest hit has, whatever they are: when they come out tells nothing.
    Always,
}

/// Which values were found, and how they were written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exposed {
    found: BTreeSet<(usize, Encoding)>,
}

impl Exposed {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Each value that was found, by its place among those that [`Values::new`] was given, with each encoding that it was found in.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Encoding)> {
        self.found.iter().copied()
    }

    fn add(&mut self, values: &Values, needle: usize) {
        self.found.extend(values.needles.owners(needle).iter().map(|owner| (owner.value, owner.encoding)));
    }
}

/// Masks one stream, chunk by chunk. What comes out does not depend on where chunks end.
///
/// ```
/// # use attest_leaks::{Mask, Values};
/// # use std::sync::Arc;
/// let values = Arc::new(Values::new([("token", &b"correct horse"[..])])?);
/// let (mut mask, mut out) = (Mask::new(values), Vec::new());
/// mask.push(b"it is correct ho", &mut out);
/// mask.push(b"rse, isn't it", &mut out);
/// assert!(!mask.finish(&mut out).is_empty());
/// assert_eq!(out, b"it is ***, isn't it");
/// # Ok::<(), attest_leaks::BadValues>(())
/// ```
pub struct Mask {
    values: Arc<Values>,
    hold_back: HoldBack,
    held: Zeroizing<Vec<u8>>,
    edge: Edge,
    exposed: Exposed,
}

/// What has come out of the text that is still there.
#[derive(Clone, Copy, Default)]
struct Edge {
    /// That many bytes have a mark already.
    covered: usize,
    /// A mark is what came out last.
    marked: bool,
}

impl Mask {
    /// Of a stream that begins.
    pub fn new(values: Arc<Values>) -> Self {
        Self::holding(values, HoldBack::Beginnings)
    }

    /// The same, with another way to hold back.
    pub fn holding(values: Arc<Values>, hold_back: HoldBack) -> Self {
        let held = Zeroizing::new(Vec::new());
        Self { values, hold_back, held, edge: Edge::default(), exposed: Exposed::default() }
    }

    /// Takes more of the stream, and appends to `out` what may come out of it by now.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        for piece in chunk.chunks(AT_ONCE) {
            if self.held.is_empty() {
                let open = self.mask(piece, false, out);
                self.hold(piece.get(open..).unwrap_or_default());
            } else {
                let mut text = Zeroizing::new(Vec::with_capacity(self.held.len() + piece.len()));
                text.extend_from_slice(&self.held);
                text.extend_from_slice(piece);
                let open = self.mask(&text, false, out);
                self.hold(text.get(open..).unwrap_or_default());
            }
        }
    }

    /// Ends the stream: appends what was held back, and says what was found in all of it.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Exposed {
        let held = std::mem::take(&mut self.held);
        self.mask(&held, true, out);
        std::mem::take(&mut self.exposed)
    }

    /// What was found so far.
    pub fn exposed(&self) -> &Exposed {
        &self.exposed
    }

    fn hold(&mut self, tail: &[u8]) {
        self.held.zeroize();
        self.held.extend_from_slice(tail);
    }

    /// Masks what is decided of `text`, and says where the rest begins.
    fn mask(&mut self, text: &[u8], all: bool, out: &mut Vec<u8>) -> usize {
        let hits = covered(&self.values, text, &mut self.exposed);
        let prefixes = &self.values.prefixes;
        let open = match self.hold_back {
            _ if all => text.len(),
            HoldBack::Beginnings => prefixes.open(&self.values.needles, text),
            HoldBack::Always => (text.len() + 1).saturating_sub(prefixes.longest()).min(text.len()),
        };
        self.edge.write(text, &hits, open, out);
        open
    }
}

impl Edge {
    /// Writes `text` up to `open`, with a mark for each of `hits` that begins before it. What follows is part of the next text.
    fn write(&mut self, text: &[u8], hits: &[(usize, usize)], open: usize, out: &mut Vec<u8>) {
        let mut at = self.covered;
        let plain = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
        for (begin, end) in hits.iter().copied().take_while(|(begin, _)| *begin < open) {
            if begin > at {
                out.extend_from_slice(plain(at..begin));
                self.marked = false;
            }
            if !self.marked {
                out.extend_from_slice(MARK.as_bytes());
                self.marked = true;
            }
            at = at.max(end);
        }
        if at < open {
            out.extend_from_slice(plain(at..open));
            self.marked = false;
        }
        self.covered = at.saturating_sub(open);
    }
}

/// The parts of `text` that are hits, in order. They don't touch.
fn covered(values: &Values, text: &[u8], exposed: &mut Exposed) -> Vec<(usize, usize)> {
    let mut hits: Vec<(usize, usize)> = Vec::new();
    let mut last = usize::MAX;
    values.table.search(&values.needles, text, |Found { range, needle }| {
        if needle != last {
            exposed.add(values, needle);
            last = needle;
        }
        match hits.last_mut() {
            // Keeps the list short where hits overlap all over.
            Some((begin, end)) if range.start <= *end && *begin <= range.end => {
                (*begin, *end) = (range.start.min(*begin), range.end.max(*end));
            }
            _ => hits.push((range.start, range.end)),
        }
    });
    hits.sort_unstable();
    hits.dedup_by(|next, kept| {
        let touches = next.0 <= kept.1;
        kept.1 = if touches { kept.1.max(next.1) } else { kept.1 };
        touches
    });
    hits
}

impl Values {
    /// Masks a text that is there as a whole: a line of a log, a title, an output. It is `text` itself where nothing was found.
    ///
    /// A character of which a hit covers a part is covered as a whole.
    pub fn mask_whole<'a>(&self, text: &'a str) -> (Cow<'a, str>, Exposed) {
        let mut exposed = Exposed::default();
        let hits = covered(self, text.as_bytes(), &mut exposed);
        if hits.is_empty() {
            return (Cow::Borrowed(text), exposed);
        }
        let mut masked = String::with_capacity(text.len());
        let mut at = 0;
        for (begin, end) in hits {
            let (begin, end) = (text.floor_char_boundary(begin), text.ceil_char_boundary(end));
            if begin > at || masked.is_empty() {
                masked.push_str(text.get(at..begin).unwrap_or_default());
                masked.push_str(MARK);
            }
            at = at.max(end);
        }
        masked.push_str(text.get(at..).unwrap_or_default());
        (Cow::Owned(masked), exposed)
    }

    /// The hit in `text` that ends first; of those, the longest.
    pub fn find(&self, text: &[u8]) -> Option<Hit> {
        self.first_hit(text, 0)
    }

    /// The same, where `text` begins `before` bytes into its stream.
    pub(crate) fn first_hit(&self, text: &[u8], before: u64) -> Option<Hit> {
        let mut first: Option<(usize, usize, usize)> = None;
        self.table.search(&self.needles, text, |Found { range, needle }| {
            let this = (range.end, range.start, needle);
            if first.is_none_or(|first| this < first) {
                first = Some(this);
            }
        });
        let (end, begin, needle) = first?;
        let owner = self.needles.owners(needle).first()?;
        let offset = before + u64::try_from(begin).ok()?;
        Some(Hit { offset, length: end - begin, value: owner.value, encoding: owner.encoding })
    }
}

/// Shows how much is held back.
impl fmt::Debug for Mask {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Mask").field("held", &self.held.len()).field("exposed", &self.exposed).finish_non_exhaustive()
    }
}
