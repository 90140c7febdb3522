//! Event logs and reference values, kept at hand: a log is replayed once, however often its machine asks.

use crate::broker::Broker;
use crate::store::{SeeBoot, Seen, StoreError};
use attest_appraisal::boot::{BootEvent, BootFacts, References, ReplayedLog, Signer};
use attest_appraisal::{MeasurementsRefused, QuotedHost};
use attest_evidence::eventlog::{EventLog, EventLogRefused};
use attest_evidence::exchange::logs::{EventLogSent, LogsRefused, decompress_event_log};
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::{Digest, HashAlgorithm, Sha256Digest};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of the logs that are kept at hand, replayed: a laptop's takes some 50 KiB.
const MOST_BYTES_AT_HAND: usize = 16 << 20;
/// Bytes of one of them: a larger one, which no machine writes, is read anew each time.
const LARGEST_AT_HAND: usize = 1 << 20;
/// Logs that are decompressed and replayed at one time: each may take a core, and some [`LARGEST_LOG`] of memory.
///
/// [`LARGEST_LOG`]: attest_evidence::eventlog::LARGEST_LOG
const MOST_READ_AT_ONCE: usize = 2;
/// Runners whose last boot is kept at hand.
const MOST_RUNNERS: usize = 10_000;

/// What is kept at hand. Nothing rests on it that is not in the database.
#[derive(Debug)]
pub(crate) struct Boots {
    logs: Mutex<LogsAtHand>,
    reading: Arc<Semaphore>,
    /// By runner: digest over its PCRs, and of its log.
    seen: Mutex<HashMap<i64, (Sha256Digest, Option<Sha256Digest>)>>,
    references: Mutex<Option<(i64, Arc<References>)>>,
}

#[derive(Debug, Default)]
struct LogsAtHand {
    logs: HashMap<Sha256Digest, Arc<ReplayedLog>>,
    /// What they take, by [`size`].
    bytes: usize,
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
    /// A defect of this program.
    #[error("the event log could not be replayed")]
    Crashed,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Broker {
    /// The event log that came with a quote. The quote must have been verified: what follows costs time and memory.
    pub(crate) async fn event_log(&self, sent: Option<EventLogSent<'_>>) -> Result<Option<LogAtHand>, LogsUnusable> {
        let Some(sent) = sent else { return Ok(None) };
        match sent {
            EventLogSent::Known(digest) => {
                if let Some(replayed) = self.boots.log(&digest) {
                    return Ok(Some(LogAtHand { digest, replayed, came: None }));
                }
                let kept = self.store.evidence(&digest).await?.ok_or(LogsUnusable::NotHere)?;
                let read = self.boots.read(kept).await?;
                Ok(read.map(|(digest, replayed, _)| LogAtHand { digest, replayed, came: None }))
            }
            EventLogSent::Whole(compressed) => {
                let read = self.boots.read(compressed.to_vec()).await?;
                Ok(read.map(|(digest, replayed, came)| LogAtHand { digest, replayed, came: Some(came) }))
            }
        }
    }

    /// Remembers what a runner booted, if that is new. The log must lead to the quote.
    ///
    /// # Errors
    /// [`LogsUnusable::NotHere`] where the log was at hand and is not in the database any more.
    pub(crate) async fn see_boot(
        &self,
        runner: i64,
        host: &QuotedHost,
        log: Option<&LogAtHand>,
    ) -> Result<(), LogsUnusable> {
        let pcrs = host.quote().boot_pcrs();
        let seen = (pcrs.digest(), log.map(|log| log.digest));
        if self.boots.has_seen(runner, &seen) {
            return Ok(());
        }
        let event_log = log.map(|log| (log.digest, log.came.clone()));
        let firmware = host.quote().firmware_version();
        let seeing = SeeBoot { runner, pcrs, event_log, firmware, at: self.wall() };
        if self.store.commit(seeing).await? == Seen::LogGone {
            return Err(LogsUnusable::NotHere);
        }
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

impl Default for Boots {
    fn default() -> Self {
        Self {
            logs: Mutex::default(),
            reading: Arc::new(Semaphore::new(MOST_READ_AT_ONCE)),
            seen: Mutex::default(),
            references: Mutex::default(),
        }
    }
}

impl Boots {
    fn log(&self, digest: &Sha256Digest) -> Option<Arc<ReplayedLog>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).logs.get(digest).map(Arc::clone)
    }

    /// A turn to read something large.
    pub(crate) async fn turn(&self) -> Result<OwnedSemaphorePermit, LogsUnusable> {
        Arc::clone(&self.reading).acquire_owned().await.map_err(|_| LogsUnusable::Crashed)
    }

    /// Reads a compressed log, on a thread where that keeps nobody waiting; and gives it back.
    async fn read(
        &self,
        compressed: Vec<u8>,
    ) -> Result<Option<(Sha256Digest, Arc<ReplayedLog>, Vec<u8>)>, LogsUnusable> {
        let turn = self.turn().await?;
        let reading = tokio::task::spawn_blocking(move || {
            // Until it is done: whoever asked may have gone.
            let _turn = turn;
            Ok(read(&compressed)?.map(|(digest, replayed)| (digest, Arc::new(replayed), compressed)))
        });
        reading.await.map_err(|_| LogsUnusable::Crashed)?
    }

    fn keep_log(&self, digest: Sha256Digest, log: Arc<ReplayedLog>) {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).keep(digest, log);
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

impl LogsAtHand {
    fn keep(&mut self, digest: Sha256Digest, log: Arc<ReplayedLog>) {
        let bytes = size(log.claimed());
        if bytes > LARGEST_AT_HAND || self.logs.contains_key(&digest) {
            return;
        }
        if self.bytes + bytes > MOST_BYTES_AT_HAND {
            *self = Self::default(); // they are in the database
        }
        self.bytes += bytes;
        self.logs.insert(digest, log);
    }
}

/// From compressed bytes to what they say. None where they say nothing of the bank that exchanges quote, SHA-256: what is
/// not written down for it is no evidence of it.
fn read(compressed: &[u8]) -> Result<Option<(Sha256Digest, ReplayedLog)>, LogsUnusable> {
    let bytes = decompress_event_log(compressed).map_err(LogsRefused::from)?;
    let log = EventLog::parse(&bytes)?;
    let quoted = log.banks().any(|bank| bank == HashAlgorithm::Sha256);
    Ok(quoted.then(|| (Sha256Digest::of(&bytes), ReplayedLog::of(&log))))
}

/// Bytes that a replayed log takes, about: its events, revocations and signers, and a kilobyte for the rest. A tree's nodes
/// are half full at worst.
fn size(facts: &BootFacts) -> usize {
    let events: usize = facts.events.iter().map(|event| size_of::<BootEvent>() + event.words.capacity()).sum();
    let signers: usize = facts.signers.iter().map(|signer| size_of::<Signer>() + signer.words.capacity()).sum();
    1024 + events + signers + 2 * facts.dbx.len() * size_of::<Digest>()
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
            Self::Crashed => crate::server::Refusal::internal("an event log could not be replayed").report,
            Self::Store(error) => crate::server::Refusal::from(error.clone()).report,
        }
    }
}
