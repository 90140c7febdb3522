//! Leases. Their times are those of the lease clock ([`crate::clock`]), not the wall's.

use super::{Store, StoreError, Transaction, record, record_alarm, seconds};
use crate::alarms::{Alarm, AlarmKind};
use crate::audit::{Entry, Kind};
use attest_appraisal::BootCounts;
use attest_evidence::exchange::LeaseSignal;
use attest_evidence::name::{AuditId, JobSessionId, LeaseId, RunnerName, SecretName, Stage, StepName};
use attest_evidence::tpm::ClockInfo;
use attest_evidence::{Sha256Digest, UnixSeconds};
use serde::Serialize;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
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
        super::remember(connection, self.runner, self.clock).await?;
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
pub(super) async fn revoke_of_runner(
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
pub(super) async fn end_of_session(
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
