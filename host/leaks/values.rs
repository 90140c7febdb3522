//! The values that are looked for.

use crate::encodings::{Encoding, forms};
use crate::needles::Needles;
use crate::parts::{SHORTEST_VALUE, parts};
use crate::prefixes::Prefixes;
use crate::table::Table;
use std::fmt;

/// Most values at once: two for each handle that a manifest may declare.
pub const MOST_VALUES: usize = 256;
/// Most bytes of a value: what a broker stores.
pub const LONGEST_VALUE: usize = 64 * 1024;
/// Most bytes of all values together. The search holds some 60 to 150 bytes for each of them.
pub const MOST_BYTES: usize = 512 * 1024;

/// Named values, made ready to be searched for in any number of streams. Its memory is wiped when it is dropped.
///
/// Each is looked for in every [`Encoding`], and so is each of its lines that has [`SHORTEST_VALUE`] bytes or more, but lines
/// that only bound PEM and the first of an OpenSSH key. A value of more than 64 bytes is looked for in pieces of 48: whoever has
/// 95 bytes in a row of it has at least one.
pub struct Values {
    names: Vec<String>,
    pub(crate) needles: Needles,
    pub(crate) table: Table,
    pub(crate) prefixes: Prefixes,
}

/// Why values can't be searched for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadValues {
    /// A value so short that it stands in texts that have nothing to do with it.
    #[error(
        "the value of `{name}` has {length} bytes, and {SHORTEST_VALUE} are the least that can be told from other text"
    )]
    TooShort {
        /// Which.
        name: String,
        /// Its bytes.
        length: usize,
    },
    /// A value longer than any secret.
    #[error("the value of `{name}` has {length} bytes, and {LONGEST_VALUE} are the most")]
    TooLong {
        /// Which.
        name: String,
        /// Its bytes.
        length: usize,
    },
    /// More values than a step can be near.
    #[error("at most {MOST_VALUES} values can be searched for")]
    TooMany,
    /// More than fits in memory with all its encodings.
    #[error("the values have more than {MOST_BYTES} bytes in all")]
    TooLarge,
}

/// Where a value was found, and how it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hit {
    /// Where it begins: bytes from the stream's beginning.
    pub offset: u64,
    /// Its bytes there, line breaks within it included.
    pub length: usize,
    /// Which value, or a line or piece of which: its place among those that [`Values::new`] was given.
    pub value: usize,
    /// How it is written. Where ways coincide, the first of [`Encoding`].
    pub encoding: Encoding,
}

impl Values {
    /// Makes `values`, each a name and its bytes, ready. Names are for messages, and may be the same.
    ///
    /// # Errors
    /// See [`BadValues`].
    pub fn new<'a>(values: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self, BadValues> {
        let mut names = Vec::new();
        let mut needles = Needles::builder();
        let mut bytes = 0;
        for (index, (name, value)) in values.into_iter().enumerate() {
            let length = value.len();
            let name = name.to_owned();
            match length {
                ..SHORTEST_VALUE => return Err(BadValues::TooShort { name, length }),
                SHORTEST_VALUE..=LONGEST_VALUE => {}
                _ => return Err(BadValues::TooLong { name, length }),
            }
            bytes += length;
            if index >= MOST_VALUES {
                return Err(BadValues::TooMany);
            }
            if bytes > MOST_BYTES {
                return Err(BadValues::TooLarge);
            }
            names.push(name);
            for part in parts(value) {
                forms(part).into_iter().for_each(|form| needles.add(index, form));
            }
        }
        let needles = needles.build();
        Ok(Self { table: Table::new(&needles), prefixes: Prefixes::new(&needles), names, needles })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none: then nothing is found.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The name of the value that a [`Hit`] is of.
    pub fn name(&self, value: usize) -> Option<&str> {
        self.names.get(value).map(String::as_str)
    }
}

/// Shows how many there are.
impl fmt::Debug for Values {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Values({})", self.len())
    }
}
