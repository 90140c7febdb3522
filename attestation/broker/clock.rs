//! The lease clock: seconds that pass, whatever somebody sets the wall clock to.
//!
//! Leases and job sessions are durations. Timed by the wall clock, a step would lose its lease when the clock is set
//! forward, and keep it for longer than it was granted when it is set back. So the broker reads the wall clock once for
//! them, and counts from there by `CLOCK_BOOTTIME`. What it added is kept in the database, so that a broker that is
//! started again counts on. After a reboot it begins anew, and moves what is still alive by as much as the wall clock had
//! been set in between.
//!
//! Tokens, certificates and the audit log are about the time of day, and keep the wall clock.

use crate::alarms::{Alarm, AlarmKind};
use crate::broker::Broker;
use crate::store::{LeaseClockRow, SetLeaseClock, Store, StoreError};
use attest_evidence::UnixSeconds;
use attest_evidence::time::Clock;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use std::sync::atomic::{AtomicI64, Ordering};

/// Seconds by which the wall clock may run apart before somebody has set it.
const SET: i64 = 2;

/// The lease clock.
#[derive(Debug)]
pub(crate) struct LeaseClock {
    boot: String,
    /// Milliseconds.
    added: i64,
    /// Seconds.
    skew: AtomicI64,
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
    /// Goes on where it was, if this is the same boot; else begins anew.
    pub(crate) async fn open(store: &Store, wall: &dyn Clock) -> Result<Self, StoreError> {
        let (boot, now) = (this_boot(), signed(wall.now()));
        let kept = store.lease_clock().await?;
        if let Some(kept) = kept.as_ref().filter(|kept| !boot.is_empty() && kept.boot == boot) {
            return Ok(Self { boot, added: kept.added, skew: AtomicI64::new(kept.skew) });
        }
        let moved = kept.map_or(0, |kept| kept.skew);
        // Time does not run backwards, even if the wall clock was set back while nobody looked.
        let heard = store.last_heard().await?.map_or(i64::MIN, |heard| heard.saturating_add(moved));
        let added = now.max(heard).saturating_mul(1000) - since_boot();
        let clock = LeaseClockRow { boot: boot.clone(), added, skew: 0 };
        store.commit(SetLeaseClock { clock, moved, alarm: None }).await?;
        Ok(Self { boot, added, skew: AtomicI64::new(0) })
    }

    pub(crate) fn now(&self) -> UnixSeconds {
        UnixSeconds(u64::try_from((since_boot() + self.added) / 1000).unwrap_or(0))
    }
}

fn signed(time: UnixSeconds) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

impl Broker {
    /// Notices that the wall clock has been set, says so, and remembers by how much.
    pub(crate) async fn watch_wall_clock(&self) {
        let skew = signed(self.wall()) - signed(self.now());
        let before = self.lease_clock.skew.load(Ordering::Relaxed);
        if (skew - before).abs() < SET {
            return;
        }
        let set_by = skew - before;
        let facts = json!({ "set_by_seconds": set_by, "ahead_of_leases_by_seconds": skew });
        let made = Alarm::raise(AlarmKind::ClockSet, "wall clock", self.wall(), facts);
        let clock = LeaseClockRow { boot: self.lease_clock.boot.clone(), added: self.lease_clock.added, skew };
        let set = match made {
            Ok(alarm) => SetLeaseClock { clock, moved: 0, alarm: Some(alarm) },
            Err(error) => return tracing::error!(%error, "an alarm can't be made"),
        };
        match self.store.commit(set).await {
            Ok(()) => self.lease_clock.skew.store(skew, Ordering::Relaxed),
            Err(error) => tracing::error!(%error, "the wall clock was set, and that can't be recorded"),
        }
    }
}
