//! Leases: kept alive by heartbeats, ended by a release, lost when the broker takes them or falls silent.
//!
//! One [`Keeper`] speaks for all leases that this agent holds of a broker. It sends their heartbeats together, and keeps
//! a question open to which the broker answers when it takes one: a revocation is known here at once, and not with the
//! next heartbeat.

use crate::agent::AgentError;
use crate::boottime::BootInstant;
use crate::broker::{BrokerClient, BrokerError};
use attest_evidence::SecretBytes;
use attest_evidence::exchange::{EndedLease, LeaseMessage, LeaseSignal, LeaseWatch, LeasesEnded, MOST_LEASES, seal};
use attest_evidence::name::LeaseId;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// Heartbeats without an answer after which the broker ends the lease. The step ends at the same moment: it is
/// counted from when the last answered one was sent, which the broker heard later.
const MOST_MISSED: u32 = 2;
/// Part of the interval after which heartbeats that went wrong are tried again, and by which some are sent early, so that
/// they travel with others.
const PART: u32 = 4;
/// How long it may take to tell what a step did whose lease has ended already.
const LONGEST_CLOSE: Duration = Duration::from_secs(10);
/// The pause after a question that went wrong.
const PAUSE: Duration = Duration::from_millis(250);

/// What a step holds. It must be ended with [`Lease::end`]; dropped, its heartbeats stop and the broker ends it.
pub(crate) struct Lease {
    line: Arc<Line>,
    keeper: Arc<Keeper>,
}

/// One lease, as its keeper knows it.
struct Line {
    id: LeaseId,
    key: SecretBytes,
    counter: AtomicU64,
    every: Duration,
    /// When the last heartbeat was sent that the broker answered.
    heard: Mutex<BootInstant>,
    /// Why it is held no more.
    lost: watch::Sender<Option<String>>,
}

impl Line {
    fn sealed(&self, signal: LeaseSignal) -> Vec<u8> {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed) + 1;
        let message = LeaseMessage { lease: self.id.clone(), counter, signal };
        self.key.expose(|key| seal(&message, key))
    }

    fn heard(&self) -> BootInstant {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, sent: BootInstant) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        *heard = (*heard).max(sent);
    }

    /// When it ends if nothing more is heard.
    fn ends(&self) -> BootInstant {
        self.heard().after(self.every * MOST_MISSED)
    }

    fn lose(&self, reason: String) {
        self.lost.send_if_modified(|lost| lost.is_none() && lost.replace(reason).is_none());
    }
}

/// Speaks for all leases that this agent holds of one broker.
pub(crate) struct Keeper {
    client: Arc<BrokerClient>,
    held: Mutex<BTreeMap<LeaseId, Arc<Line>>>,
    /// Told when a lease is taken up while none was held.
    begun: Notify,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Keeper {
    pub(crate) fn new(client: Arc<BrokerClient>) -> Arc<Self> {
        let keeper = Arc::new(Self { client, held: Mutex::default(), begun: Notify::new(), tasks: Mutex::default() });
        let tasks = [tokio::spawn(Arc::clone(&keeper).beat()), tokio::spawn(Arc::clone(&keeper).listen())];
        keeper.tasks.lock().unwrap_or_else(PoisonError::into_inner).extend(tasks);
        keeper
    }

    /// Ends its tasks: another keeper speaks from now on. What it holds is lost when its heartbeats are missed.
    pub(crate) fn stop(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..).for_each(|task| task.abort());
    }

    /// The leases that are held, as far as anybody here knows.
    fn held(&self) -> Vec<Arc<Line>> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.values().filter(|line| line.lost.borrow().is_none()).cloned().collect()
    }

    /// Takes a lease up: heartbeats begin.
    pub(crate) fn take_up(self: &Arc<Self>, id: LeaseId, key: SecretBytes, every: Duration) -> Lease {
        let (lost, _) = watch::channel(None);
        let heard = Mutex::new(BootInstant::now());
        let line = Arc::new(Line { id: id.clone(), key, counter: AtomicU64::new(0), every, heard, lost });
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&line));
        self.begun.notify_waiters();
        Lease { line, keeper: Arc::clone(self) }
    }

    fn forget(&self, id: &LeaseId) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Tells the steps whose leases the broker has taken.
    fn take(&self, ended: Vec<EndedLease>) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for EndedLease { lease, how } in ended {
            if let Some(line) = held.get(&lease) {
                line.lose(match how.as_str() {
                    "revoked" => "an admin of the broker revoked it".to_owned(),
                    "job-ended" => "its CI job has ended".to_owned(),
                    "lost" => "the broker heard no heartbeat of it in time, or its time was up".to_owned(),
                    other => format!("the broker says that it is {other}"),
                });
            }
        }
    }

    /// Sends heartbeats, for ever.
    async fn beat(self: Arc<Self>) {
        // After heartbeats that went wrong: when to try again.
        let mut retry = BTreeMap::<LeaseId, BootInstant>::new();
        loop {
            // Made before it is looked what is held: a lease that begins in between wakes it.
            let begun = self.begun.notified();
            let held = self.held();
            retry.retain(|lease, _| held.iter().any(|line| line.id == *lease));
            let due = |line: &Line| {
                let regular = line.heard().after(line.every);
                retry.get(&line.id).map_or(regular, |again| regular.max(*again))
            };
            let Some(next) = held.iter().map(|line| due(line)).min() else {
                begun.await;
                continue;
            };
            tokio::select! {
                () = next.reached() => {}
                () = begun => continue,
            }
            let now = BootInstant::now();
            let soon = |line: &Arc<Line>| due(line) <= now.after(line.every / PART);
            let held: Vec<_> = self.held().into_iter().filter(soon).take(MOST_LEASES).collect();
            if held.is_empty() {
                continue;
            }
            let beats: Vec<u8> = held.iter().flat_map(|line| line.sealed(LeaseSignal::Heartbeat)).collect();
            // No answer counts that comes later than the first of them ends.
            let patience = held.iter().map(|line| line.ends().left()).min().unwrap_or_default().max(PAUSE);
            let said = tokio::time::timeout(patience, self.client.heartbeats(beats)).await;
            let again = |line: &Arc<Line>| (line.id.clone(), BootInstant::now().after((line.every / PART).max(PAUSE)));
            match said {
                Ok(Ok(LeasesEnded { ended })) => {
                    for line in &held {
                        retry.remove(&line.id);
                        if !ended.iter().any(|ended| ended.lease == line.id) {
                            line.hear(now);
                        }
                    }
                    self.take(ended);
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, leases = held.len(), "heartbeats were missed");
                    retry.extend(held.iter().map(again));
                }
                Err(_) => {
                    tracing::warn!(leases = held.len(), "heartbeats were not answered in time");
                    retry.extend(held.iter().map(again));
                }
            }
        }
    }

    /// Listens for what the broker takes, for ever.
    async fn listen(self: Arc<Self>) {
        loop {
            let begun = self.begun.notified();
            let held = self.held();
            let Some(first) = held.first() else {
                begun.await;
                continue;
            };
            let all = held.iter().take(MOST_LEASES).map(|line| line.id.clone());
            let watch = LeaseWatch { lease: first.id.clone(), held: all.collect() };
            let asked = self.client.watch(first.key.expose(|key| seal(&watch, key)));
            match asked.await {
                Ok(LeasesEnded { ended }) => self.take(ended),
                // Too many of this runner ask. Heartbeats tell the same.
                Err(BrokerError::Refused(report, _)) if report.code.as_str() == "AR-X406" => {
                    tokio::time::sleep(first.every).await;
                }
                // The lease by which it asked has ended meanwhile; the next may not have.
                Err(BrokerError::Refused(..)) => tokio::time::sleep(PAUSE).await,
                Err(error) => {
                    tracing::debug!(%error, "nobody says whether leases are taken; heartbeats will");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

impl Lease {
    /// Waits until the lease is lost, and says why. For ever, if it isn't.
    pub(crate) async fn lost(&mut self) -> String {
        let mut lost = self.line.lost.subscribe();
        loop {
            if let Some(reason) = lost.borrow_and_update().clone() {
                return reason;
            }
            let ends = self.line.ends();
            tokio::select! {
                _ = lost.changed() => {}
                () = ends.reached() => if self.line.ends() <= BootInstant::now() {
                    let seconds = (self.line.every * MOST_MISSED).as_secs();
                    return format!("no heartbeat was answered for {seconds} s");
                },
            }
        }
    }

    /// Gives the lease back, if it can be with a quote: `close` delivers the message with one. Of a lease that is lost, what
    /// its step did is told all the same.
    ///
    /// # Errors
    /// The broker did not hear it; it will end the lease when no heartbeat comes. That it only took too long to tell is logged.
    pub(crate) async fn end(
        self,
        well: bool,
        close: impl AsyncFnOnce(Vec<u8>) -> Result<(), AgentError>,
    ) -> Result<(), AgentError> {
        self.keeper.forget(&self.line.id);
        let signal = if well { LeaseSignal::Succeeded } else { LeaseSignal::Failed };
        let mut close = pin!(close(self.line.sealed(signal)));
        if self.line.lost.borrow().is_none() {
            // No heartbeat comes any more: it has to be over before the broker misses the next.
            let longest = self.line.every / 2;
            match tokio::time::timeout(longest, &mut close).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => {
                    tracing::warn!(lease = %self.line.id, %error, "the lease ends without a quote");
                    return Ok(self.keeper.client.release(self.line.sealed(signal)).await?);
                }
                Err(_) => {
                    tracing::warn!(lease = %self.line.id, ?longest, "no quote in time: the lease ends, and one follows");
                    if let Err(error) = self.keeper.client.release(self.line.sealed(signal)).await {
                        tracing::warn!(lease = %self.line.id, %error, "the lease was not given back");
                    }
                }
            }
        }
        match tokio::time::timeout(LONGEST_CLOSE, close).await {
            Ok(closed) => closed,
            Err(_) => {
                tracing::warn!(lease = %self.line.id, longest = ?LONGEST_CLOSE, "what the step did was not told in time");
                Ok(())
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.keeper.forget(&self.line.id);
    }
}
