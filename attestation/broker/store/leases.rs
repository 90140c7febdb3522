//! Leases. Their times are those of the lease clock ([`crate::clock`]), not the wall's.

mod ends;
mod queries;

pub use ends::{CloseEndedLease, EndLostLeases, Exposure, LeaseFilter, ReleaseLease, RevokeLeases, ShownAtEnd};
pub(super) use ends::{end_of_session, revoke_of_runner};
pub use queries::{LeaseKey, ListedLease, TakenLease};

use super::{StoreError, Transaction, seconds};
use attest_appraisal::BootCounts;
use attest_evidence::name::{AuditId, JobSessionId, LeaseId, RunnerName, Stage, StepName};
use attest_evidence::{Sha256Digest, UnixSeconds};
use sqlx::{Row as _, SqliteConnection};

/// A lease.
#[derive(Debug, Clone)]
pub struct LeaseRow {
    /// Its id.
    pub id: LeaseId,
    /// The entry that records its grant.
    pub audit: AuditId,
    /// Whose.
    pub runner: RunnerName,
    /// Of which stage.
    pub stage: Stage,
    /// What its manifest calls the step.
    pub step: StepName,
    /// Which component.
    pub component: Sha256Digest,
    /// From when.
    pub issued: UnixSeconds,
    /// Until when at the latest.
    pub expires: UnixSeconds,
    /// Seconds between heartbeats.
    pub heartbeat: u32,
    /// The key that authenticates messages about it, sealed.
    pub sealed_key: Vec<u8>,
    /// What the machine had booted: SHA-256 over its PCRs.
    pub boot_state: Sha256Digest,
    /// And when.
    pub boot: BootCounts,
    /// What it holds: `secret` or `key`, and `STAGE/NAME`.
    pub handles: Vec<(&'static str, String)>,
}

/// Inserts a lease of the runner in row `runner` within the transaction of its grant: the `ordinal`th of its component in
/// its job.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    lease: &LeaseRow,
    runner: i64,
    session: Option<&JobSessionId>,
    ordinal: u32,
) -> Result<(), StoreError> {
    let row = sqlx::query(
        "INSERT INTO leases (number, id, audit, runner_id, runner, stage, step, component, issued, expires, heartbeat,
                             sealed_key, session, ordinal, boot_state, reset_count, restart_count, state)
         VALUES ((SELECT coalesce(max(number), 0) + 1 FROM leases), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'active')
         RETURNING number",
    )
    .bind(lease.id.as_str())
    .bind(lease.audit.as_str())
    .bind(runner)
    .bind(lease.runner.as_str())
    .bind(lease.stage.as_str())
    .bind(lease.step.as_str())
    .bind(lease.component.to_string())
    .bind(seconds(lease.issued))
    .bind(seconds(lease.expires))
    .bind(i64::from(lease.heartbeat))
    .bind(&lease.sealed_key)
    .bind(session.map(JobSessionId::as_str))
    .bind(ordinal)
    .bind(lease.boot_state.as_bytes().as_slice())
    .bind(lease.boot.reset_count)
    .bind(lease.boot.restart_count)
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query("INSERT INTO heartbeats (number, every, expires, last_seen, counter) VALUES (?, ?, ?, ?, 0)")
        .bind(row.get::<i64, _>(0))
        .bind(i64::from(lease.heartbeat))
        .bind(seconds(lease.expires))
        .bind(seconds(lease.issued))
        .execute(&mut *connection)
        .await?;
    for (kind, resource) in &lease.handles {
        sqlx::query("INSERT INTO lease_handles (lease, kind, resource) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
            .bind(lease.id.as_str())
            .bind(kind)
            .bind(resource)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// The leases that a component has had in a job, ended or not: the first, and how many.
pub(crate) async fn of(
    connection: &mut SqliteConnection,
    session: &JobSessionId,
    component: &Sha256Digest,
) -> Result<Option<(LeaseId, u32)>, StoreError> {
    let rows = sqlx::query("SELECT id FROM leases WHERE session = ? AND component = ? ORDER BY ordinal")
        .bind(session.as_str())
        .bind(component.to_string())
        .fetch_all(connection)
        .await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    Ok(Some((lease_id(first.get(0))?, count)))
}

fn lease_id(text: String) -> Result<LeaseId, StoreError> {
    text.parse().map_err(|_| StoreError::Row("lease id"))
}

/// Takes authenticated heartbeats, of any number of agents.
#[derive(Debug)]
pub struct Heartbeats {
    /// Numbers of leases with the counters of their messages, each lease once.
    pub beats: Vec<(i64, u64)>,
    /// The lease clock.
    pub now: UnixSeconds,
}

/// What became of a message about a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseUpdate {
    /// Done.
    Done,
    /// The lease had ended before.
    Ended,
    /// The counter is not above the last one: a replay.
    Replayed,
}

impl Transaction for Heartbeats {
    /// Those that were not taken, with the reason.
    type Output = Vec<(i64, LeaseUpdate)>;

    async fn run(self, connection: &mut SqliteConnection) -> Result<Vec<(i64, LeaseUpdate)>, StoreError> {
        let beats: Vec<_> = self.beats.iter().map(|(number, counter)| (number, signed(*counter))).collect();
        let beats = serde_json::to_string(&beats).map_err(|_| StoreError::Row("heartbeats"))?;
        // Two statements for all of them: what a heartbeat costs is mostly the way to the database and back.
        let refused = sqlx::query(
            "SELECT beat.number, coalesce(heartbeats.counter >= beat.counter, FALSE)
             FROM (SELECT value ->> 0 AS number, value ->> 1 AS counter FROM json_each(?1)) AS beat
             LEFT JOIN heartbeats ON heartbeats.number = beat.number
             WHERE heartbeats.number IS NULL OR expires <= ?2 OR last_seen + 2 * every < ?2
                OR heartbeats.counter >= beat.counter",
        )
        .bind(&beats)
        .bind(seconds(self.now))
        .fetch_all(&mut *connection)
        .await?;
        sqlx::query(
            "UPDATE heartbeats SET counter = beat.counter, last_seen = ?2
             FROM (SELECT value ->> 0 AS number, value ->> 1 AS counter FROM json_each(?1)) AS beat
             WHERE heartbeats.number = beat.number AND expires > ?2 AND last_seen + 2 * every >= ?2
               AND heartbeats.counter < beat.counter",
        )
        .bind(&beats)
        .bind(seconds(self.now))
        .execute(&mut *connection)
        .await?;
        let reason = |replayed: bool| if replayed { LeaseUpdate::Replayed } else { LeaseUpdate::Ended };
        Ok(refused.iter().map(|row| (row.get(0), reason(row.get(1)))).collect())
    }
}

/// SQLite's integers are signed. No lease lives for so many messages.
fn signed(counter: u64) -> i64 {
    i64::try_from(counter).unwrap_or(i64::MAX)
}
