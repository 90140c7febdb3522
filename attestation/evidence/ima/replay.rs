//! The value of a PCR after the entries of a list.

use super::compress::{Bank, Sha1Bank, Sha256Bank, Sha384Bank, Sha512Bank, sha1};
use super::{Entries, Entry, ImaRefused};
use crate::hash::{Digest, HashAlgorithm};
use crate::tpm::PcrIndex;

/// What the kernel extends a bank with. In the SHA-1 bank both are the same.
///
/// One kernel may do one in one bank and the other in another: a bank whose hash the kernel could not load when it set
/// up IMA gets padded digests (`ima_calc_field_array_hash`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extension {
    /// The bank's own digest of the template data: Linux 5.8 and later.
    Hashed,
    /// The SHA-1 digest, with zeros up to the bank's size: before, and where the bank's hash was not there.
    ///
    /// Such a bank is no better than SHA-1: see [`Replay::is_weak`].
    Padded,
}

/// The state of a PCR after so many entries of the list. Nothing says yet that a TPM ever had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    pcr: PcrIndex,
    extension: Extension,
    count: u64,
    value: Digest,
}

impl Replay {
    /// The state at boot: no entries, zeros.
    pub const fn from_boot(pcr: PcrIndex, bank: HashAlgorithm, extension: Extension) -> Self {
        Self { pcr, extension, count: 0, value: Digest::zero(bank) }
    }

    /// The state after `count` entries, when the PCR had `value`: the lists that follow start with entry `count`.
    ///
    /// The caller must have had both from a [`Covered`] of this very boot: a reboot starts from zero again.
    pub const fn resumed(pcr: PcrIndex, extension: Extension, count: u64, value: Digest) -> Self {
        Self { pcr, extension, count, value }
    }

    /// The PCR. Entries of others are checked and counted, and change nothing.
    pub const fn pcr(&self) -> PcrIndex {
        self.pcr
    }

    /// The bank.
    pub const fn bank(&self) -> HashAlgorithm {
        self.value.algorithm()
    }

    /// What the bank is extended with.
    pub const fn extension(&self) -> Extension {
        self.extension
    }

    /// How many entries of the list, of any PCR, lie behind.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The PCR's value.
    pub const fn value(&self) -> &Digest {
        &self.value
    }

    /// Whether it rests on SHA-1, so that two files can be made that leave one value.
    pub const fn is_weak(&self) -> bool {
        self.bank().is_weak() || matches!(self.extension, Extension::Padded)
    }

    /// The state one entry further.
    ///
    /// # Errors
    /// Refuses an entry whose template digest is not that of its data.
    pub fn extended(self, entry: &Entry<'_>) -> Result<Self, ImaRefused> {
        self.advanced(&mut std::iter::once(Ok(*entry)), None).map(|(state, _)| state)
    }

    /// The state after all entries of `list`, which starts with entry [`count`](Self::count).
    ///
    /// # Errors
    /// Refuses a list that is too long or malformed, and an entry whose template digest is not that of its data.
    pub fn replayed(self, list: &[u8]) -> Result<Self, ImaRefused> {
        self.advanced(&mut Entries::numbered(list, self.count)?, None).map(|(state, _)| state)
    }

    /// Finds the shortest beginning of `list` after which the PCR has the `quoted` value.
    ///
    /// The list may go on: the kernel measures between the quote and the reading of the list.
    ///
    /// `list` starts with entry [`count`](Self::count). That a TPM quoted the value is for the caller to establish.
    ///
    /// # Errors
    /// Refuses a list that is too long, one that no beginning of which gives the value, and up to that point what
    /// [`replayed`](Self::replayed) refuses.
    pub fn cover<'a>(self, list: &'a [u8], quoted: &Digest) -> Result<Covered<'a>, ImaRefused> {
        if quoted.algorithm() != self.bank() {
            return Err(ImaRefused::OtherBank { replayed: self.bank(), quoted: quoted.algorithm() });
        }
        let mut entries = Entries::numbered(list, self.count)?;
        let (state, found) = self.advanced(&mut entries, Some(quoted))?;
        let covered = list.split_at_checked(entries.offset()).filter(|_| found);
        let not_quoted = ImaRefused::NotQuoted { quoted: *quoted, entries: state.count, value: state.value };
        let (list, rest) = covered.ok_or(not_quoted)?;
        Ok(Covered { state, first: self.count, list, rest })
    }

    /// Advances to the end, or to the value `until`; says whether it is there.
    ///
    /// The bank is chosen here and not for each entry.
    fn advanced<'a>(
        self,
        entries: &mut impl Iterator<Item = Result<Entry<'a>, ImaRefused>>,
        until: Option<&Digest>,
    ) -> Result<(Self, bool), ImaRefused> {
        match self.bank() {
            HashAlgorithm::Sha1 => self.advanced_in::<20, Sha1Bank>(entries, until),
            HashAlgorithm::Sha256 => self.advanced_in::<32, Sha256Bank>(entries, until),
            HashAlgorithm::Sha384 => self.advanced_in::<48, Sha384Bank>(entries, until),
            HashAlgorithm::Sha512 => self.advanced_in::<64, Sha512Bank>(entries, until),
        }
    }

    fn advanced_in<'a, const N: usize, B: Bank<N>>(
        mut self,
        entries: &mut impl Iterator<Item = Result<Entry<'a>, ImaRefused>>,
        until: Option<&Digest>,
    ) -> Result<(Self, bool), ImaRefused> {
        let mut value: [u8; N] = resized(self.value.as_bytes());
        let until = until.map(|digest| resized(digest.as_bytes()));
        while until != Some(value) {
            // By reference: to move entries about costs as much as to parse them.
            let next = entries.next();
            let entry = match &next {
                Some(Ok(entry)) => entry,
                Some(Err(refused)) => return Err(refused.clone()),
                None => break,
            };
            let digest = checked_digest::<N, B>(entry, self.extension)?;
            if entry.pcr == self.pcr {
                value = B::extended(&value, &digest);
            }
            self.count = self.count.saturating_add(1);
        }
        self.value = Digest::from_bytes(self.bank(), &value).unwrap_or(self.value);
        Ok((self, until == Some(value)))
    }
}

/// What an entry extends the bank with, once its template digest has been checked.
///
/// Unchecked, a changed template digest would go unnoticed in a bank that is extended with its own.
#[inline]
fn checked_digest<const N: usize, B: Bank<N>>(entry: &Entry<'_>, extension: Extension) -> Result<[u8; N], ImaRefused> {
    // `ima_add_violation`: nothing was hashed, and the PCR is made such that no list of measurements explains it.
    if entry.is_violation() {
        return Ok([0xff; N]);
    }
    let (computed, digest) = entry.with_hashed(|data| match extension {
        Extension::Hashed => B::digests(data),
        Extension::Padded => {
            let digest = sha1(data);
            (digest, resized(&digest))
        }
    });
    if computed == entry.template_digest {
        Ok(digest)
    } else {
        let Entry { number, offset, template_digest, .. } = *entry;
        Err(ImaRefused::WrongTemplateDigest { entry: number, offset, listed: template_digest, computed })
    }
}

/// The first `N` bytes, with zeros behind the last.
fn resized<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut resized = [0; N];
    for (place, byte) in resized.iter_mut().zip(bytes) {
        *place = *byte;
    }
    resized
}

/// The beginning of a list that explains the value of a PCR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Covered<'a> {
    state: Replay,
    first: u64,
    list: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Covered<'a> {
    /// The state that was quoted: a later list, from its [`count`](Replay::count) on, can be replayed from it.
    pub const fn state(&self) -> &Replay {
        &self.state
    }

    /// How many entries of the list, of any PCR, lie before the quoted state and behind the one it was replayed from.
    pub const fn added(&self) -> u64 {
        self.state.count - self.first
    }

    /// The entries that the quoted value covers: those of its PCR.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let pcr = self.state.pcr;
        // No error is passed over: these bytes were read to their end before.
        let entries = Entries::numbered(self.list, self.first).into_iter().flatten();
        entries.map_while(Result::ok).filter(move |entry| entry.pcr == pcr)
    }

    /// The bytes up to the quoted state. Entries of other PCRs lie among them, which the quote does not cover.
    pub const fn list(&self) -> &'a [u8] {
        self.list
    }

    /// What follows in the list. Nothing vouches for it yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}
