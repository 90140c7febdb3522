//! Leases: kept alive by heartbeats, ended by a release.

use crate::boottime::BootInstant;
use crate::broker::{BrokerClient, BrokerError};
use attest_evidence::SecretBytes;
use attest_evidence::exchange::{LeaseMessage, LeaseSignal};
use attest_evidence::name::LeaseId;
use attest_evidence::report::Fault;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Heartbeats without an answer after which the broker ends the lease. The step ends at the same moment: it is
/// counted from when the last answered one was sent, which the broker heard later.
const MOST_MISSED: u32 = 2;
/// Part of the interval after which a heartbeat that went wrong is tried again.
const RETRY: u32 = 4;

/// What a step holds. It must be ended with [`Lease::end`]; dropped, its heartbeats stop and the broker ends it.
pub(crate) struct Lease {
    line: Arc<Line>,
    heartbeats: JoinHandle<()>,
    lost: watch::Receiver<Option<String>>,
}

struct Line {
    id: LeaseId,
    key: SecretBytes,
    counter: AtomicU64,
    client: Arc<BrokerClient>,
}

impl Line {
    async fn say(&self, signal: LeaseSignal) -> Result<(), BrokerError> {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed) + 1;
        let message = LeaseMessage { lease: self.id.clone(), counter, signal };
        self.client.lease_message(self.key.expose(|key| message.seal(key))).await
    }

    /// Sends heartbeats until the lease is lost, and says why it is.
    async fn beat(&self, every: Duration) -> String {
        let mut heard = BootInstant::now();
        let mut pause = every;
        loop {
            let ends = heard.after(every * MOST_MISSED);
            BootInstant::now().after(pause.min(ends.left())).reached().await;
            let sent = BootInstant::now();
            let said = tokio::select! {
                said = self.say(LeaseSignal::Heartbeat) => said,
                () = ends.reached() => return format!("no heartbeat was answered for {} s", (every * MOST_MISSED).as_secs()),
            };
            match said {
                Ok(()) => (heard, pause) = (sent, every),
                // The broker has spoken about the lease. What it says of itself is a heartbeat missed.
                Err(BrokerError::Refused(report, _)) if matches!(report.fault, Fault::Refused | Fault::Identity) => {
                    return report.what.clone();
                }
                Err(error) => {
                    tracing::warn!(lease = %self.id, %error, "a heartbeat was missed");
                    pause = every / RETRY;
                }
            }
        }
    }
}

impl Lease {
    /// Takes a lease up: heartbeats begin.
    pub(crate) fn take_up(id: LeaseId, key: SecretBytes, client: Arc<BrokerClient>, every: Duration) -> Self {
        let line = Arc::new(Line { id, key, counter: AtomicU64::new(0), client });
        let (tell, lost) = watch::channel(None);
        let beating = Arc::clone(&line);
        let heartbeats = tokio::spawn(async move {
            let _ = tell.send(Some(beating.beat(every).await));
        });
        Self { line, heartbeats, lost }
    }

    /// Waits until the lease is lost, and says why. For ever, if it isn't.
    pub(crate) async fn lost(&mut self) -> String {
        let lost = self.lost.wait_for(Option::is_some).await.map(|reason| reason.clone().unwrap_or_default());
        match lost {
            Ok(reason) => reason,
            Err(_) => std::future::pending().await,
        }
    }

    /// Gives the lease back.
    ///
    /// # Errors
    /// The broker did not hear it; it will end the lease when no heartbeat comes.
    pub(crate) async fn end(self, well: bool) -> Result<(), BrokerError> {
        self.heartbeats.abort();
        self.line.say(if well { LeaseSignal::Succeeded } else { LeaseSignal::Failed }).await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.heartbeats.abort();
    }
}
