//! What runners' kernels measure: followed from quote to quote, judged as it comes.

use crate::boots::LogsUnusable;
use crate::broker::Broker;
use crate::store::{SeeMeasurements, StoreError};
use attest_appraisal::boot::References;
use attest_appraisal::{BootCounts, Checkpoint, Measurements, MeasurementsRefused, QuotedHost};
use attest_evidence::exchange::logs::{LogsRefused, MeasurementsSent, compress, decompress_measurements};
use attest_evidence::report::{Escaped, Explain as _};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Compressed bytes that are read at once: at most a few hundred entries. More are read on a thread of their own: meanwhile
/// others are answered. What they come to is not known before, but for a thousand times as much.
const AT_ONCE: usize = 1024;

/// What it takes to follow a list, gathered.
struct Work {
    host: QuotedHost,
    /// What is remembered of this boot.
    known: Option<Measurements>,
    from: Checkpoint,
    /// What is known of the list from there on, compressed.
    overlap: Vec<Vec<u8>>,
    /// All that is known, compressed, where it has to be judged anew.
    all: Option<Vec<Vec<u8>>>,
    compressed: Vec<u8>,
    references: Arc<References>,
    version: i64,
}

/// What came of it.
struct Done {
    now: Measurements,
    part: Option<(Checkpoint, Vec<u8>)>,
}

impl Broker {
    /// What the kernel of a quoted host has measured, with what has been measured since it was told last; remembered, whether
    /// or not it is allowed. Nothing where PCR 10 is not quoted.
    pub(crate) async fn follow_measurements(
        &self,
        runner: i64,
        host: &QuotedHost,
        sent: MeasurementsSent<'_>,
        references: (i64, &Arc<References>),
    ) -> Result<Option<Measurements>, LogsUnusable> {
        // No more are read at one time than event logs are: each may take a core, and much memory.
        let turn = self.boots.turn().await?;
        let result = self.follow_in_turn(runner, host, sent, references, turn).await;
        match result {
            // Where nobody asks what the kernel measures, what can't be followed is left out: an old kernel that pads
            // digests, a list that began anew without a reboot.
            Err(LogsUnusable::Measurements(refused))
                if !references.1.ask_for_measurements(host.runner())
                    && (sent.first == 0 || !matches!(refused, MeasurementsRefused::NotJoined { .. })) =>
            {
                let report = refused.report();
                tracing::warn!(runner = %host.runner(), code = %report.code, what = %Escaped(&report.what), "what a kernel measured is left out");
                Ok(None)
            }
            other => other,
        }
    }

    async fn follow_in_turn(
        &self,
        runner: i64,
        host: &QuotedHost,
        sent: MeasurementsSent<'_>,
        references: (i64, &Arc<References>),
        turn: OwnedSemaphorePermit,
    ) -> Result<Option<Measurements>, LogsUnusable> {
        let before = self.store.measurements(runner).await?;
        let boot = BootCounts::of(host.quote().clock());
        let known = before.clone().filter(|known| known.boot() == boot);
        let quoted = known.as_ref().map_or(Checkpoint::BOOT, Measurements::quoted);
        let not_joined = || MeasurementsRefused::NotJoined { first: sent.first, known: quoted.count };
        let (from, overlap) = match &known {
            _ if sent.first == quoted.count => (quoted, Vec::new()),
            Some(_) => self.store.measured_parts(runner, sent.first).await?.ok_or_else(not_joined)?,
            None => return Err(not_joined().into()),
        };
        let (version, references) = (references.0, Arc::clone(references.1));
        let all = match &known {
            Some(known) if known.judged_by() != Some(version) => {
                Some(self.store.measured_parts(runner, 0).await?.map(|(_, parts)| parts).unwrap_or_default())
            }
            _ => None,
        };
        let large = sent.compressed.len() > AT_ONCE || !overlap.is_empty() || all.is_some();
        let compressed = sent.compressed.to_vec();
        let work = Work { host: host.clone(), known, from, overlap, all, compressed, references, version };
        let done = if large {
            let stopped = |_| StoreError::Database("a thread that read measurements has stopped".to_owned());
            let work = move || {
                let done = work.run();
                drop(turn);
                done
            };
            tokio::task::spawn_blocking(work).await.map_err(stopped)??
        } else {
            work.run()?
        };
        let Some(Done { now, part }) = done else { return Ok(None) };
        if before.as_ref() != Some(&now) {
            self.store.commit(SeeMeasurements { runner, before, now: now.clone(), part }).await?;
        }
        Ok(Some(now))
    }
}

impl Work {
    fn run(self) -> Result<Option<Done>, LogsUnusable> {
        let list = decompress_measurements(&self.compressed).map_err(LogsRefused::from)?;
        let overlap = joined(&self.overlap)?;
        let (quote, runner) = (self.host.quote(), self.host.runner());
        let Some(followed) = Measurements::follow(quote, self.known, self.from, &overlap, &list)? else {
            return Ok(None);
        };
        let at = followed.known().quoted();
        let part = Some(followed.new_list()).filter(|new| !new.is_empty()).map(|new| (at, compress(new)));
        let now = match self.all {
            Some(all) => followed.judged_anew(&joined(&all)?, &self.references, self.version, runner),
            None => followed.judged(&self.references, self.version, runner),
        };
        // What was kept may not lead to what was known any more: then nothing is added to it.
        let part = part.filter(|_| now.quoted() != at);
        Ok(Some(Done { now, part }))
    }
}

/// Parts of a list, put together.
pub(crate) fn joined(parts: &[Vec<u8>]) -> Result<Vec<u8>, LogsUnusable> {
    let mut list = Vec::new();
    for part in parts {
        list.extend(decompress_measurements(part).map_err(LogsRefused::from)?);
    }
    Ok(list)
}
