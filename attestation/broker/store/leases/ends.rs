//! How leases end: by their holders, by admins, with their jobs and runners, by the clock.

use super::super::{StoreError, Transaction, record, record_alarm, seconds};
use super::{LeaseUpdate, lease_id, signed};
use crate::alarms::{Alarm, AlarmKind};
use crate::audit::{Entry, Kind};
use attest_evidence::exchange::LeaseSignal;
use attest_evidence::name::{JobSessionId, LeaseId, RunnerName, SecretName};
use attest_evidence::tpm::ClockInfo;
use attest_evidence::{Sha256Digest, UnixSeconds};
use serde::Serialize;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

/// Ends a lease, by its holder's authenticated message.
#[derive(Debug)]
pub struct ReleaseLease {
    /// Which.
    pub lease: LeaseId,
    /// The message's counter.
    pub counter: u64,
    /// How it ended.
    pub signal: LeaseSignal,
    /// The lease clock.
    pub now: UnixSeconds,
    /// What its end showed of the machine, if it did.
    pub closing: Option<ShownAtEnd>,
    /// What the audit log says of it.
    pub audit: Entry,
}

/// What a quote at the end of a lease showed.
#[derive(Debug)]
pub struct ShownAtEnd {
    /// In a word.
    pub outcome: &'static str,
    /// Whose quote.
    pub runner: i64,
    /// Where its TPM is now.
    pub clock: ClockInfo,
    /// If somebody should look.
    pub alarm: Option<Alarm>,
    /// The secrets that came to light.
    pub exposed: Vec<Exposure>,
    /// What is said of them.
    pub exposures: Option<(Entry, Alarm)>,
}

/// A secret that came to light. It counts only if the lease held it.
#[derive(Debug)]
pub struct Exposure {
    /// Which, of the lease's stage.
    pub name: SecretName,
    /// Which version.
    pub version: u64,
    /// Where, and in which form.
    pub place: String,
}

impl Transaction for ReleaseLease {
    type Output = LeaseUpdate;

    async fn run(self, connection: &mut SqliteConnection) -> Result<LeaseUpdate, StoreError> {
        let update = release(connection, &self.lease, self.counter, self.signal, self.now, self.audit.at).await?;
        if update == LeaseUpdate::Done {
            record(connection, &self.audit).await?;
            sqlx::query("UPDATE leases SET closing = ? WHERE id = ?")
                .bind(self.closing.as_ref().map_or(crate::leases::NOT_SHOWN, |shown| shown.outcome))
                .bind(self.lease.as_str())
                .execute(&mut *connection)
                .await?;
            if let Some(shown) = self.closing {
                shown.keep(connection, &self.lease).await?;
            }
        }
        Ok(update)
    }
}

/// Keeps what the holder of a lease tells that somebody else has ended: once, and not long afterwards.
#[derive(Debug)]
pub struct CloseEndedLease {
    /// Which.
    pub lease: LeaseId,
    /// What its end showed of the machine.
    pub shown: ShownAtEnd,
    /// What the audit log says of it.
    pub audit: Entry,
    /// The lease clock.
    pub now: UnixSeconds,
}

/// How long after its end, in seconds.
const LATEST_CLOSE: i64 = 15 * 60;

impl Transaction for CloseEndedLease {
    /// [`LeaseUpdate::Ended`], if nothing more is heard of it.
    type Output = LeaseUpdate;

    async fn run(self, connection: &mut SqliteConnection) -> Result<LeaseUpdate, StoreError> {
        // Its time may have been up this very second.
        EndLostLeases { now: self.now, at: self.audit.at }.run(connection).await?;
        let closed = sqlx::query(
            "UPDATE leases SET closing = ?2 WHERE id = ?1 AND state <> 'active' AND ended >= ?3
             AND (closing IS NULL OR closing = ?4)",
        )
        .bind(self.lease.as_str())
        .bind(self.shown.outcome)
        .bind(seconds(self.audit.at).saturating_sub(LATEST_CLOSE))
        .bind(crate::leases::NOT_SHOWN)
        .execute(&mut *connection)
        .await?;
        if closed.rows_affected() == 0 {
            return Ok(LeaseUpdate::Ended);
        }
        record(connection, &self.audit).await?;
        self.shown.keep(connection, &self.lease).await?;
        Ok(LeaseUpdate::Done)
    }
}

impl ShownAtEnd {
    async fn keep(self, connection: &mut SqliteConnection, lease: &LeaseId) -> Result<(), StoreError> {
        super::super::remember(connection, self.runner, self.clock).await?;
        if let Some(alarm) = &self.alarm {
            record_alarm(connection, alarm).await?;
        }
        for exposure in &self.exposed {
            mark_exposed(connection, lease, exposure).await?;
        }
        if let Some((entry, alarm)) = &self.exposures {
            record(connection, entry).await?;
            record_alarm(connection, alarm).await?;
        }
        Ok(())
    }
}

async fn mark_exposed(
    connection: &mut SqliteConnection,
    lease: &LeaseId,
    exposure: &Exposure,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE secrets SET exposed = ?1 WHERE name = ?2 AND version = ?3 AND exposed IS NULL
         AND stage = (SELECT stage FROM leases WHERE id = ?1)
         AND EXISTS (SELECT 1 FROM lease_handles
                     WHERE lease = ?1 AND kind = 'secret' AND resource = secrets.stage || '/' || secrets.name)",
    )
    .bind(lease.as_str())
    .bind(exposure.name.as_str())
    .bind(signed(exposure.version))
    .execute(connection)
    .await?;
    Ok(())
}

async fn release(
    connection: &mut SqliteConnection,
    lease: &LeaseId,
    counter: u64,
    signal: LeaseSignal,
    now: UnixSeconds,
    at: UnixSeconds,
) -> Result<LeaseUpdate, StoreError> {
    let (counter, now) = (signed(counter), seconds(now));
    let row = sqlx::query(
        "SELECT leases.number, heartbeats.counter >= ?2, heartbeats.expires > ?3 AND last_seen + 2 * every >= ?3
         FROM leases JOIN heartbeats USING (number) WHERE id = ?1",
    )
    .bind(lease.as_str())
    .bind(counter)
    .bind(now)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(LeaseUpdate::Ended) };
    let (number, replayed, in_time): (i64, bool, bool) = (row.get(0), row.get(1), row.get(2));
    if replayed {
        return Ok(LeaseUpdate::Replayed);
    }
    if !in_time {
        return Ok(LeaseUpdate::Ended);
    }
    sqlx::query("DELETE FROM heartbeats WHERE number = ?").bind(number).execute(&mut *connection).await?;
    sqlx::query("UPDATE leases SET state = ?, ended = ? WHERE id = ?")
        .bind(signal.as_str())
        .bind(seconds(at))
        .bind(lease.as_str())
        .execute(&mut *connection)
        .await?;
    Ok(LeaseUpdate::Done)
}

/// Records the end of leases that somebody else has ended than their holders: for the audit log, and for those who watch.
/// `rows` begin with id, runner and number.
async fn record_ends(
    connection: &mut SqliteConnection,
    rows: Vec<SqliteRow>,
    how: &'static str,
    at: UnixSeconds,
) -> Result<Vec<LeaseId>, StoreError> {
    let mut ended = Vec::with_capacity(rows.len());
    for row in rows {
        let lease = lease_id(row.get(0))?;
        record(connection, &Entry::new(at, Kind::LeaseEnded, &json!({ "lease": lease, "how": how }))?).await?;
        sqlx::query("DELETE FROM heartbeats WHERE number = ?")
            .bind(row.get::<i64, _>(2))
            .execute(&mut *connection)
            .await?;
        sqlx::query("INSERT INTO leases_taken (lease, runner_id, how, at) VALUES (?, ?, ?, ?)")
            .bind(lease.as_str())
            .bind(row.get::<i64, _>(1))
            .bind(how)
            .bind(seconds(at))
            .execute(&mut *connection)
            .await?;
        ended.push(lease);
    }
    // Whoever watches asks within seconds; a day is for those who were away.
    sqlx::query("DELETE FROM leases_taken WHERE sequence IN (SELECT sequence FROM leases_taken WHERE at < ? LIMIT 64)")
        .bind(seconds(at).saturating_sub(24 * 60 * 60))
        .execute(&mut *connection)
        .await?;
    Ok(ended)
}

/// Ends the active leases of the runner in row `runner`, within the transaction that takes its approval away.
pub(in crate::store) async fn revoke_of_runner(
    connection: &mut SqliteConnection,
    runner: i64,
    at: UnixSeconds,
) -> Result<Vec<LeaseId>, StoreError> {
    let rows = sqlx::query(
        "UPDATE leases SET state = 'revoked', ended = ? WHERE runner_id = ? AND state = 'active' RETURNING id, runner_id, number",
    )
    .bind(seconds(at))
    .bind(runner)
    .fetch_all(&mut *connection)
    .await?;
    record_ends(connection, rows, "revoked", at).await
}

/// Ends the active leases of a job session, within the transaction that ends the session.
pub(in crate::store) async fn end_of_session(
    connection: &mut SqliteConnection,
    session: &JobSessionId,
    at: UnixSeconds,
) -> Result<Vec<LeaseId>, StoreError> {
    let rows = sqlx::query(
        "UPDATE leases SET state = 'job-ended', ended = ? WHERE session = ? AND state = 'active' RETURNING id, runner_id, number",
    )
    .bind(seconds(at))
    .bind(session.as_str())
    .fetch_all(&mut *connection)
    .await?;
    record_ends(connection, rows, "job-ended", at).await
}

/// Ends leases whose time is up or whose heartbeats stay away. The latter is an alarm.
#[derive(Debug)]
pub struct EndLostLeases {
    /// The lease clock.
    pub now: UnixSeconds,
    /// The wall clock.
    pub at: UnixSeconds,
}

impl Transaction for EndLostLeases {
    type Output = Vec<LeaseId>;

    async fn run(self, connection: &mut SqliteConnection) -> Result<Vec<LeaseId>, StoreError> {
        let now = seconds(self.now);
        let rows = sqlx::query(
            "UPDATE leases SET state = 'lost', ended = ?2
             WHERE number IN (SELECT number FROM heartbeats WHERE expires <= ?1 OR last_seen + 2 * every < ?1)
             RETURNING id, runner_id, number, runner, expires > ?1",
        )
        .bind(now)
        .bind(seconds(self.at))
        .fetch_all(&mut *connection)
        .await?;
        for row in rows.iter().filter(|row| row.get::<bool, _>(4)) {
            let facts = json!({ "lease": lease_id(row.get(0))?, "runner": row.get::<String, _>(3) });
            let (entry, alarm) = Alarm::raise(AlarmKind::MissedHeartbeats, row.get::<String, _>(0), self.at, facts)?;
            record(connection, &entry).await?;
            record_alarm(connection, &alarm).await?;
        }
        record_ends(connection, rows, "lost", self.at).await
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
    /// That hold this secret, `STAGE/NAME`.
    pub secret: Option<String>,
    /// That hold this key, `STAGE/NAME`.
    pub key: Option<String>,
    /// That hold a token for this audience, `STAGE/NAME`.
    pub token: Option<String>,
}

/// Ends the active leases that a filter names.
#[derive(Debug)]
pub struct RevokeLeases {
    /// Which.
    pub filter: LeaseFilter,
    /// The wall clock.
    pub at: UnixSeconds,
    /// What the audit log says of the act.
    pub audit: Entry,
}

impl Transaction for RevokeLeases {
    type Output = Vec<LeaseId>;

    async fn run(self, connection: &mut SqliteConnection) -> Result<Vec<LeaseId>, StoreError> {
        let LeaseFilter { lease, runner, job, component, secret, key, token } = &self.filter;
        let rows = sqlx::query(
            "UPDATE leases SET state = 'revoked', ended = ?1
             WHERE state = 'active' AND (?2 IS NULL OR id = ?2) AND (?3 IS NULL OR runner = ?3)
               AND (?4 IS NULL OR session IN (SELECT id FROM job_sessions WHERE job = ?4))
               AND (?5 IS NULL OR component = ?5)
               AND (?6 IS NULL OR id IN (SELECT lease FROM lease_handles WHERE kind = 'secret' AND resource = ?6))
               AND (?7 IS NULL OR id IN (SELECT lease FROM lease_handles WHERE kind = 'key' AND resource = ?7))
               AND (?8 IS NULL OR id IN (SELECT lease FROM lease_handles WHERE kind = 'token' AND resource = ?8))
             RETURNING id, runner_id, number",
        )
        .bind(seconds(self.at))
        .bind(lease.as_ref().map(LeaseId::as_str))
        .bind(runner.as_ref().map(RunnerName::as_str))
        .bind(job)
        .bind(component.map(|component| component.to_string()))
        .bind(secret)
        .bind(key)
        .bind(token)
        .fetch_all(&mut *connection)
        .await?;
        record(connection, &self.audit).await?;
        record_ends(connection, rows, "revoked", self.at).await
    }
}
