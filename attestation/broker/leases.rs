//! Leases: heartbeats, releases, those who watch, and the end of leases that nobody speaks for any more.

mod gather;
mod known;

pub(crate) use gather::Gathering;
use known::KnownLease;
pub(crate) use known::KnownLeases;

use crate::alarms::{Alarm, AlarmKind};
use crate::audit::{self, Kind};
use crate::broker::Broker;
use crate::keys::Purpose;
use crate::refusals::Recorded;
use crate::server::Refusal;
use crate::store::{EndLostLeases, LeaseKey, LeaseUpdate, RecordAlarm, ReleaseLease, StoreError, TakenLease};
use attest_evidence::Malformed;
use attest_evidence::exchange::{
    EndedLease, LeaseMessage, LeaseSignal, LeaseWatch, LeaseWords, LeasesEnded, MOST_LEASES, Sealed,
};
use attest_evidence::name::LeaseId;
use attest_evidence::report::{Fault, Report};
use serde_json::json;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// How often it is looked which leases were taken: by admins, whose commands are processes of their own, by the end of a
/// job, by the clock. The larger part of the time that a revocation takes to reach a step.
const LOOK: Duration = Duration::from_millis(150);
/// The longest that somebody who watches is kept without an answer. Proxies let connections go that are silent for a
/// minute.
pub(crate) const LONGEST_WATCH: Duration = Duration::from_secs(25);
/// Taken leases that may wait for one who watches. Whoever falls behind further asks anew.
const LONGEST_QUEUE: usize = 1024;

/// What is said of a machine whose lease ended without a quote.
pub(crate) const NOT_SHOWN: &str = "not-shown";

/// Most who watch for one runner: its agent does so once, and again before the broker has noticed that a connection is
/// gone; in direct mode each step does.
const MOST_WATCHERS: usize = 64;

/// Tells those who watch which leases were taken.
pub(crate) struct Taken {
    sender: broadcast::Sender<Arc<TakenLease>>,
    /// How many watch, by the row of their runner.
    watchers: Mutex<HashMap<i64, usize>>,
}

impl Default for Taken {
    fn default() -> Self {
        Self { sender: broadcast::channel(LONGEST_QUEUE).0, watchers: Mutex::default() }
    }
}

impl Taken {
    /// One who watches for a runner, for as long as this is kept; none, if too many do.
    fn watcher(&self, runner: i64) -> Option<Watcher<'_>> {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = watchers.entry(runner).or_default();
        if *count >= MOST_WATCHERS {
            return None;
        }
        *count += 1;
        Some(Watcher { taken: self, runner })
    }
}

struct Watcher<'a> {
    taken: &'a Taken,
    runner: i64,
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        let mut watchers = self.taken.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = watchers.entry(self.runner) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl Broker {
    /// Takes a message by which a holder ends its lease.
    ///
    /// # Errors
    /// The lease is unknown or has ended, the message is not authentic or a replay.
    pub(crate) async fn release(&self, bytes: &[u8]) -> Result<(), Refusal> {
        let LeaseMessage { lease, counter, signal } = self.authentic_end(bytes).await?;
        let audit = audit::Entry::new(
            self.wall(),
            Kind::LeaseEnded,
            &json!({ "lease": lease, "how": signal, "closing": { "machine": NOT_SHOWN } }),
        )?;
        self.known_leases.forget(&lease);
        let release = ReleaseLease { lease: lease.clone(), counter, signal, now: self.now(), closing: None, audit };
        answer_to_end(self.store.commit(release).await?, &lease, counter)
    }

    /// The message that ends a lease, if it is from its holder.
    pub(crate) async fn authentic_end(&self, bytes: &[u8]) -> Result<LeaseMessage, Refusal> {
        let message = Sealed::<LeaseMessage>::parse(bytes).map_err(malformed)?;
        self.authenticate(std::slice::from_ref(&message))
            .await?
            .into_iter()
            .next()
            .ok_or_else(|| Refusal::of(&ended(&message.claimed.lease)))?;
        if message.claimed.signal == LeaseSignal::Heartbeat {
            return Err(Refusal::of(&Report::new("AR-X401", Fault::Identity, "a heartbeat ends no lease")));
        }
        Ok(message.claimed)
    }

    /// Takes the heartbeats of all leases that an agent holds, each with its own authentication, and says which of them
    /// are held no more.
    ///
    /// # Errors
    /// One of them is not authentic: then none is taken.
    pub(crate) async fn heartbeats(&self, bytes: &[u8]) -> Result<LeasesEnded, Refusal> {
        let messages = Sealed::<LeaseMessage>::parse_all(bytes).map_err(malformed)?;
        let known = self.authenticate(&messages).await?;
        let mut outcome = LeasesEnded::default();
        let (mut beats, mut every) = (Vec::with_capacity(messages.len()), u32::MAX);
        for message in messages {
            let LeaseMessage { lease, counter, signal } = message.claimed;
            let spoken = known.iter().find(|known| known.lease == lease);
            let twice = spoken.is_some_and(|known| beats.iter().any(|(number, _)| *number == known.number));
            if signal != LeaseSignal::Heartbeat || twice {
                let what = "heartbeats alone are taken together, one of each lease";
                return Err(Refusal::of(&Report::new("AR-X401", Fault::Identity, what)));
            }
            match spoken {
                Some(known) => {
                    beats.push((known.number, counter));
                    every = every.min(known.every);
                }
                None => outcome.ended.push(EndedLease { lease, how: "unknown".to_owned() }),
            }
        }
        let refused = self.take_heartbeats(beats, Duration::from_secs(every.into())).await?;
        if refused.is_empty() {
            return Ok(outcome);
        }
        let of_number = |number: &i64| known.iter().find(|known| known.number == *number).map(|known| &known.lease);
        let ended: Vec<&LeaseId> = refused.iter().filter_map(|(number, _)| of_number(number)).collect();
        let rows = self.store.lease_keys(&ended).await?;
        for row in rows {
            self.known_leases.forget(&row.lease);
            let replayed = refused.contains(&(row.number, LeaseUpdate::Replayed));
            let how = match row.state.as_str() {
                _ if replayed => "replayed",
                "active" => "lost",
                state => state,
            };
            outcome.ended.push(EndedLease { lease: row.lease, how: how.to_owned() });
        }
        Ok(outcome)
    }

    /// Waits until a lease of the same runner is taken, and says which; nothing, if none is for a while.
    ///
    /// # Errors
    /// The wish is not authentic.
    pub(crate) async fn watch(&self, bytes: &[u8]) -> Result<LeasesEnded, Refusal> {
        let wish = Sealed::<LeaseWatch>::parse(bytes).map_err(malformed)?;
        if wish.claimed.held.len() > MOST_LEASES {
            return Err(Refusal::of(&Report::new("AR-X401", Fault::Identity, "nobody holds so many leases at once")));
        }
        // Before the database is asked what has been taken, so that nothing falls between the two.
        let mut taken = self.taken.sender.subscribe();
        let known = self.authenticate(std::slice::from_ref(&wish)).await?.into_iter().next();
        let runner = known.ok_or_else(|| Refusal::of(&ended(&wish.claimed.lease)))?.runner_id;
        let asked: Vec<&LeaseId> = wish.claimed.held.iter().chain([&wish.claimed.lease]).collect();
        let rows = self.store.lease_keys(&asked).await?;
        let speaks = rows.iter().any(|row| row.lease == wish.claimed.lease && row.state == "active");
        let already = rows.into_iter();
        let already: Vec<_> = already
            .filter(|key| key.runner_id == runner && ["revoked", "lost", "job-ended"].contains(&key.state.as_str()))
            .map(|key| EndedLease { lease: key.lease, how: key.state })
            .collect();
        if !already.is_empty() {
            return Ok(LeasesEnded { ended: already });
        }
        if !speaks {
            return Err(Refusal::of(&ended(&wish.claimed.lease)));
        }
        let Some(_watcher) = self.taken.watcher(runner) else {
            let what = format!("{MOST_WATCHERS} connections of this runner watch its leases already");
            return Err(Refusal::of(
                &Report::new("AR-X406", Fault::Unreachable, what)
                    .hint("its agent needs one; heartbeats tell the same, later"),
            ));
        };
        let until = Instant::now() + LONGEST_WATCH;
        let mut outcome = LeasesEnded::default();
        loop {
            match tokio::time::timeout_at(until, taken.recv()).await {
                Ok(Ok(lease)) if lease.runner_id == runner => {
                    outcome.ended.push(EndedLease { lease: lease.lease.clone(), how: lease.how.clone() });
                    // What was taken together is told together.
                    while let Ok(more) = taken.try_recv() {
                        if more.runner_id == runner && outcome.ended.len() < MOST_LEASES {
                            outcome.ended.push(EndedLease { lease: more.lease.clone(), how: more.how.clone() });
                        }
                    }
                    return Ok(outcome);
                }
                Ok(Ok(_)) => {}
                // It fell behind, the broker ends, or nothing happened: it asks anew, and is told what it has missed.
                Ok(Err(_)) | Err(_) => return Ok(outcome),
            }
        }
    }

    /// The leases that messages are about, once all messages are authentic. Leases that never were are left out.
    async fn authenticate<T: LeaseWords>(&self, messages: &[Sealed<'_, T>]) -> Result<Vec<Arc<KnownLease>>, Refusal> {
        let leases = || messages.iter().map(|message| message.claimed.lease());
        let mut known: Vec<_> = leases().filter_map(|lease| self.known_leases.find(lease)).collect();
        let missing: Vec<_> = leases().filter(|lease| !known.iter().any(|known| known.lease == **lease)).collect();
        if !missing.is_empty() {
            for LeaseKey { lease, number, every, runner_id, runner, sealed_key, state: _ } in
                self.store.lease_keys(&missing).await?
            {
                let key = self.keys.root().open(Purpose::LeaseKeys, &sealed_key, lease.as_str().as_bytes());
                let key = key.map_err(|error| Refusal::internal(&error.to_string()))?;
                known.push(self.known_leases.keep(KnownLease { lease, number, every, runner_id, runner, key }));
            }
        }
        for message in messages {
            let lease = message.claimed.lease();
            let Some(spoken) = known.iter().find(|known| known.lease == *lease) else { continue };
            if !spoken.key.expose(|key| message.authenticates(key)) {
                return Err(self.refuse_forged(lease, &spoken.runner).await?);
            }
        }
        Ok(known)
    }

    async fn refuse_forged(&self, lease: &LeaseId, runner: &str) -> Result<Refusal, StoreError> {
        let report = Report::new("AR-X402", Fault::Identity, "the message about this lease is not from its holder")
            .fact("lease", lease);
        let now = self.wall();
        let Recorded::Yes { unrecorded_before } = self.refusals.count(Some(lease.as_str()), now) else {
            return Ok(Refusal::of(&report));
        };
        let facts = json!({ "lease": lease, "runner": runner });
        let body = json!({ "lease": lease, "report": report, "unrecorded_before": unrecorded_before });
        let entry = audit::Entry::new(now, Kind::LeaseRefused, &body)?;
        let alarm = Alarm::about(&entry, AlarmKind::ForgedLeaseMessage, lease.as_str(), facts);
        let audit = entry.id.clone();
        self.store.commit(RecordAlarm(entry, Some(alarm))).await?;
        Ok(Refusal::recorded(&report, audit))
    }

    /// Ends lost leases every second, for as long as the broker lives.
    pub(crate) async fn watch_leases(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            self.watch_wall_clock().await;
            match self.store.any_lease_lost(self.now()).await {
                Ok(false) => continue,
                Ok(true) => {}
                Err(error) => {
                    tracing::error!(%error, "leases can't be looked at");
                    continue;
                }
            }
            match self.store.commit(EndLostLeases { now: self.now(), at: self.wall() }).await {
                Ok(lost) => {
                    for lease in lost {
                        tracing::warn!(%lease, "lease lost: its time is up or its heartbeats stayed away");
                    }
                }
                Err(error) => tracing::error!(%error, "lost leases can't be ended"),
            }
        }
    }

    /// Tells those who watch what was taken, for as long as the broker lives.
    pub(crate) async fn tell_taken(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut last = None;
        loop {
            ticks.tick().await;
            let looked = match last {
                None => self.store.last_taken().await.map(|sequence| (sequence, Vec::new())),
                Some(since) => self.store.leases_taken(since).await.map(|taken| (since, taken)),
            };
            match looked {
                Ok((since, taken)) => {
                    last = Some(taken.last().map_or(since, |lease| lease.sequence));
                    for lease in taken {
                        self.known_leases.forget(&lease.lease);
                        // Nobody has to watch.
                        let _ = self.taken.sender.send(Arc::new(lease));
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "it can't be looked which leases were taken");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

/// What the sender of a message about a lease is told.
pub(crate) fn answer_to_end(update: LeaseUpdate, lease: &LeaseId, counter: u64) -> Result<(), Refusal> {
    match update {
        LeaseUpdate::Done => Ok(()),
        LeaseUpdate::Ended => Err(Refusal::of(&ended(lease))),
        LeaseUpdate::Replayed => Err(Refusal::of(
            &Report::new("AR-X404", Fault::Identity, "the message about this lease is a replay")
                .fact("lease", lease)
                .fact("counter", counter),
        )),
    }
}

fn malformed(error: Malformed) -> Refusal {
    Refusal::of(&Report::new("AR-X401", Fault::Identity, error.to_string()))
}

fn ended(lease: &LeaseId) -> Report {
    Report::new("AR-X403", Fault::Refused, "the lease has ended, or never was")
        .fact("lease", lease)
        .hint("whatever it held is not held any more: run the step again")
}
