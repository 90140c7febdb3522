//! Whether an event log is what a machine booted.

use attest_evidence::eventlog::{EventLog, EventLogRefused};
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::tpm::PcrIndex;
use attest_evidence::{Digest, HashAlgorithm};
use std::collections::BTreeMap;

/// Why a log is not what a machine booted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogRefused {
    /// It is no event log.
    #[error("{0}")]
    Log(#[from] EventLogRefused),
    /// It leads to another value than the quoted one: something in it was changed, left out, added or moved.
    #[error("the event log does not lead to the quoted value of PCR {pcr}")]
    Replay {
        /// Which bank.
        bank: HashAlgorithm,
        /// Which PCR.
        pcr: PcrIndex,
        /// Where the log leads.
        replayed: Digest,
        /// What was quoted.
        quoted: Digest,
    },
    /// An event that the bank does not know.
    #[error("event {event} of the log has no {bank} digest, so that no quote of that bank covers it")]
    NoDigest {
        /// Which bank.
        bank: HashAlgorithm,
        /// Which event.
        event: usize,
    },
}

/// How far a log accounts for what was quoted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounted {
    /// PCRs that the log leads to.
    pub explained: Vec<PcrIndex>,
    /// PCRs that somebody extended of whom the log says nothing: an operating system, or whoever left events out.
    pub unexplained: Vec<PcrIndex>,
}

/// PCRs that firmware and nobody else extends before the operating system starts: a log that has no events of one says that
/// it is as it was at reset (PC Client Platform Firmware Profile §3.3.4).
const FIRMWARE: std::ops::RangeInclusive<u8> = 0..=7;

/// Checks that `log` leads to the quoted `values` of `bank`: those of all PCRs that it extends, and of those that firmware
/// would have extended. Returns how far it accounts for them.
///
/// # Errors
/// See [`LogRefused`].
pub(crate) fn leads_to(
    log: &EventLog<'_>,
    bank: HashAlgorithm,
    values: &BTreeMap<PcrIndex, Digest>,
) -> Result<Accounted, LogRefused> {
    let replay = log.replay(bank);
    let mut accounted = Accounted::default();
    for (pcr, quoted) in values {
        let replayed = match replay.values().get(pcr) {
            Some(value) => *value,
            None if FIRMWARE.contains(&pcr.get()) => Digest::zero(bank),
            None => {
                if *quoted != pcr.at_reset(bank) {
                    accounted.unexplained.push(*pcr);
                }
                continue;
            }
        };
        if replayed != *quoted {
            return Err(LogRefused::Replay { bank, pcr: *pcr, replayed, quoted: *quoted });
        }
        accounted.explained.push(*pcr);
    }
    let uncovered = log
        .events()
        .iter()
        .find(|event| event.digest(bank).is_none() && event.extends().is_some_and(|pcr| values.contains_key(&pcr)));
    match uncovered {
        Some(event) => Err(LogRefused::NoDigest { bank, event: event.number }),
        None => Ok(accounted),
    }
}

impl Explain for LogRefused {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Identity, self.to_string());
        match self {
            Self::Log(refused) => refused.report(),
            Self::Replay { bank, pcr, replayed, quoted } => report("AR-E506")
                .fact("bank", bank)
                .fact("pcr", pcr)
                .fact("replayed", replayed)
                .fact("quoted", quoted)
                .hint("the log is of another boot, or something in it was changed; what extends this PCR after boot is in no log"),
            Self::NoDigest { bank, event } => report("AR-E507").fact("bank", bank).fact("event", event),
        }
    }
}
