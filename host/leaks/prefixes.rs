//! How much of a stream's end has to be held back: what could be the beginning of a hit.

use crate::lines::joined;
use crate::needles::Needles;
use zeroize::{Zeroize as _, Zeroizing};

/// Needles by how they begin.
pub(crate) struct Prefixes {
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
        let mut prefixes = Self { twos: vec![0; 1024], ones: vec![(false, false); 256], wrapping: vec![], longest: 0 };
        for (number, text) in (0..).zip(needles.texts()) {
            let length = text.bytes.len();
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

    /// Whether a needle begins with `tail` and goes on.
    fn could_be(&self, needles: &Needles, tail: &[u8]) -> bool {
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
        self.twos.zeroize();
        self.ones.iter_mut().for_each(|one| *one = (false, false));
    }
}
