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
    /// A PCR that was extended, and has no event in it: events were left out, or something measured that this log is not about.
    #[error("PCR {pcr} was extended, and the event log has no event of it")]
    Unaccounted {
        /// Which bank.
        bank: HashAlgorithm,
        /// Which PCR.
        pcr: PcrIndex,
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
    /// PCRs that were extended, of which it says nothing and need not: that of the kernel, which has a list of its own.
    pub unexplained: Vec<PcrIndex>,
}

/// PCRs that firmware and nobody else extends before the operating system starts: a log that has no events of one says that
/// it is as it was at reset (PC Client Platform Firmware Profile §3.3.4).
const FIRMWARE: std::ops::RangeInclusive<u8> = 0..=7;

/// The values of one bank that a log leads to, and where that bank does not cover it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogValues {
    bank: HashAlgorithm,
    values: BTreeMap<PcrIndex, Digest>,
    /// The first event of each PCR that has no digest of this bank.
    without_digest: BTreeMap<PcrIndex, usize>,
}

impl LogValues {
    /// Replays a log.
    pub(crate) fn of(log: &EventLog<'_>, bank: HashAlgorithm) -> Self {
        let mut without_digest = BTreeMap::new();
        for event in log.events().iter().filter(|event| event.digest(bank).is_none()) {
            if let Some(pcr) = event.extends() {
                without_digest.entry(pcr).or_insert(event.number);
            }
        }
        Self { bank, values: log.replay(bank).values().clone(), without_digest }
    }

    /// The values.
    pub(crate) const fn values(&self) -> &BTreeMap<PcrIndex, Digest> {
        &self.values
    }

    /// Checks that the log leads to the quoted values, of all PCRs: one that has no event in it must be as it was at reset.
    /// Otherwise whoever leaves all events of a PCR out would have it judged by none. Only the kernel's own measurements
    /// have a list of their own. Returns how far it accounts for them.
    ///
    /// # Errors
    /// See [`LogRefused`].
    pub(crate) fn lead_to<'a>(
        &self,
        quoted: impl Iterator<Item = (PcrIndex, &'a [u8])>,
    ) -> Result<Accounted, LogRefused> {
        let bank = self.bank;
        let mut accounted = Accounted::default();
        let mut uncovered: Option<usize> = None;
        for (pcr, value) in quoted {
            let quoted = || Digest::from_bytes(bank, value).unwrap_or(Digest::zero(bank));
            let at_reset = pcr.at_reset(bank);
            let replayed = match self.values.get(&pcr) {
                Some(replayed) => *replayed,
                None if FIRMWARE.contains(&pcr.get()) => at_reset,
                None if at_reset.as_bytes() == value => continue,
                None if pcr == PcrIndex::IMA => {
                    accounted.unexplained.push(pcr);
                    continue;
                }
                None => return Err(LogRefused::Unaccounted { bank, pcr, quoted: quoted() }),
            };
            if replayed.as_bytes() != value {
                return Err(LogRefused::Replay { bank, pcr, replayed, quoted: quoted() });
            }
            uncovered = uncovered.into_iter().chain(self.without_digest.get(&pcr).copied()).min();
            accounted.explained.push(pcr);
        }
        match uncovered {
            Some(event) => Err(LogRefused::NoDigest { bank, event }),
            None => Ok(accounted),
        }
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
            Self::Unaccounted { bank, pcr, quoted } => report("AR-E508")
                .fact("bank", bank)
                .fact("pcr", pcr)
                .fact("quoted", quoted)
                .hint("events were left out of the log, or this PCR is extended after boot: then quote without it"),
            Self::NoDigest { bank, event } => report("AR-E507").fact("bank", bank).fact("event", event),
        }
    }
}
