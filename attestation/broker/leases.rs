//! Leases: heartbeats, releases, and the end of those that nobody speaks for any more.

use crate::audit::{Entry, Kind};
use crate::broker::Broker;
use crate::keys::Purpose;
use crate::refusals::Recorded;
use crate::server::Refusal;
use crate::store::{EndLostLeases, LeaseUpdate, Record, StoreError, UpdateLease};
use attest_evidence::UnixSeconds;
use attest_evidence::exchange::{LeaseSignal, SealedLeaseMessage};
use attest_evidence::name::LeaseId;
use attest_evidence::report::{Fault, Report};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

impl Broker {
    /// Takes a message about a lease.
    ///
    /// # Errors
    /// The lease is unknown or has ended, the message is not authentic or a replay.
    pub(crate) async fn lease_message(&self, bytes: &[u8]) -> Result<(), Refusal> {
        let message = SealedLeaseMessage::parse(bytes)
            .map_err(|error| Refusal::of(&Report::new("AR-X401", Fault::Identity, error.to_string())))?;
        let claimed = message.claimed.clone();
        let Some(row) = self.store.lease(&claimed.lease).await? else {
            return Err(Refusal::of(&ended(&claimed.lease)));
        };
        let key = self
            .keys
            .root()
            .open(Purpose::LeaseKeys, &row.sealed_key, claimed.lease.as_str().as_bytes())
            .map_err(|error| Refusal::internal(&error.to_string()))?;
        if !key.expose(|key| message.authenticates(key)) {
            let report = Report::new("AR-X402", Fault::Identity, "the message about this lease is not from its holder")
                .fact("lease", &claimed.lease);
            let now = self.now();
            let Recorded::Yes { unrecorded_before } = self.refusals.count(Some(claimed.lease.as_str()), now) else {
                return Err(Refusal::of(&report));
            };
            tracing::warn!(lease = %claimed.lease, runner = %row.runner, unrecorded_before, "forged lease message");
            let body = json!({ "lease": claimed.lease, "report": report, "unrecorded_before": unrecorded_before });
            let entry = Entry::new(now, Kind::LeaseRefused, &body)?;
            let audit = entry.id.clone();
            self.store.commit(Record(entry)).await?;
            return Err(Refusal::recorded(&report, audit));
        }
        let now = self.now();
        let audit = match claimed.signal {
            LeaseSignal::Heartbeat => None,
            signal => Some(Entry::new(now, Kind::LeaseEnded, &json!({ "lease": claimed.lease, "how": signal }))?),
        };
        let update =
            UpdateLease { lease: claimed.lease.clone(), counter: claimed.counter, signal: claimed.signal, now, audit };
        match self.store.commit(update).await? {
            LeaseUpdate::Done => Ok(()),
            LeaseUpdate::Ended => Err(Refusal::of(&ended(&claimed.lease))),
            LeaseUpdate::Replayed => Err(Refusal::of(
                &Report::new("AR-X404", Fault::Identity, "the message about this lease is a replay")
                    .fact("lease", &claimed.lease)
                    .fact("counter", claimed.counter),
            )),
        }
    }

    /// Ends lost leases every second, for as long as the broker lives.
    pub(crate) async fn watch_leases(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            match self.store.any_lease_lost(self.now()).await {
                Ok(false) => continue,
                Ok(true) => {}
                Err(error) => {
                    tracing::error!(%error, "leases can't be looked at");
                    continue;
                }
            }
            match self.store.commit(EndLostLeases { now: self.now(), entry: lost }).await {
                Ok(lost) => {
                    for lease in lost {
                        tracing::warn!(%lease, "lease lost: its time is up or its heartbeats stayed away");
                    }
                }
                Err(error) => tracing::error!(%error, "lost leases can't be ended"),
            }
        }
    }
}

fn lost(lease: &LeaseId, now: UnixSeconds) -> Result<Entry, StoreError> {
    Entry::new(now, Kind::LeaseEnded, &json!({ "lease": lease, "how": "lost" }))
}

fn ended(lease: &LeaseId) -> Report {
    Report::new("AR-X403", Fault::Refused, "the lease has ended, or never was")
        .fact("lease", lease)
        .hint("whatever it held is not held any more: run the step again")
}
