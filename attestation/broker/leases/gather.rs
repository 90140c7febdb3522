//! Heartbeats of many agents, in one commit: nobody minds when they are taken a moment later.

use crate::broker::Broker;
use crate::store::{Heartbeats, LeaseUpdate, StoreError};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Part of its interval for which a heartbeat may wait for others.
const PART: u32 = 10;
/// The longest that it waits.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Most agents whose heartbeats wait. Beyond it they are told to come again.
const LONGEST_QUEUE: usize = 4096;

/// What an agent is answered: those of its heartbeats that were not taken, and why.
type Refused = Result<Vec<(i64, LeaseUpdate)>, StoreError>;

/// The heartbeats of one agent: numbers of leases, and counters.
struct Beats {
    beats: Vec<(i64, u64)>,
    /// When they are to be taken.
    due: Instant,
    answer: oneshot::Sender<Refused>,
}

/// Heartbeats that wait.
pub(crate) struct Gathering {
    sender: mpsc::Sender<Beats>,
    /// Until somebody takes what waits.
    receiver: Mutex<Option<mpsc::Receiver<Beats>>>,
}

impl Default for Gathering {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(LONGEST_QUEUE);
        Self { sender, receiver: Mutex::new(Some(receiver)) }
    }
}

impl Broker {
    /// Commits heartbeats, of leases that send one `every` so often, together with those of other agents.
    pub(super) async fn take_heartbeats(&self, beats: Vec<(i64, u64)>, every: Duration) -> Refused {
        if beats.is_empty() {
            return Ok(Vec::new());
        }
        let (answer, answered) = oneshot::channel();
        let waits = self.gathering.sender.try_send(Beats {
            beats,
            due: Instant::now() + (every / PART).min(LONGEST_WAIT),
            answer,
        });
        waits.map_err(|_| StoreError::QueueFull(LONGEST_QUEUE))?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Takes what waits, for as long as the broker lives.
    pub(crate) async fn gather_heartbeats(self: Arc<Self>) {
        let receiver = self.gathering.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut waiting) = receiver else { return };
        let mut agents = Vec::new();
        while let Some(first) = waiting.recv().await {
            let mut due = first.due;
            agents.push(first);
            while let Ok(Some(more)) = tokio::time::timeout_at(due, waiting.recv()).await {
                due = due.min(more.due);
                agents.push(more);
            }
            let (taken, again) = without_repetitions(std::mem::take(&mut agents));
            for Beats { answer, .. } in again {
                // Whoever does not wait any more sends others; so below.
                let _ = answer.send(Err(StoreError::QueueFull(1)));
            }
            let beats = taken.iter().flat_map(|agent| agent.beats.clone()).collect();
            let refused = self.store.commit(Heartbeats { beats, now: self.now() }).await;
            for Beats { beats, answer, due: _ } in taken {
                let own = |lease: &i64| beats.iter().any(|(beat, _)| beat == lease);
                let refused = refused.clone();
                let _ = answer.send(refused.map(|all| all.into_iter().filter(|(lease, _)| own(lease)).collect()));
            }
        }
    }
}

/// The first word of each lease, and those agents who would have one speak twice within a moment: one flood of them
/// costs no more commits than its first.
fn without_repetitions(agents: Vec<Beats>) -> (Vec<Beats>, Vec<Beats>) {
    let mut seen = BTreeSet::new();
    agents.into_iter().partition(|agent| {
        let leases = || agent.beats.iter().map(|(lease, _)| *lease);
        let first = leases().all(|lease| !seen.contains(&lease));
        if first {
            seen.extend(leases());
        }
        first
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_speaks_twice_at_once_is_told_to_come_again() {
        let beats = |leases: &[i64], counter| Beats {
            beats: leases.iter().map(|lease| (*lease, counter)).collect(),
            due: Instant::now(),
            answer: oneshot::channel().0,
        };
        let (taken, again) =
            without_repetitions(vec![beats(&[1, 2], 1), beats(&[3], 1), beats(&[2, 5], 2), beats(&[4, 5], 1)]);
        let all = |agents: Vec<Beats>| agents.into_iter().flat_map(|agent| agent.beats).collect::<Vec<_>>();
        assert_eq!(all(taken), [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
        assert_eq!(all(again), [(2, 2), (5, 2)]);
    }
}
