//! The measurement list of Linux IMA, in its binary form, and its replay.
//!
//! `/sys/kernel/security/ima/binary_runtime_measurements`, little-endian. The kernel's documentation has the templates
//! (`Documentation/security/IMA-templates.rst`), and its source the rest (`security/integrity/ima/ima_fs.c`):
//!
//! ```text
//! entry := pcr:u32 ‖ template digest:20 ‖ len:u32 ‖ template name ‖ len:u32 ‖ data
//! entry := pcr:u32 ‖ template digest:20 ‖ 3:u32 ‖ "ima" ‖ file digest:20 ‖ len:u32 ‖ file name
//! ```
//!
//! The paved path: [`Replay::from_boot`] or [`Replay::resumed`], then [`Replay::cover`] with the list and the quoted
//! value. What it returns knows the entries that the quote covers, and [`Entry::measurement`] what they say.
//!
//! What a quoted PCR does **not** vouch for, and whoever appraises has to keep in mind:
//!
//! * entries of another PCR, and entries behind the quoted state: [`Covered::entries`] leaves both out;
//! * the data of a violation: the kernel extends 0xff instead, so that only *that* there was one is certain;
//! * the template's name: it is in no digest. Data of one template don't read as another's, but for `ima-sig` and
//!   `ima-buf`, which have the same shape: see [`Attached::Buffer`].

mod boot;
mod compress;
mod list;
mod measurement;
mod replay;
#[cfg(test)]
mod tests;

pub use boot::BootAggregate;
pub use list::{Entries, Entry, Template};
pub use measurement::{Attached, DigestOf, EvmAttributes, FileDigest, FileName, Measurement};
pub use replay::{Covered, Extension, Replay};

use crate::bytes::Malformed;
use crate::digest::to_hex;
use crate::hash::{Digest, HashAlgorithm};
use crate::report::{Escaped, Explain, Fault, Report};

/// Most bytes of a list: 500,000 entries of 130 bytes, years of a busy server; the kernel holds it all in its memory.
pub const LONGEST_LIST: usize = 64 * 1024 * 1024;
/// Most entries of a list: so many of 100 bytes take 0.2 s in the SHA-256 bank, 0.5 s in that of SHA-384 and 0.8 s in that of
/// SHA-512, on one core that has instructions for SHA-256 alone. That is what one sender may cost.
pub const MOST_ENTRIES: u64 = 1_000_000;
/// Most bytes of a template's name: a custom one is its format, up to 15 fields of 16 bytes and what parts them
/// (`IMA_TEMPLATE_NUM_FIELDS_MAX`, `IMA_TEMPLATE_FIELD_ID_MAX_LEN`).
pub const LONGEST_TEMPLATE_NAME: u32 = 15 * 16 + 14;
/// Most bytes of one entry's data: a path is under 4 KiB, extended attributes under 64 KiB, and measured buffers are
/// of that size too (larger ones are measured by their hash).
pub const LONGEST_DATA: u32 = 1024 * 1024;

/// Why a measurement list is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImaRefused {
    /// More than [`LONGEST_LIST`].
    #[error("the measurement list has {bytes} bytes, at most {LONGEST_LIST} are read")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// More than [`MOST_ENTRIES`].
    #[error("the measurement list has more than {MOST_ENTRIES} entries")]
    TooManyEntries,
    /// An entry, or its data, is not what its template says.
    #[error("entry {entry}: {malformed}")]
    Malformed {
        /// Its number; the first after boot is 0.
        entry: u64,
        /// Where in the list, and why.
        malformed: Malformed,
    },
    /// The data of an entry were changed, or its digest was.
    #[error(
        "entry {entry} at byte {offset}: its template digest is {}, that of its data is {}",
        to_hex(.listed),
        to_hex(.computed)
    )]
    WrongTemplateDigest {
        /// Its number.
        entry: u64,
        /// Where in the list it starts.
        offset: usize,
        /// What the list says.
        listed: [u8; 20],
        /// SHA-1 of the data.
        computed: [u8; 20],
    },
    /// Nothing can be said about what an entry means.
    #[error("entry {entry}: template `{}` is not known", Escaped(.name))]
    UnknownTemplate {
        /// Its number.
        entry: u64,
        /// The template's name, as text.
        name: String,
    },
    /// The quoted value is of a bank other than the one replayed.
    #[error("the {replayed} bank is replayed, the quoted value is of the {quoted} bank")]
    OtherBank {
        /// The bank of the replay.
        replayed: HashAlgorithm,
        /// The bank of the quoted value.
        quoted: HashAlgorithm,
    },
    /// After no entry is the PCR what was quoted: entries are missing, changed, or of another boot.
    #[error(
        "no beginning of the measurement list gives the quoted value {quoted:?}: after {entries} entries it is {value}"
    )]
    NotQuoted {
        /// The value that was to be found.
        quoted: Digest,
        /// How many entries there are, since boot.
        entries: u64,
        /// The value after all of them.
        value: Digest,
    },
}

impl Explain for ImaRefused {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Identity, self.to_string());
        match self {
            Self::Malformed { entry, malformed } => report("AR-E601")
                .fact("entry", entry)
                .fact("structure", malformed.structure)
                .fact("byte", malformed.offset),
            Self::TooLong { bytes } => report("AR-E602").fact("bytes", bytes).fact("most", LONGEST_LIST),
            Self::TooManyEntries => report("AR-E602").fact("most", MOST_ENTRIES),
            Self::WrongTemplateDigest { entry, offset, .. } => {
                report("AR-E603").fact("entry", entry).fact("byte", offset)
            }
            Self::UnknownTemplate { entry, .. } => report("AR-E604").fact("entry", entry),
            Self::OtherBank { replayed, quoted } => report("AR-E605").fact("wanted", replayed).fact("got", quoted),
            Self::NotQuoted { quoted, entries, value } => report("AR-E606")
                .fact("quoted", quoted)
                .fact("replayed", value)
                .fact("entries", entries)
                .hint("the list is of another boot, or an entry was changed, left out or moved"),
        }
    }
}
