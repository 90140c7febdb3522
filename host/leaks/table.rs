//! Where needles are in a text, without looking at most of it.
//!
//! Of each needle eight bytes in a row are chosen, its window. Of these eight, four grams of five bytes begin at the first four.
//! So a text is looked at in every fourth place only: wherever a needle lies, one of its four grams begins at such a place. A bit
//! of a small table says whether the five bytes there may be a gram at all; mostly they are not, and that is the price of four
//! bytes of text. Where they may be, the eight bytes of the window are compared, and only then whole needles.
//!
//! Windows are chosen that few needles share. So text that is made of grams costs a comparison of eight bytes for each four, and
//! text that is made of whole windows one of a needle for each: who does not know the values can't make the first, and nobody
//! can make it cost more than that, but by values that are alike in all their parts.
//!
//! Where a line break stands within a window, no gram may lie at a place that is looked at. Therefore the bytes on both
//! sides of each line break are also taken together, and looked at in all seven places.

use crate::lines::{begins, ends, line_break};
use crate::needles::{Needles, Text};
use std::ops::Range;
use zeroize::Zeroize as _;

/// Bytes of a gram, and how far apart the places are that are looked at.
const GRAM: usize = 5;
const STEP: usize = 4;
/// Bytes of a window: no needle is shorter.
const WINDOW: usize = GRAM + STEP - 1;
/// Places that are looked at before any branch is taken.
const AT_ONCE: usize = 8;
/// Bytes that this takes, the last gram's word included.
const BLOCK: usize = (AT_ONCE - 1) * STEP + 8;
/// Slots of the sketch that counts how common grams are among needles.
const SKETCH_BITS: u32 = 18;
/// Entries of one slot that are compared one after the other; in more, they are searched for.
const FEW: usize = 8;

pub(crate) struct Table {
    /// A bit for each gram, by its hash.
    bits: Vec<u64>,
    /// 64 less the logarithm of their number.
    shift: u32,
    /// Where the entries of a slot begin, by the same hash, and at last where they end.
    slots: Vec<u32>,
    slot_shift: u32,
    /// In each slot by their places and windows.
    entries: Vec<Entry>,
    /// Sorted, each with where its needles begin in `needles`.
    windows: Vec<(u64, u32)>,
    /// Numbers of needles by their windows, with where in the needle its window is.
    needles: Vec<(u32, u32)>,
}

/// That a gram begins at that byte of that window.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    place: u8,
    window: u32,
}

/// A needle in a text.
pub(crate) struct Found {
    pub(crate) range: Range<usize>,
    /// Its number among [`Needles`].
    pub(crate) needle: usize,
}

/// Where eight bytes are in a text that may be a window.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    broken: bool,
}

impl Table {
    pub(crate) fn new(needles: &Needles) -> Self {
        let sketch = sketch(needles);
        let mut chosen: Vec<(u64, u32, u32)> = (0..)
            .zip(needles.texts())
            .map(|(number, text)| {
                let (window, offset) = rarest_window(text.bytes, &sketch);
                (window, number, offset)
            })
            .collect();
        chosen.sort_unstable();
        let mut windows: Vec<(u64, u32)> = Vec::with_capacity(chosen.len());
        for (begins, (window, ..)) in (0..).zip(&chosen) {
            if windows.last().is_none_or(|(last, _)| last != window) {
                windows.push((*window, begins));
            }
        }
        let grams = (windows.len() * STEP).max(1);
        let shift = 64 - (grams * 48).next_power_of_two().ilog2().clamp(12, 24);
        let slot_shift = 64 - grams.next_power_of_two().ilog2().clamp(4, 24);
        let mut table = Self {
            bits: vec![0; (1 << (64 - shift)) / 64],
            shift,
            slots: vec![],
            slot_shift,
            entries: vec![],
            needles: chosen.iter().map(|(_, number, offset)| (*number, *offset)).collect(),
            windows,
        };
        chosen.zeroize();
        table.fill();
        table
    }

    fn fill(&mut self) {
        let mut entries: Vec<(usize, Entry)> = Vec::with_capacity(self.windows.len() * STEP);
        for (number, (window, _)) in (0..).zip(&self.windows) {
            for place in 0..4_u8 {
                let hash = hash(window >> (8 * place));
                let bit = index(hash >> self.shift);
                if let Some(word) = self.bits.get_mut(bit / 64) {
                    *word |= 1 << (bit % 64);
                }
                entries.push((index(hash >> self.slot_shift), Entry { place, window: number }));
            }
        }
        entries.sort_unstable();
        let mut entry = 0_u32;
        let mut sorted = entries.iter().peekable();
        for slot in 0..1 << (64 - self.slot_shift) {
            self.slots.push(entry);
            while sorted.next_if(|(of, _)| *of == slot).is_some() {
                entry += 1;
            }
        }
        self.slots.push(entry);
        self.entries = entries.into_iter().map(|(_, entry)| entry).collect();
    }

    /// Calls `found` with each place in `text` where a needle is, in no order, perhaps twice.
    pub(crate) fn search(&self, needles: &Needles, text: &[u8], mut found: impl FnMut(Found)) {
        if self.windows.is_empty() {
            return;
        }
        let mut at = 0;
        while let Some(block) = text.get(at..).and_then(|rest| rest.first_chunk::<BLOCK>()) {
            let mut maybe = 0_u32;
            for place in 0..AT_ONCE {
                maybe |= self.bit(hash(word(block, place * STEP))) << place;
            }
            while maybe != 0 {
                let sample = at + index(maybe.trailing_zeros().into()) * STEP;
                self.gram(needles, text, sample, &mut found);
                maybe &= maybe - 1;
            }
            at += AT_ONCE * STEP;
        }
        while at + GRAM <= text.len() {
            if self.bit(hash(word(text, at))) != 0 {
                self.gram(needles, text, at, &mut found);
            }
            at += STEP;
        }
        for newline in memchr::memchr_iter(b'\n', text) {
            self.across(needles, text, newline, &mut found);
        }
    }

    /// 1 where a gram with that hash may be one of a window.
    fn bit(&self, hash: u64) -> u32 {
        let bit = hash >> self.shift;
        let word = self.bits.get(index(bit >> 6)).copied().unwrap_or_default();
        u32::from(word >> (bit & 63) & 1 != 0)
    }

    /// Looks whether the gram at `at` is of a window in that place.
    #[inline(never)]
    fn gram(&self, needles: &Needles, text: &[u8], at: usize, found: &mut impl FnMut(Found)) {
        let entries = self.slot(hash(word(text, at)));
        if entries.len() <= FEW {
            for entry in entries {
                let Some(begins) = at.checked_sub(entry.place.into()) else { continue };
                let Some(here) = whole_word(text, begins) else { continue };
                if self.windows.get(index(entry.window.into())).is_some_and(|(window, _)| *window == here) {
                    self.window(needles, text, entry.window, Place { at: begins, broken: false }, found);
                }
            }
            return;
        }
        for place in 0..4 {
            let Some(begins) = at.checked_sub(place.into()) else { continue };
            let Some(here) = whole_word(text, begins) else { continue };
            if let Some(window) = self.searched(entries, place, here) {
                self.window(needles, text, window, Place { at: begins, broken: false }, found);
            }
        }
    }

    fn slot(&self, hash: u64) -> &[Entry] {
        let slot = index(hash >> self.slot_shift);
        let bound = |slot: usize| self.slots.get(slot).map_or(0, |entry| index((*entry).into()));
        self.entries.get(bound(slot)..bound(slot + 1)).unwrap_or_default()
    }

    /// The window that is `here` among those with a gram at `place`. Windows and entries are in the same order.
    fn searched(&self, entries: &[Entry], place: u8, here: u64) -> Option<u32> {
        let window = |entry: &Entry| self.windows.get(index(entry.window.into())).map_or(0, |(window, _)| *window);
        let found = entries.binary_search_by(|entry| (entry.place, window(entry)).cmp(&(place, here)));
        found.ok().and_then(|found| entries.get(found)).map(|entry| entry.window)
    }

    /// Takes the bytes before and after a line break together.
    fn across(&self, needles: &Needles, text: &[u8], newline: usize, found: &mut impl FnMut(Found)) {
        let left = match newline.checked_sub(1).and_then(|before| text.get(before)) {
            Some(b'\r') => newline - 1,
            _ => newline,
        };
        let right = newline + 1;
        let encoded = |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(|byte| is_encoded(*byte));
        if !encoded(left.checked_sub(1)) || !encoded(Some(right)) {
            return;
        }
        let before = match left.checked_sub(8) {
            Some(at) => word(text, at),
            None => word(text, 0) << (8 * (8 - left)),
        };
        let after = unbroken(text, right);
        for places in 1..=left.min(WINDOW - 1) {
            let window = before >> (64 - 8 * places) | after << (8 * places);
            let hash = hash(window);
            if self.bit(hash) != 0
                && let Some(number) = self.searched(self.slot(hash), 0, window)
            {
                self.window(needles, text, number, Place { at: left - places, broken: true }, found);
            }
        }
    }

    /// Compares the needles of a window that is in `text`.
    fn window(
        &self,
        needles: &Needles,
        text: &[u8],
        window: u32,
        Place { at, broken }: Place,
        found: &mut impl FnMut(Found),
    ) {
        let window = index(window.into());
        let bound =
            |window: usize| self.windows.get(window).map_or(self.needles.len(), |(_, begin)| index((*begin).into()));
        for (number, offset) in self.needles.get(bound(window)..bound(window + 1)).unwrap_or_default() {
            let (needle, offset) = (index((*number).into()), index((*offset).into()));
            let Text { bytes, wraps } = needles.text(needle);
            let whole = at.checked_sub(offset).map(|begin| begin..begin + bytes.len());
            let whole = whole.filter(|range| !broken && text.get(range.clone()) == Some(bytes));
            let range = whole.or_else(|| {
                let (before, after) = bytes.split_at_checked(offset).filter(|_| wraps)?;
                Some(begins(text, at, before)?..ends(text, at, after)?)
            });
            if let Some(range) = range {
                found(Found { range, needle });
            }
        }
    }
}

/// Of the lower five bytes.
fn hash(word: u64) -> u64 {
    (word << (64 - 8 * GRAM)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Eight bytes from `at` on; 0 for those behind the end.
fn word(text: &[u8], at: usize) -> u64 {
    whole_word(text, at).unwrap_or_else(|| {
        let rest = text.get(at..).unwrap_or_default();
        rest.iter().take(8).rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
    })
}

fn whole_word(text: &[u8], at: usize) -> Option<u64> {
    text.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Eight bytes from `at` on, line breaks left out.
fn unbroken(text: &[u8], at: usize) -> u64 {
    let whole = word(text, at);
    if whole.to_le_bytes().iter().all(|byte| *byte != b'\n') {
        return whole;
    }
    let mut rest = text.get(at..).unwrap_or_default();
    let mut bytes = [0; 8];
    for byte in &mut bytes {
        rest = rest.get(line_break(rest)..).unwrap_or_default();
        let Some((first, tail)) = rest.split_first() else { break };
        *byte = *first;
        rest = tail;
    }
    u64::from_le_bytes(bytes)
}

/// Whether it is of a base64 alphabet, as all hex digits are.
fn is_encoded(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// What is an index, by how it was made. Nothing is there where it is none.
fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// How common grams are among all needles, by their hashes.
fn sketch(needles: &Needles) -> Vec<u32> {
    let mut sketch = vec![0_u32; 1 << SKETCH_BITS];
    for text in needles.texts() {
        for gram in text.bytes.windows(GRAM) {
            if let Some(count) = sketch.get_mut(index(hash(word(gram, 0)) >> (64 - SKETCH_BITS))) {
                *count = count.saturating_add(1);
            }
        }
    }
    sketch
}

/// The window of `needle` whose grams are the rarest, and where in it.
fn rarest_window(needle: &[u8], sketch: &[u32]) -> (u64, u32) {
    let common =
        |gram: &[u8]| sketch.get(index(hash(word(gram, 0)) >> (64 - SKETCH_BITS))).copied().unwrap_or_default();
    let windows = (0_u32..).zip(needle.windows(WINDOW));
    let rarest =
        windows.min_by_key(|(_, window)| window.windows(GRAM).map(|gram| u64::from(common(gram))).sum::<u64>());
    rarest.map_or((0, 0), |(offset, window)| (word(window, 0), offset))
}

impl Drop for Table {
    fn drop(&mut self) {
        self.bits.zeroize();
        self.slots.zeroize();
        self.windows.zeroize();
        self.needles.zeroize();
        self.entries.iter_mut().for_each(|entry| *entry = Entry { place: 0, window: 0 });
    }
}
