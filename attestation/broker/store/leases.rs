//! Leases.

use super::{Store, StoreError, Transaction, record, seconds, unix};
use crate::audit::Entry;
use attest_evidence::exchange::LeaseSignal;
use attest_evidence::name::{AuditId, JobSessionId, LeaseId, RunnerName, Stage, StepName};
use attest_evidence::{Sha256Digest, UnixSeconds};
use serde::Serialize;
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
}

/// Inserts a lease of the runner in row `runner` within the transaction of its grant.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    lease: &LeaseRow,
    runner: i64,
    session: Option<&JobSessionId>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO leases (id, audit, runner_id, runner, stage, step, component, issued, expires, heartbeat,
                             last_seen, counter, sealed_key, session, state)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, 'active')",
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
    .bind(seconds(lease.issued))
    .bind(&lease.sealed_key)
    .bind(session.map(JobSessionId::as_str))
    .execute(connection)
    .await?;
    Ok(())
}

/// The lease that a component has had in a job, ended or not.
pub(crate) async fn of(
    connection: &mut SqliteConnection,
    session: &JobSessionId,
    component: &Sha256Digest,
) -> Result<Option<LeaseId>, StoreError> {
    let row = sqlx::query("SELECT id FROM leases WHERE session = ? AND component = ?")
        .bind(session.as_str())
        .bind(component.to_string())
        .fetch_optional(connection)
        .await?;
    row.map(|row| row.get::<String, _>(0).parse().map_err(|_| StoreError::Row("lease id"))).transpose()
}

/// Applies an authenticated message about a lease.
#[derive(Debug)]
pub struct UpdateLease {
    /// Which.
    pub lease: LeaseId,
    /// The message's counter.
    pub counter: u64,
    /// What it says.
    pub signal: LeaseSignal,
    /// The broker's clock.
    pub now: UnixSeconds,
    /// What the audit log says of it, if it ends the lease.
    pub audit: Option<Entry>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseUpdate {
    /// Done.
    Done,
    /// The lease had ended before.
    Ended,
    /// The counter is not above the last one: a replay.
    Replayed,
}

impl Transaction for UpdateLease {
    type Output = LeaseUpdate;

    async fn run(self, connection: &mut SqliteConnection) -> Result<LeaseUpdate, StoreError> {
        let counter = i64::try_from(self.counter).unwrap_or(i64::MAX);
        let now = seconds(self.now);
        let ends = self.signal != LeaseSignal::Heartbeat;
        let state = if ends { self.signal.as_str() } else { "active" };
        let changed = sqlx::query(
            "UPDATE leases SET counter = ?1, last_seen = ?2, state = ?3, ended = CASE WHEN ?4 THEN ?2 END
             WHERE id = ?5 AND state = 'active' AND expires > ?2 AND last_seen + 2 * heartbeat >= ?2 AND counter < ?1
               AND (SELECT runners.state FROM runners WHERE runners.id = runner_id) = 'approved'",
        )
        .bind(counter)
        .bind(now)
        .bind(state)
        .bind(ends)
        .bind(self.lease.as_str())
        .execute(&mut *connection)
        .await?;
        if changed.rows_affected() == 1 {
            if let Some(entry) = &self.audit {
                record(connection, entry).await?;
            }
            return Ok(LeaseUpdate::Done);
        }
        let row = sqlx::query("SELECT state, counter FROM leases WHERE id = ?")
            .bind(self.lease.as_str())
            .fetch_optional(&mut *connection)
            .await?;
        Ok(match row {
            Some(row) if row.get::<String, _>(0) == "active" && row.get::<i64, _>(1) >= counter => {
                LeaseUpdate::Replayed
            }
            _ => LeaseUpdate::Ended,
        })
    }
}

/// Makes the entry that records a lease's end.
pub type EndEntry = fn(&LeaseId, UnixSeconds) -> Result<Entry, StoreError>;

/// Ends the active leases of the runner in row `runner`, within the transaction that takes its approval away.
pub(super) async fn revoke_of_runner(
    connection: &mut SqliteConnection,
    runner: i64,
    now: UnixSeconds,
    entry: EndEntry,
) -> Result<Vec<LeaseId>, StoreError> {
    let rows = sqlx::query(
        "UPDATE leases SET state = 'revoked', ended = ? WHERE runner_id = ? AND state = 'active' RETURNING id",
    )
    .bind(seconds(now))
    .bind(runner)
    .fetch_all(&mut *connection)
    .await?;
    record_ends(connection, rows, now, entry).await
}

async fn record_ends(
    connection: &mut SqliteConnection,
    rows: Vec<sqlx::sqlite::SqliteRow>,
    now: UnixSeconds,
    entry: EndEntry,
) -> Result<Vec<LeaseId>, StoreError> {
    let mut ended = Vec::with_capacity(rows.len());
    for row in rows {
        let lease: LeaseId = row.get::<String, _>(0).parse().map_err(|_| StoreError::Row("lease id"))?;
        record(connection, &entry(&lease, now)?).await?;
        ended.push(lease);
    }
    Ok(ended)
}

/// Ends leases whose time is up or whose heartbeats stay away.
#[derive(Debug)]
pub struct EndLostLeases {
    /// The broker's clock.
    pub now: UnixSeconds,
    /// What the audit log says, made for each lease.
    pub entry: EndEntry,
}

impl Transaction for EndLostLeases {
    type Output = Vec<LeaseId>;

    async fn run(self, connection: &mut SqliteConnection) -> Result<Vec<LeaseId>, StoreError> {
        let now = seconds(self.now);
        let rows = sqlx::query(
            "UPDATE leases SET state = 'lost', ended = ?1
             WHERE state = 'active' AND (expires <= ?1 OR last_seen + 2 * heartbeat < ?1) RETURNING id",
        )
        .bind(now)
        .fetch_all(&mut *connection)
        .await?;
        record_ends(connection, rows, self.now, self.entry).await
    }
}

/// Which leases: those that fit everything that is named.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LeaseFilter {
    /// This one.
    pub lease: Option<LeaseId>,
    /// Of this runner.
    pub runner: Option<RunnerName>,
    /// Of this CI job, by its issuer's ids.
    pub job: Option<String>,
    /// Of this component.
    pub component: Option<Sha256Digest>,
}

/// Ends the active leases that a filter names.
#[derive(Debug)]
pub struct RevokeLeases {
    /// Which.
    pub filter: LeaseFilter,
    /// The broker's clock.
    pub now: UnixSeconds,
    /// What the audit log says of the act.
    pub audit: Entry,
    /// What it says of each lease.
    pub entry: EndEntry,
}

impl Transaction for RevokeLeases {
    type Output = Vec<LeaseId>;

    async fn run(self, connection: &mut SqliteConnection) -> Result<Vec<LeaseId>, StoreError> {
        let LeaseFilter { lease, runner, job, component } = &self.filter;
        let rows = sqlx::query(
            "UPDATE leases SET state = 'revoked', ended = ?1
             WHERE state = 'active' AND (?2 IS NULL OR id = ?2) AND (?3 IS NULL OR runner = ?3)
               AND (?4 IS NULL OR session IN (SELECT id FROM job_sessions WHERE job = ?4))
               AND (?5 IS NULL OR component = ?5)
             RETURNING id",
        )
        .bind(seconds(self.now))
        .bind(lease.as_ref().map(LeaseId::as_str))
        .bind(runner.as_ref().map(RunnerName::as_str))
        .bind(job)
        .bind(component.map(|component| component.to_string()))
        .fetch_all(&mut *connection)
        .await?;
        record(connection, &self.audit).await?;
        record_ends(connection, rows, self.now, self.entry).await
    }
}

/// A lease as an admin sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedLease {
    /// Its id.
    pub id: String,
    /// The entry that records its grant.
    pub audit: String,
    /// `active`, or how it ended.
    pub state: String,
    /// Whose.
    pub runner: String,
    /// Of which stage.
    pub stage: String,
    /// What its manifest calls the step.
    pub step: String,
    /// Which component.
    pub component: String,
    /// Of which CI job, by its issuer's ids.
    pub job: Option<String>,
    /// From when, in seconds since 1970.
    pub issued: i64,
    /// Until when at the latest.
    pub expires: i64,
}

impl Store {
    /// Leases, the newest last: those that are active, or all.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn leases(&self, active: bool) -> Result<Vec<ListedLease>, StoreError> {
        let rows = sqlx::query(
            "SELECT leases.id, leases.audit, state, runner, stage, step, component, job, issued, leases.expires
             FROM leases JOIN audit ON audit.id = leases.audit LEFT JOIN job_sessions ON job_sessions.id = session
             WHERE NOT ? OR state = 'active' ORDER BY audit.sequence",
        )
        .bind(active)
        .fetch_all(&self.readers)
        .await?;
        let listed = |row: &sqlx::sqlite::SqliteRow| ListedLease {
            id: row.get(0),
            audit: row.get(1),
            state: row.get(2),
            runner: row.get(3),
            stage: row.get(4),
            step: row.get(5),
            component: row.get(6),
            job: row.get(7),
            issued: row.get(8),
            expires: row.get(9),
        };
        Ok(rows.iter().map(listed).collect())
    }

    /// What the audit log says of a lease, known by its id or by that of its grant's entry; in order.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn lease_entries(&self, id: &str) -> Result<Vec<serde_json::Value>, StoreError> {
        let rows = sqlx::query(
            "SELECT audit.id, at, kind, body FROM audit
             JOIN leases ON leases.id = ?1 OR leases.audit = ?1
             WHERE audit.id = leases.audit OR json_extract(body, '$.lease') = leases.id ORDER BY sequence",
        )
        .bind(id)
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                let body: serde_json::Value =
                    serde_json::from_str(&row.get::<String, _>(3)).map_err(|_| StoreError::Row("audit body"))?;
                let (id, at, kind): (String, i64, String) = (row.get(0), row.get(1), row.get(2));
                Ok(serde_json::json!({ "audit": id, "at": at, "kind": kind, "body": body }))
            })
            .collect()
    }

    /// Whether some active lease's time is up or its heartbeats stay away.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn any_lease_lost(&self, now: UnixSeconds) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "SELECT EXISTS (SELECT 1 FROM leases
             WHERE state = 'active' AND (expires <= ?1 OR last_seen + 2 * heartbeat < ?1))",
        )
        .bind(seconds(now))
        .fetch_one(&self.readers)
        .await?;
        Ok(row.get(0))
    }

    /// A lease, ended or not.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn lease(&self, id: &LeaseId) -> Result<Option<LeaseRow>, StoreError> {
        let row = sqlx::query(
            "SELECT audit, runner, stage, step, component, issued, expires, heartbeat, sealed_key FROM leases WHERE id = ?",
        )
        .bind(id.as_str())
        .fetch_optional(&self.readers)
        .await?;
        row.map(|row| {
            let text = |column: usize| row.get::<String, _>(column);
            Ok(LeaseRow {
                id: id.clone(),
                audit: text(0).parse().map_err(|_| StoreError::Row("audit id"))?,
                runner: text(1).parse().map_err(|_| StoreError::Row("runner name"))?,
                stage: text(2).parse().map_err(|_| StoreError::Row("stage"))?,
                step: text(3).parse().map_err(|_| StoreError::Row("step name"))?,
                component: text(4).parse().map_err(|_| StoreError::Row("component digest"))?,
                issued: unix(row.get(5)),
                expires: unix(row.get(6)),
                heartbeat: u32::try_from(row.get::<i64, _>(7)).map_err(|_| StoreError::Row("heartbeat"))?,
                sealed_key: row.get(8),
            })
        })
        .transpose()
    }
}
