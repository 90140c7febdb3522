//! How the lease clock runs: see [`crate::clock`].

use super::{Store, StoreError, Transaction, record, record_alarm, seconds};
use crate::alarms::Alarm;
use crate::audit::Entry;
use attest_evidence::UnixSeconds;
use sqlx::{Row as _, SqliteConnection};

/// How the lease clock runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseClockRow {
    /// Which boot of the machine.
    pub boot: String,
    /// Milliseconds to add to those since then.
    pub added: i64,
    /// Seconds by which the wall clock is ahead of it.
    pub skew: i64,
    /// The latest that it has shown, to ten seconds.
    pub seen: UnixSeconds,
}

/// Sets the lease clock.
#[derive(Debug)]
pub struct SetLeaseClock {
    /// How it runs from now on.
    pub clock: LeaseClockRow,
    /// What there is to say of it.
    pub alarm: Option<(Entry, Alarm)>,
}

impl Transaction for SetLeaseClock {
    type Output = ();

    async fn run(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let LeaseClockRow { boot, added, skew, seen } = &self.clock;
        sqlx::query(
            "INSERT INTO lease_clock (only_row, boot, added, skew, seen) VALUES (1, ?1, ?2, ?3, ?4)
             ON CONFLICT (only_row) DO UPDATE SET boot = ?1, added = ?2, skew = ?3, seen = ?4",
        )
        .bind(boot)
        .bind(added)
        .bind(skew)
        .bind(seconds(*seen))
        .execute(&mut *connection)
        .await?;
        if let Some((entry, alarm)) = &self.alarm {
            record(connection, entry).await?;
            record_alarm(connection, alarm).await?;
        }
        Ok(())
    }
}

impl Store {
    /// How the lease clock runs, if it has ever run.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn lease_clock(&self) -> Result<Option<LeaseClockRow>, StoreError> {
        // Leases that are held have been heard of by this clock, too.
        let row = sqlx::query(
            "SELECT boot, added, skew, max(seen, (SELECT coalesce(max(last_seen), 0) FROM heartbeats)) FROM lease_clock",
        )
        .fetch_optional(&self.readers)
        .await?;
        let unsigned = |seen: i64| u64::try_from(seen).map(UnixSeconds).map_err(|_| StoreError::Row("lease clock"));
        row.map(|row| {
            let seen = unsigned(row.get(3))?;
            Ok(LeaseClockRow { boot: row.get(0), added: row.get(1), skew: row.get(2), seen })
        })
        .transpose()
    }
}
