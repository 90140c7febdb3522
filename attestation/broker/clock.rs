//! The lease clock: seconds that pass, whatever somebody sets the wall clock to.
//!
//! Leases and job sessions are durations. Timed by the wall clock, a step would lose its lease when the clock is set
//! forward, and keep it for longer than it was granted when it is set back. So the broker reads the wall clock once for
//! them, and counts from there by `CLOCK_BOOTTIME`. What it added is kept in the database, so that a broker that is
//! started again counts on; and so is by how much the wall clock has been set since, so that it counts on after a reboot.
//! It never starts before what it has shown: what had expired is not alive again.
//!
//! Tokens, certificates and the audit log are about the time of day, and keep the wall clock.

use crate::alarms::{Alarm, AlarmKind};
use crate::broker::Broker;
use crate::store::{LeaseClockRow, SetLeaseClock, Store, StoreError};
use attest_evidence::UnixSeconds;
use attest_evidence::time::Clock;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Seconds by which the wall clock may run apart before somebody has set it.
const SET: i64 = 2;
/// Seconds between two times that it is kept how late it is.
const KEPT_EVERY: u64 = 10;

/// The lease clock.
#[derive(Debug)]
pub(crate) struct LeaseClock {
    boot: String,
    /// Milliseconds.
    added: i64,
    /// Seconds.
    skew: AtomicI64,
    /// Seconds.
    seen: AtomicU64,
}

/// Milliseconds.
fn since_boot() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.saturating_mul(1000).saturating_add(now.tv_nsec / 1_000_000)
}

/// Empty, where nobody says: then every start of the broker counts as one of the machine.
fn this_boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

impl LeaseClock {
    /// Goes on where it was.
    pub(crate) async fn open(store: &Store, wall: &dyn Clock) -> Result<Self, StoreError> {
        let (boot, now) = (this_boot(), signed(wall.now()));
        let kept = store.lease_clock().await?;
        if let Some(kept) = kept.as_ref().filter(|kept| !boot.is_empty() && kept.boot == boot) {
            return Ok(Self::of(kept));
        }
        let (skew, seen) = kept.map_or((0, UnixSeconds(0)), |kept| (kept.skew, kept.seen));
        // While the machine was off the wall clock alone went on.
        let begins = now.saturating_sub(skew).max(signed(seen));
        let clock = LeaseClockRow { boot, added: begins.saturating_mul(1000) - since_boot(), skew, seen };
        store.commit(SetLeaseClock { clock: clock.clone(), alarm: None }).await?;
        Ok(Self::of(&clock))
    }

    fn of(row: &LeaseClockRow) -> Self {
        let LeaseClockRow { boot, added, skew, seen } = row;
        Self { boot: boot.clone(), added: *added, skew: (*skew).into(), seen: seen.0.into() }
    }

    fn row(&self, skew: i64, seen: UnixSeconds) -> LeaseClockRow {
        LeaseClockRow { boot: self.boot.clone(), added: self.added, skew, seen }
    }

    pub(crate) fn now(&self) -> UnixSeconds {
        UnixSeconds(u64::try_from((since_boot() + self.added) / 1000).unwrap_or(0))
    }
}

fn signed(time: UnixSeconds) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

impl Broker {
    /// Remembers how late it is. Notices that the wall clock has been set, says so, and remembers by how much.
    pub(crate) async fn watch_wall_clock(&self) {
        let clock = &self.lease_clock;
        let now = self.now();
        let (skew, before) = (signed(self.wall()) - signed(now), clock.skew.load(Ordering::Relaxed));
        let was_set = (skew - before).abs() >= SET;
        if !was_set && now.0 < clock.seen.load(Ordering::Relaxed) + KEPT_EVERY {
            return;
        }
        let skew = if was_set { skew } else { before };
        let alarm = was_set.then(|| {
            let facts = json!({ "set_by_seconds": skew - before, "ahead_of_leases_by_seconds": skew });
            Alarm::raise(AlarmKind::ClockSet, "wall clock", self.wall(), facts)
        });
        let set = match alarm.transpose() {
            Ok(alarm) => SetLeaseClock { clock: clock.row(skew, now), alarm },
            Err(error) => return tracing::error!(%error, "an alarm can't be made"),
        };
        match self.store.commit(set).await {
            Ok(()) => {
                clock.skew.store(skew, Ordering::Relaxed);
                clock.seen.store(now.0, Ordering::Relaxed);
            }
            Err(error) => tracing::error!(%error, "the lease clock can't be kept"),
        }
    }
}
