//! Leases: kept alive by heartbeats, ended by a release.

use crate::broker::{BrokerClient, BrokerError};
use attest_evidence::SecretBytes;
use attest_evidence::exchange::{LeaseMessage, LeaseSignal};
use attest_evidence::name::LeaseId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Missed heartbeats after which the broker has ended the lease, so that the step must end too.
const MOST_MISSED: u32 = 2;

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
}

impl Lease {
    /// Takes a lease up: heartbeats begin.
    pub(crate) fn take_up(id: LeaseId, key: SecretBytes, client: Arc<BrokerClient>, every: Duration) -> Self {
        let line = Arc::new(Line { id, key, counter: AtomicU64::new(0), client });
        let (tell, lost) = watch::channel(None);
        let beating = Arc::clone(&line);
        let heartbeats = tokio::spawn(async move {
            let mut missed = 0;
            loop {
                tokio::time::sleep(every).await;
                match beating.say(LeaseSignal::Heartbeat).await {
                    Ok(()) => missed = 0,
                    Err(BrokerError::Refused(report, _)) => {
                        let _ = tell.send(Some(report.what.clone()));
                        return;
                    }
                    Err(error) => {
                        missed += 1;
                        tracing::warn!(lease = %beating.id, %error, missed, "a heartbeat was missed");
                        if missed >= MOST_MISSED {
                            let _ = tell.send(Some(format!("{missed} heartbeats were missed: {error}")));
                            return;
                        }
                    }
                }
            }
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
