//! How much of a stream's end has to be held back: what could be the beginning of a hit.

use crate::lines::{joined, line_break};
use crate::needles::Needles;
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes of a head: those that a needle begins with. No needle is shorter.
const HEAD: usize = 4;
/// Bytes of a text that hold a head, whatever line breaks stand within it.
const HEAD_IN_LINES: usize = HEAD + 2 * (HEAD - 1);

/// Needles by how they begin.
pub(crate) struct Prefixes {
    /// Two bits of a word for each head, by its hash. Without it, each chunk of a stream would cost a search in all needles for each
    /// of the last few hundred bytes: as long as the search of the chunk itself takes, and longer.
    heads: Vec<u64>,
    /// 64 less the logarithm of how many words there are.
    shift: u32,
    /// A bit for each first two bytes of a needle.
    twos: Vec<u64>,
    /// Whether a needle begins with that byte, and whether one does that may be broken into lines.
    ones: Vec<(bool, bool)>,
    /// Those that may be broken into lines, in order.
    wrapping: Vec<u32>,
    /// Most bytes of a hit.
    longest: usize,
}

impl Prefixes {
    pub(crate) fn new(needles: &Needles) -> Self {
        let words = needles.len().next_power_of_two().ilog2().clamp(4, 18) - 1;
        let mut prefixes = Self {
            heads: vec![0; 1 << words],
            shift: 64 - words,
            twos: vec![0; 1024],
            ones: vec![(false, false); 256],
            wrapping: vec![],
            longest: 0,
        };
        for (number, text) in (0..).zip(needles.texts()) {
            let length = text.bytes.len();
            if let Some(head) = text.bytes.first_chunk() {
                let (word, bits) = prefixes.head(*head);
                if let Some(word) = prefixes.heads.get_mut(word) {
                    *word |= bits;
                }
            }
            if let [first, second, ..] = text.bytes {
                if let Some(word) = prefixes.twos.get_mut(usize::from(*first) * 4 + usize::from(*second) / 64) {
                    *word |= 1 << (second % 64);
                }
                if let Some(one) = prefixes.ones.get_mut(usize::from(*first)) {
                    *one = (true, one.1 || text.wraps);
                }
            }
            if text.wraps {
                prefixes.wrapping.push(number);
            }
            prefixes.longest = prefixes.longest.max(if text.wraps { length + 2 * (length - 1) } else { length });
        }
        prefixes
    }

    /// Most bytes of a hit on these needles, and so one more than is ever held back.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// Where the first hit could begin that `text` ends within. Its length, if none could.
    pub(crate) fn open(&self, needles: &Needles, text: &[u8]) -> usize {
        let first = (text.len() + 1).saturating_sub(self.longest);
        (first..text.len())
            .find(|at| text.get(*at..).is_some_and(|tail| self.could_be(needles, tail)))
            .unwrap_or(text.len())
    }

    /// Where the bits of a head are, and which.
    fn head(&self, head: [u8; HEAD]) -> (usize, u64) {
        let hash = u64::from(u32::from_le_bytes(head)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bits = 1 << (hash >> 24 & 63) | 1 << (hash >> 30 & 63);
        (usize::try_from(hash >> self.shift).unwrap_or(usize::MAX), bits)
    }

    /// Whether a needle may begin as `tail` does, as it is or without its line breaks.
    fn could_begin(&self, tail: &[u8]) -> bool {
        let there = |head: [u8; HEAD]| {
            let (word, bits) = self.head(head);
            self.heads.get(word).is_some_and(|word| word & bits == bits)
        };
        let Some(tail) = tail.first_chunk::<HEAD_IN_LINES>() else { return true };
        tail.first_chunk().is_none_or(|head| there(*head)) || unbroken(tail).is_some_and(there)
    }

    /// Whether a needle begins with `tail` and goes on.
    fn could_be(&self, needles: &Needles, tail: &[u8]) -> bool {
        if !self.could_begin(tail) {
            return false;
        }
        let Some((first, rest)) = tail.split_first() else { return false };
        let (any, wrapping) = self.ones.get(usize::from(*first)).copied().unwrap_or_default();
        let Some(second) = rest.first() else { return any };
        if wrapping && memchr::memchr2(b'\n', b'\r', rest).is_some() && self.could_be_broken(needles, tail) {
            return true;
        }
        let word = self.twos.get(usize::from(*first) * 4 + usize::from(*second) / 64).copied().unwrap_or_default();
        if word >> (second % 64) & 1 == 0 {
            return false;
        }
        // The first that is not less than `tail` either begins with it or none does; if it is `tail` itself, the next may.
        let at = partition(needles.len(), |number| needles.text(number).bytes < tail);
        (at..needles.len())
            .map(|number| needles.text(number).bytes)
            .take_while(|needle| needle.starts_with(tail))
            .any(|needle| needle.len() > tail.len())
    }

    fn could_be_broken(&self, needles: &Needles, tail: &[u8]) -> bool {
        let Some(joined) = joined(tail) else { return false };
        let joined = Zeroizing::new(joined);
        let needle = |place: usize| {
            let number = self.wrapping.get(place).and_then(|number| usize::try_from(*number).ok());
            number.map(|number| needles.text(number).bytes).unwrap_or_default()
        };
        let at = partition(self.wrapping.len(), |place| needle(place) < joined.as_slice());
        (at..self.wrapping.len())
            .map(needle)
            .take_while(|needle| needle.starts_with(&joined))
            .any(|needle| needle.len() > joined.len())
    }
}

/// The head of a text that breaks within it, if one does.
fn unbroken(text: &[u8; HEAD_IN_LINES]) -> Option<[u8; HEAD]> {
    text.first_chunk::<HEAD>()?.iter().any(|byte| matches!(byte, b'\n' | b'\r')).then_some(())?;
    let mut rest = text.as_slice();
    let mut head = [0; HEAD];
    for byte in &mut head {
        rest = rest.get(line_break(rest)..)?;
        (*byte, rest) = rest.split_first().map(|(first, rest)| (*first, rest))?;
    }
    Some(head)
}

/// How many of the numbers below `count`, which are in order, come `before`.
fn partition(count: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

impl Drop for Prefixes {
    fn drop(&mut self) {
        self.heads.zeroize();
        self.twos.zeroize();
        self.ones.iter_mut().for_each(|one| *one = (false, false));
    }
}
