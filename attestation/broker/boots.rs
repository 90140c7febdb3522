//! Event logs and reference values, kept at hand: a log is replayed once, however often its machine asks.

use crate::broker::Broker;
use crate::store::{SeeBoot, StoreError};
use attest_appraisal::boot::{References, ReplayedLog};
use attest_appraisal::{MeasurementsRefused, QuotedHost};
use attest_evidence::eventlog::{EventLog, EventLogRefused};
use attest_evidence::exchange::logs::{EventLogSent, LogsRefused, decompress_event_log};
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::{HashAlgorithm, Sha256Digest};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Logs that are kept at hand: those of as many machines that booted differently.
const MOST_LOGS: usize = 64;
/// Events of a log that is kept at hand: a longer one, which no machine writes, is read anew each time.
const MOST_EVENTS_AT_HAND: usize = 2000;
/// Runners whose last boot is kept at hand.
const MOST_RUNNERS: usize = 10_000;

/// What is kept at hand. Nothing rests on it that is not in the database.
#[derive(Debug, Default)]
pub(crate) struct Boots {
    logs: Mutex<HashMap<Sha256Digest, Arc<ReplayedLog>>>,
    /// By runner: digest over its PCRs, and of its log.
    seen: Mutex<HashMap<i64, (Sha256Digest, Option<Sha256Digest>)>>,
    references: Mutex<Option<(i64, Arc<References>)>>,
}

/// A log that came, or that was here.
#[derive(Debug, Clone)]
pub(crate) struct LogAtHand {
    pub(crate) digest: Sha256Digest,
    pub(crate) replayed: Arc<ReplayedLog>,
    /// What came, compressed.
    came: Option<Vec<u8>>,
}

/// Why the logs of an exchange can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LogsUnusable {
    #[error(transparent)]
    Refused(#[from] LogsRefused),
    #[error(transparent)]
    EventLog(#[from] EventLogRefused),
    /// The agent sends it once more, whole.
    #[error("the event log was sent by its digest, and is not here")]
    NotHere,
    #[error(transparent)]
    Measurements(#[from] MeasurementsRefused),
    #[error("the reference values in force can't be used: {0}")]
    References(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Broker {
    /// The event log that came with a quote. The quote must have been verified: what follows costs time and memory.
    pub(crate) async fn event_log(&self, sent: Option<EventLogSent<'_>>) -> Result<Option<LogAtHand>, LogsUnusable> {
        let Some(sent) = sent else { return Ok(None) };
        let (bytes, came) = match sent {
            EventLogSent::Known(digest) => {
                if let Some(replayed) = self.boots.log(&digest) {
                    return Ok(Some(LogAtHand { digest, replayed, came: None }));
                }
                let kept = self.store.evidence(&digest).await?.ok_or(LogsUnusable::NotHere)?;
                (decompress_event_log(&kept).map_err(LogsRefused::from)?, None)
            }
            EventLogSent::Whole(compressed) => {
                (decompress_event_log(compressed).map_err(LogsRefused::from)?, Some(compressed.to_vec()))
            }
        };
        let digest = Sha256Digest::of(&bytes);
        let replayed = match self.boots.log(&digest) {
            Some(replayed) => replayed,
            None => {
                let log = EventLog::parse(&bytes)?;
                // Exchanges quote the SHA-256 bank. What is not written down for it is no evidence of it.
                if !log.banks().any(|bank| bank == HashAlgorithm::Sha256) {
                    return Ok(None);
                }
                Arc::new(ReplayedLog::of(&log))
            }
        };
        Ok(Some(LogAtHand { digest, replayed, came }))
    }

    /// Remembers what a runner booted, if that is new. The log must lead to the quote.
    pub(crate) async fn see_boot(
        &self,
        runner: i64,
        host: &QuotedHost,
        log: Option<&LogAtHand>,
    ) -> Result<(), StoreError> {
        let pcrs = host.quote().boot_pcrs();
        let seen = (pcrs.digest(), log.map(|log| log.digest));
        if self.boots.has_seen(runner, &seen) {
            return Ok(());
        }
        let event_log = log.map(|log| (log.digest, log.came.clone()));
        let firmware = host.quote().firmware_version();
        self.store.commit(SeeBoot { runner, pcrs, event_log, firmware, at: self.wall() }).await?;
        if let Some(log) = log {
            self.boots.keep_log(log.digest, Arc::clone(&log.replayed));
        }
        self.boots.keep_seen(runner, seen);
        Ok(())
    }

    /// The reference values in force.
    /// With their version.
    pub(crate) async fn references(&self) -> Result<(i64, Arc<References>), LogsUnusable> {
        let version = self.store.references_version().await?;
        if let Some(kept) = self.boots.references_of(version) {
            return Ok((version, kept));
        }
        let text = self.store.references(version).await?.unwrap_or_default();
        let read = References::parse(&text).map_err(|error| LogsUnusable::References(error.to_string()))?;
        let read = Arc::new(read);
        *self.boots.references.lock().unwrap_or_else(PoisonError::into_inner) = Some((version, Arc::clone(&read)));
        Ok((version, read))
    }
}

impl Boots {
    fn log(&self, digest: &Sha256Digest) -> Option<Arc<ReplayedLog>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).get(digest).map(Arc::clone)
    }

    fn keep_log(&self, digest: Sha256Digest, log: Arc<ReplayedLog>) {
        if log.claimed().events.len() > MOST_EVENTS_AT_HAND {
            return;
        }
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if logs.len() >= MOST_LOGS {
            logs.clear(); // they are in the database
        }
        logs.insert(digest, log);
    }

    fn has_seen(&self, runner: i64, boot: &(Sha256Digest, Option<Sha256Digest>)) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&runner) == Some(boot)
    }

    fn keep_seen(&self, runner: i64, boot: (Sha256Digest, Option<Sha256Digest>)) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST_RUNNERS {
            seen.clear();
        }
        seen.insert(runner, boot);
    }

    fn references_of(&self, version: i64) -> Option<Arc<References>> {
        let kept = self.references.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|(of, _)| *of == version).map(|(_, references)| Arc::clone(references))
    }
}

impl Explain for LogsUnusable {
    fn report(&self) -> Report {
        let report = |code, fault| Report::new(code, fault, self.to_string());
        match self {
            Self::Refused(LogsRefused::UnknownKind(kind)) => {
                report("AR-E304", Fault::Identity).fact("kind", kind).hint("upgrade the broker before the agents")
            }
            Self::Refused(_) => report("AR-X106", Fault::Identity),
            Self::EventLog(refused) => refused.report(),
            Self::Measurements(refused) => refused.report(),
            Self::NotHere => report("AR-X107", Fault::Identity).hint("the agent sends it whole by itself"),
            Self::References(reason) => {
                tracing::error!(%reason, "the reference values in force can't be used");
                Report::new("AR-P408", Fault::Unreachable, "the reference values in force can't be used")
                    .hint("nothing was granted. The broker's log says what is wrong")
            }
            Self::Store(error) => crate::server::Refusal::from(error.clone()).report,
        }
    }
}
