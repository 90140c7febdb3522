//! The PCR values that a log leads to.

use super::EventLog;
use crate::hash::{Digest, HashAlgorithm};
use crate::tpm::PcrIndex;
use std::collections::BTreeMap;

/// What one bank of a TPM holds after all events of a log, if nothing else was extended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    bank: HashAlgorithm,
    values: BTreeMap<PcrIndex, Digest>,
    without_digest: Option<usize>,
}

impl EventLog<'_> {
    /// Replays the events of one bank: `TPM2_PCR_Extend` for each (Part 1 §17.4), PCR 0 from the locality that the log
    /// says the TPM was started from.
    pub fn replay(&self, bank: HashAlgorithm) -> Replay {
        let mut values: [Option<Digest>; PcrIndex::COUNT as usize] = [None; PcrIndex::COUNT as usize];
        let mut without_digest = None;
        for event in &self.events {
            let Some(pcr) = event.extends() else { continue };
            let Some(digest) = event.digest(bank) else {
                without_digest = without_digest.or(Some(event.number));
                continue;
            };
            if let Some(value) = values.get_mut(usize::from(pcr.get())) {
                let old = value.unwrap_or_else(|| start(bank, pcr, self.startup_locality()));
                *value = Some(old.extended(digest));
            }
        }
        let values = (0..PcrIndex::COUNT).filter_map(PcrIndex::new).zip(values);
        let values = values.filter_map(|(pcr, value)| Some((pcr, value?))).collect();
        Replay { bank, values, without_digest }
    }
}

/// What a PCR holds before its first event: zeros, and in PCR 0 the locality of the startup in the last byte (Part 1 §34.3).
/// PCRs 17 to 22 hold ones until they are reset, and firmware's log has nothing on what is before the reset.
fn start(bank: HashAlgorithm, pcr: PcrIndex, locality: u8) -> Digest {
    let mut bytes = [0; HashAlgorithm::LARGEST];
    if pcr.get() == 0
        && let Some(last) = bytes.get_mut(bank.size() - 1)
    {
        *last = locality;
    }
    bytes.get(..bank.size()).and_then(|bytes| Digest::from_bytes(bank, bytes)).unwrap_or(Digest::zero(bank))
}

impl Replay {
    /// Which bank.
    pub const fn bank(&self) -> HashAlgorithm {
        self.bank
    }

    /// The values of all PCRs that the log extends, ascending.
    pub const fn values(&self) -> &BTreeMap<PcrIndex, Digest> {
        &self.values
    }

    /// The first event that extends a PCR and has no digest for this bank. Firmware and boot loaders that know one bank
    /// only write such: what it says is covered by nothing in this bank.
    pub const fn without_digest(&self) -> Option<usize> {
        self.without_digest
    }
}
