//! The byte strings that are searched for, each with the values that it stands for.

use crate::encodings::{Encoding, Form, LONGEST_WHOLE};
use crate::parts::SHORTEST_VALUE;
use std::ops::Range;
use zeroize::Zeroizing;

/// Most bytes of a hit: a part of 64 bytes with six for each (`\\u0000`). As hex digits with a line break after each it has 382.
pub const LONGEST_HIT: usize = LONGEST_WHOLE * 6;

/// All needles, sorted by their bytes. None is there twice, but as one that may be broken into lines and one that may not.
pub(crate) struct Needles {
    bytes: Zeroizing<Vec<u8>>,
    needles: Vec<Needle>,
    owners: Vec<Owner>,
}

/// The value that a needle stands for, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(crate) value: usize,
    pub(crate) encoding: Encoding,
}

struct Needle {
    bytes: Range<usize>,
    owners: Range<usize>,
    wraps: bool,
}

/// What is searched for, without knowing for whom.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a> {
    pub(crate) bytes: &'a [u8],
    /// A line break may stand between any two of its bytes.
    pub(crate) wraps: bool,
}

pub(crate) struct Builder {
    forms: Vec<(Zeroizing<Vec<u8>>, bool, Owner)>,
}

impl Builder {
    /// A form of fewer bytes than a value may have is left out: three characters of an East Asian script have six in UTF-16.
    pub(crate) fn add(&mut self, value: usize, form: Form) {
        if form.bytes.len() < SHORTEST_VALUE {
            return;
        }
        let owner = Owner { value, encoding: form.encoding };
        self.forms.push((form.bytes, form.encoding.wraps(), owner));
    }

    pub(crate) fn build(mut self) -> Needles {
        self.forms.sort_unstable_by(|one, other| (&*one.0, one.1, one.2).cmp(&(&*other.0, other.1, other.2)));
        // Its final size from the start: a vector that grows leaves copies behind.
        let size = self.forms.iter().map(|(bytes, ..)| bytes.len()).sum();
        let mut needles = Needles { bytes: Zeroizing::new(Vec::with_capacity(size)), needles: vec![], owners: vec![] };
        for (bytes, wraps, owner) in self.forms {
            needles.append(&bytes, wraps, owner);
        }
        needles
    }
}

impl Needles {
    pub(crate) fn builder() -> Builder {
        Builder { forms: Vec::new() }
    }

    fn append(&mut self, bytes: &[u8], wraps: bool, owner: Owner) {
        let end = self.owners.len();
        if let Some(last) = self.needles.last_mut()
            && last.wraps == wraps
            && self.bytes.get(last.bytes.clone()) == Some(bytes)
        {
            // Of the ways that one value comes to be these bytes, the first is told.
            if self.owners.last().is_none_or(|last| last.value != owner.value) {
                self.owners.push(owner);
                last.owners.end = end + 1;
            }
            return;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.owners.push(owner);
        self.needles.push(Needle { bytes: start..self.bytes.len(), owners: end..end + 1, wraps });
    }

    pub(crate) fn len(&self) -> usize {
        self.needles.len()
    }

    /// The needle of that number, empty where there is none.
    pub(crate) fn text(&self, number: usize) -> Text<'_> {
        let needle = self.needles.get(number);
        let bytes = needle.and_then(|needle| self.bytes.get(needle.bytes.clone())).unwrap_or_default();
        Text { bytes, wraps: needle.is_some_and(|needle| needle.wraps) }
    }

    /// All of them, in order.
    pub(crate) fn texts(&self) -> impl Iterator<Item = Text<'_>> {
        (0..self.len()).map(|number| self.text(number))
    }

    /// Whom the needle of that number stands for: at least one value, each once, in order.
    pub(crate) fn owners(&self, number: usize) -> &[Owner] {
        self.needles.get(number).and_then(|needle| self.owners.get(needle.owners.clone())).unwrap_or_default()
    }
}
