//! What the agent is told.
//!
//! A request that begins takes a place in the queue, for what will be said of it: so what happened is always told, the queue
//! is bounded, and while the agent does not read, requests wait.

use attest_evidence::name::SecretName;
use attest_wire::egress::{FromEgress, MOST_REQUESTS, Sent};
use attest_wire::{FrameWriter, WireError};
use tokio::sync::mpsc;
use tokio::sync::watch;

/// Places in the queue: as many requests as there are at once, and as many that are over and not yet told.
const QUEUE: usize = 2 * MOST_REQUESTS as usize;

/// Whether requests are sent.
#[derive(Debug, Clone, Default)]
pub(crate) enum State {
    /// They are.
    #[default]
    Open,
    /// No more: this secret came back.
    Leaked(Leak),
    /// No more: there is nobody to send any.
    Over,
}

/// A secret that came back in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leak {
    /// Which.
    pub secret: SecretName,
    /// How it was written.
    pub encoding: &'static str,
    /// Who sent it back.
    pub from: String,
}

/// Tells the agent, and stops everything when a secret came back.
#[derive(Debug)]
pub(crate) struct Teller {
    queue: mpsc::Sender<Sent>,
    state: watch::Sender<State>,
}

/// A place in the queue.
#[derive(Debug)]
pub(crate) struct Slot(mpsc::OwnedPermit<Sent>);

/// What is to be told.
#[derive(Debug)]
pub(crate) struct Queue(mpsc::Receiver<Sent>);

impl Teller {
    /// One that has said nothing, and what it will say.
    pub(crate) fn new() -> (Self, Queue) {
        let (queue, told) = mpsc::channel(QUEUE);
        (Self { queue, state: watch::Sender::default() }, Queue(told))
    }

    /// Waits for a place. None when nothing is sent any more.
    pub(crate) async fn slot(&self) -> Option<Slot> {
        let slot = self.queue.clone().reserve_owned().await.ok()?;
        matches!(*self.state.borrow(), State::Open).then_some(Slot(slot))
    }

    /// Stops everything: a secret came back. The first counts.
    pub(crate) fn leaked(&self, leak: Leak) {
        self.state.send_if_modified(|state| {
            let open = matches!(state, State::Open);
            if open {
                *state = State::Leaked(leak);
            }
            open
        });
    }

    /// Stops everything: there is nobody to send requests. Says what it was before.
    pub(crate) fn over(&self) -> State {
        self.state.send_replace(State::Over)
    }

    /// Whether requests are sent.
    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }
}

impl Slot {
    /// Puts it into the queue.
    pub(crate) fn tell(self, sent: Sent) {
        self.0.send(sent);
    }
}

impl Queue {
    /// Tells everything, until nobody can say anything any more.
    ///
    /// # Errors
    /// When the agent can't be told.
    pub(crate) async fn tell(mut self, mut agent: FrameWriter) -> Result<FrameWriter, WireError> {
        while let Some(sent) = self.0.recv().await {
            agent.send(&FromEgress::Sent(sent)).await?;
        }
        Ok(agent)
    }
}
