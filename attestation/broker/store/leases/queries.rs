//! What is asked of leases.

use super::super::{Store, StoreError, seconds};
use super::lease_id;
use attest_appraisal::BootCounts;
use attest_evidence::name::LeaseId;
use attest_evidence::{Sha256Digest, UnixSeconds};
use serde::Serialize;
use serde_json::json;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

/// A lease as an admin sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedLease {
    /// Its id.
    pub id: String,
    /// The entry that records its grant.
    pub audit: String,
    /// `active`, or how it ended.
    pub state: String,
    /// What a quote at its end showed of the machine: `same`, `changed`, `rebooted`, `refused`, `not-allowed`
    /// or `not-shown`; none while it is held, and where it was taken.
    pub closing: Option<String>,
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
    /// What it holds.
    pub holds: Vec<String>,
    /// From when, in seconds since 1970.
    pub issued: i64,
    /// Until when at the latest.
    pub expires: i64,
}

/// A lease that was taken from its holder.
#[derive(Debug, Clone)]
pub struct TakenLease {
    /// Greater than those of all before.
    pub sequence: i64,
    /// Which.
    pub lease: LeaseId,
    /// Whose, by its row.
    pub runner_id: i64,
    /// How.
    pub how: String,
}

/// What is needed to authenticate messages about a lease.
#[derive(Debug, Clone)]
pub struct LeaseKey {
    /// Which lease.
    pub lease: LeaseId,
    /// By which its heartbeats are known.
    pub number: i64,
    /// Seconds between them.
    pub every: u32,
    /// Whose, by its row.
    pub runner_id: i64,
    /// Whose, by name.
    pub runner: String,
    /// The key, sealed.
    pub sealed_key: Vec<u8>,
    /// `active`, or how it ended.
    pub state: String,
}

impl Store {
    /// Leases, the newest last: those that are active, or all.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn leases(&self, active: bool) -> Result<Vec<ListedLease>, StoreError> {
        let rows = sqlx::query(
            "SELECT leases.id, leases.audit, state, runner, stage, step, component, job,
                    issued + coalesce((SELECT skew FROM lease_clock), 0),
                    leases.expires + coalesce((SELECT skew FROM lease_clock), 0),
                    (SELECT group_concat(kind || ' ' || resource, ',') FROM lease_handles WHERE lease = leases.id), closing
             FROM leases JOIN audit ON audit.id = leases.audit LEFT JOIN job_sessions ON job_sessions.id = session
             WHERE NOT ? OR state = 'active' ORDER BY audit.sequence",
        )
        .bind(active)
        .fetch_all(&self.readers)
        .await?;
        let listed = |row: &SqliteRow| ListedLease {
            id: row.get(0),
            audit: row.get(1),
            state: row.get(2),
            closing: row.get(11),
            runner: row.get(3),
            stage: row.get(4),
            step: row.get(5),
            component: row.get(6),
            job: row.get(7),
            issued: row.get(8),
            expires: row.get(9),
            holds: row
                .get::<Option<String>, _>(10)
                .map(|all| all.split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
        };
        Ok(rows.iter().map(listed).collect())
    }

    /// What the audit log says of a lease, known by its id or by that of its grant's entry; or of the entry with that id
    /// alone, where no lease came of it. In order.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn lease_entries(&self, id: &str) -> Result<Vec<serde_json::Value>, StoreError> {
        let rows = sqlx::query(
            "SELECT audit.id, at, kind, body FROM audit
             LEFT JOIN leases ON leases.id = ?1 OR leases.audit = ?1
             WHERE audit.id = ?1 OR audit.id = leases.audit OR json_extract(body, '$.lease') = leases.id
             ORDER BY sequence",
        )
        .bind(id)
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                let body: serde_json::Value =
                    serde_json::from_str(&row.get::<String, _>(3)).map_err(|_| StoreError::Row("audit body"))?;
                let (id, at, kind): (String, i64, String) = (row.get(0), row.get(1), row.get(2));
                Ok(json!({ "audit": id, "at": at, "kind": kind, "body": body }))
            })
            .collect()
    }

    /// Whether some active lease's time is up or its heartbeats stay away.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn any_lease_lost(&self, now: UnixSeconds) -> Result<bool, StoreError> {
        let row =
            sqlx::query("SELECT EXISTS (SELECT 1 FROM heartbeats WHERE expires <= ?1 OR last_seen + 2 * every < ?1)")
                .bind(seconds(now))
                .fetch_one(&self.readers)
                .await?;
        Ok(row.get(0))
    }

    /// What is needed to authenticate messages about leases, for those that there are.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn lease_keys(&self, leases: &[&LeaseId]) -> Result<Vec<LeaseKey>, StoreError> {
        let ids = serde_json::to_string(leases).map_err(|_| StoreError::Row("lease ids"))?;
        let rows = sqlx::query(
            "SELECT id, runner_id, runner, sealed_key, state, number, heartbeat FROM leases
             WHERE id IN (SELECT value FROM json_each(?))",
        )
        .bind(ids)
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(LeaseKey {
                    lease: lease_id(row.get(0))?,
                    runner_id: row.get(1),
                    runner: row.get(2),
                    sealed_key: row.get(3),
                    state: row.get(4),
                    number: row.get(5),
                    every: row.get(6),
                })
            })
            .collect()
    }

    /// What a machine had booted when a lease was granted to it: the row of the runner, SHA-256 over the PCRs, and when. None
    /// for leases of before this was kept.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn lease_opening(&self, lease: &LeaseId) -> Result<Option<(i64, Sha256Digest, BootCounts)>, StoreError> {
        let row = sqlx::query(
            "SELECT runner_id, boot_state, reset_count, restart_count FROM leases WHERE id = ? AND boot_state IS NOT NULL",
        )
        .bind(lease.as_str())
        .fetch_optional(&self.readers)
        .await?;
        row.map(|row| {
            let state = row.get::<Vec<u8>, _>(1).try_into().map_err(|_| StoreError::Row("boot state"))?;
            let boot = BootCounts { reset_count: row.get(2), restart_count: row.get(3) };
            Ok((row.get(0), Sha256Digest::from_bytes(state), boot))
        })
        .transpose()
    }

    /// Leases that were taken since.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn leases_taken(&self, since: i64) -> Result<Vec<TakenLease>, StoreError> {
        let rows = sqlx::query(
            "SELECT sequence, lease, runner_id, how FROM leases_taken WHERE sequence > ? ORDER BY sequence",
        )
        .bind(since)
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                let (sequence, runner_id, how) = (row.get(0), row.get(2), row.get(3));
                Ok(TakenLease { sequence, lease: lease_id(row.get(1))?, runner_id, how })
            })
            .collect()
    }

    /// Where the list of taken leases ends.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn last_taken(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT coalesce(max(sequence), 0) FROM leases_taken").fetch_one(&self.readers).await?;
        Ok(row.get(0))
    }

    /// How many leases are active.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn active_leases(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT count(*) FROM heartbeats").fetch_one(&self.readers).await?;
        Ok(row.get(0))
    }
}
