//! `boot_aggregate`: the first entry, which ties the list to what was measured before the kernel.

use super::Entry;
use crate::hash::Digest;

/// The PCRs that a boot aggregate is the digest of (`ima_calc_boot_aggregate_tfm`).
///
/// All are read from one bank, and hashed with its algorithm, which the entry names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootAggregate {
    /// PCRs 0 to 7: SHA-1 always, and other banks before Linux 5.8.
    To7,
    /// PCRs 0 to 9, with command line and initrd as boot loaders measure them.
    To9,
}

impl BootAggregate {
    /// The name of its event.
    pub const NAME: &'static [u8] = b"boot_aggregate";

    /// The aggregate of these values of PCRs 0 to 9; `None` if they are not of one bank.
    pub fn of(self, pcrs: &[Digest; 10]) -> Option<Digest> {
        let [first, ..] = pcrs;
        let bank = first.algorithm();
        if pcrs.iter().any(|pcr| pcr.algorithm() != bank) {
            return None;
        }
        let count = match self {
            Self::To7 => 8,
            Self::To9 => 10,
        };
        Some(bank.hash_parts(pcrs.iter().take(count).map(Digest::as_bytes)))
    }

    /// Which aggregate of these values the entry is, if it is one: the first of the whole list, and no violation, whose
    /// data anybody could have written. `pcrs` are of the bank that its digest names.
    pub fn find(entry: &Entry<'_>, pcrs: &[Digest; 10]) -> Option<Self> {
        if entry.number != 0 || entry.is_violation() {
            return None;
        }
        let measurement = entry.measurement().ok().filter(|measured| measured.name.as_bytes() == Self::NAME)?;
        let digest = measurement.digest.known()?;
        [Self::To9, Self::To7].into_iter().find(|aggregate| aggregate.of(pcrs) == Some(digest))
    }
}
