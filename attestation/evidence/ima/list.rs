//! Entries, as they follow one another in the list.

use super::{ImaRefused, LONGEST_DATA, LONGEST_LIST, LONGEST_TEMPLATE_NAME, MOST_ENTRIES};
use crate::bytes::{Malformed, Problem, Reader};
use crate::report::Escaped;
use crate::tpm::PcrIndex;
use std::fmt;

/// `IMA_DIGEST_SIZE`: the file digest of an `ima` entry.
pub(super) const IMA_DIGEST: usize = 20;
/// `IMA_EVENT_NAME_LEN_MAX`: the longest file name of an `ima` entry.
pub(super) const IMA_NAME: u32 = 255;
/// What of an `ima` entry is hashed: the digest, and the name with zeros up to 256 bytes.
const IMA_HASHED: usize = IMA_DIGEST + 256;

/// The entries of a list, one by one, without a copy.
///
/// Ends after the first error: where the next entry would start is not known then.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    reader: Reader<'a>,
    number: u64,
    last: u64,
}

impl<'a> Entries<'a> {
    /// The entries of a list from boot on.
    ///
    /// # Errors
    /// Refuses a list that is too long.
    pub fn of(list: &'a [u8]) -> Result<Self, ImaRefused> {
        Self::numbered(list, 0)
    }

    /// The entries of a list whose first entry is number `first`, counted from 0 at boot.
    ///
    /// # Errors
    /// Refuses a list that is too long.
    pub fn numbered(list: &'a [u8], first: u64) -> Result<Self, ImaRefused> {
        if list.len() > LONGEST_LIST {
            return Err(ImaRefused::TooLong { bytes: list.len() });
        }
        let reader = Reader::new("IMA measurement list", list);
        Ok(Self { reader, number: first, last: first.saturating_add(MOST_ENTRIES) })
    }

    /// Where in the list the next entry starts.
    pub fn offset(&self) -> usize {
        self.reader.offset()
    }

    /// The bytes not read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.reader.rest()
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, ImaRefused>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let entry = if self.number == self.last {
            Err(ImaRefused::TooManyEntries)
        } else {
            Entry::read(&mut self.reader, self.number)
                .map_err(|malformed| ImaRefused::Malformed { entry: self.number, malformed })
        };
        match entry {
            Ok(_) => self.number += 1,
            Err(_) => self.reader = Reader::new("IMA measurement list", &[]),
        }
        Some(entry)
    }
}

/// One entry. Nothing in it is verified but its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The PCR that it extends: 10, or what a rule of the IMA policy says.
    pub pcr: PcrIndex,
    /// SHA-1 of what is hashed of the data; zeros for a violation.
    pub template_digest: [u8; 20],
    /// How the data are to be read. This name is in no digest.
    pub template: Template<'a>,
    /// The template data: length and bytes of each field.
    pub data: &'a [u8],
    /// Where in the list it starts.
    pub offset: usize,
    /// Its number: the first after boot is 0.
    pub number: u64,
    /// Where in the list `data` starts.
    pub(super) data_offset: usize,
}

impl<'a> Entry<'a> {
    #[inline]
    fn read(reader: &mut Reader<'a>, number: u64) -> Result<Self, Malformed> {
        let offset = reader.offset();
        let at_pcr = reader.clone();
        let pcr = reader.u32_le()?;
        let index = u8::try_from(pcr).ok().and_then(PcrIndex::new);
        let wanted = "the index of a PCR (0 to 23) is wanted";
        let pcr = index.ok_or_else(|| at_pcr.malformed(Problem::Value { field: "pcr", value: pcr.into(), wanted }))?;
        let template_digest = reader.array()?;
        let at_name = reader.clone();
        let name = reader.sized_u32_le("template name", LONGEST_TEMPLATE_NAME)?;
        if name.is_empty() {
            return Err(at_name.malformed(Problem::Text("a template name is wanted")));
        }
        let template = Template::named(name);
        let (data_offset, data) = if template == Template::Ima {
            (reader.offset(), read_ima(reader)?)
        } else {
            let data = reader.sized_u32_le("template data", LONGEST_DATA)?;
            (reader.offset() - data.len(), data)
        };
        Ok(Self { pcr, template_digest, template, data, offset, number, data_offset })
    }

    /// Whether it says that a file could not be measured reliably: it was open for writing, or written to while it
    /// was open to be read. Its data are in no digest and in no PCR.
    pub fn is_violation(&self) -> bool {
        self.template_digest == [0; 20]
    }

    /// What the kernel hashed (`ima_calc_field_array_hash_tfm`): the data, but for `ima`, where the length is left out
    /// and the name is filled up with zeros.
    #[inline]
    pub(super) fn with_hashed<T>(&self, hash: impl FnOnce(&[u8]) -> T) -> T {
        if self.template != Template::Ima {
            return hash(self.data);
        }
        let digest = self.data.iter().take(IMA_DIGEST);
        let name = self.data.iter().skip(IMA_DIGEST + 4);
        let mut hashed = [0; IMA_HASHED];
        for (place, byte) in hashed.iter_mut().zip(digest.chain(name)) {
            *place = *byte;
        }
        hash(&hashed)
    }
}

/// The data of an `ima` entry: no length in front, and a name without its NUL.
///
/// A NUL in the name is refused: with it and without, the bytes that are hashed would be the same.
fn read_ima<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let mut look = reader.clone();
    look.take(IMA_DIGEST)?;
    let at_name = look.clone();
    if look.sized_u32_le("file name", IMA_NAME)?.contains(&0) {
        return Err(at_name.malformed(Problem::Text("the file name holds a NUL")));
    }
    reader.take(look.offset() - reader.offset())
}

/// How the data of an entry are to be read (`security/integrity/ima/ima_template.c`).
///
/// A name that is the format of one of these templates is that template: so the kernel lists a format given as
/// `ima_template_fmt=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template<'a> {
    /// `d|n`, the oldest: SHA-1 of the file and up to 255 bytes of name.
    Ima,
    /// `d-ng|n-ng`.
    ImaNg,
    /// `d-ng|n-ng|sig`.
    ImaSig,
    /// `d-ngv2|n-ng`.
    ImaNgV2,
    /// `d-ngv2|n-ng|sig`.
    ImaSigV2,
    /// `d-ng|n-ng|buf`.
    ImaBuf,
    /// `d-ng|n-ng|sig|d-modsig|modsig`.
    ImaModsig,
    /// `d-ng|n-ng|evmsig|xattrnames|xattrlengths|xattrvalues|iuid|igid|imode`.
    EvmSig,
    /// Any other name, of any bytes. Its data can be replayed, not read.
    Other(&'a [u8]),
}

impl fmt::Display for Template<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Ima => "ima",
            Self::ImaNg => "ima-ng",
            Self::ImaSig => "ima-sig",
            Self::ImaNgV2 => "ima-ngv2",
            Self::ImaSigV2 => "ima-sigv2",
            Self::ImaBuf => "ima-buf",
            Self::ImaModsig => "ima-modsig",
            Self::EvmSig => "evm-sig",
            Self::Other(name) => return write!(out, "{}", Escaped(&String::from_utf8_lossy(name))),
        })
    }
}

impl<'a> Template<'a> {
    /// The template of this name.
    pub fn named(name: &'a [u8]) -> Self {
        match name {
            b"ima" => Self::Ima,
            b"ima-ng" | b"d-ng|n-ng" => Self::ImaNg,
            b"ima-sig" | b"d-ng|n-ng|sig" => Self::ImaSig,
            b"ima-ngv2" | b"d-ngv2|n-ng" => Self::ImaNgV2,
            b"ima-sigv2" | b"d-ngv2|n-ng|sig" => Self::ImaSigV2,
            b"ima-buf" | b"d-ng|n-ng|buf" => Self::ImaBuf,
            b"ima-modsig" | b"d-ng|n-ng|sig|d-modsig|modsig" => Self::ImaModsig,
            b"evm-sig" | b"d-ng|n-ng|evmsig|xattrnames|xattrlengths|xattrvalues|iuid|igid|imode" => Self::EvmSig,
            other => Self::Other(other),
        }
    }
}
