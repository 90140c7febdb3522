//! Secrets where they must not be: in logs, outputs, responses and files.
//!
//! Two independent searches, both over streams in chunks, both without I/O:
//!
//! * For values that are known. [`Values`] makes them ready, in every [`Encoding`] that they may be written in. [`Mask`] replaces
//!   them in a stream, [`Scanner`] says where the first is.
//! * For values that nobody declared, and that are in the format of a key or token: [`Patterns`]. [`PatternScanner`] tells of each
//!   in a stream where it is, and never what.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]

mod encodings;
mod lines;
mod mask;
mod needles;
mod parts;
mod patterns;
mod prefixes;
#[cfg(test)]
mod properties;
mod scanner;
mod table;
mod values;

pub use encodings::Encoding;
pub use mask::{Exposed, HoldBack, MARK, Mask};
pub use needles::LONGEST_HIT;
pub use parts::SHORTEST_VALUE;
pub use patterns::{Finding, Fingerprint, NotAFingerprint, Pattern, PatternScanner, Patterns, Position};
pub use scanner::Scanner;
pub use values::{BadValues, Hit, LONGEST_VALUE, MOST_BYTES, MOST_VALUES, Values};
