//! Issuers of CI tokens, and job sessions.

use super::leases::end_of_session;
use super::{Store, StoreError, Transaction, record, seconds, unix};
use crate::audit::Entry;
use attest_appraisal::ci::{Algorithm, IssuerKind, JobClaims, VerifiedToken};
use attest_evidence::name::{JobSessionId, LeaseId};
use attest_evidence::tpm::ClockInfo;
use attest_evidence::{Sha256Digest, UnixSeconds};
use sqlx::{Row as _, SqliteConnection};

/// An issuer on the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerRow {
    /// What its tokens say in `iss`.
    pub url: String,
    /// How its claims are read.
    pub kind: IssuerKind,
    /// What its tokens must say in `aud`.
    pub audience: String,
    /// By which algorithms its tokens may be signed, of those that it names itself.
    pub algorithms: Vec<Algorithm>,
    /// The root of its TLS, DER, where it is not one of the system's.
    pub authority: Option<Vec<u8>>,
}

/// Puts an issuer on the list, or changes it.
#[derive(Debug)]
pub struct SetIssuer {
    /// The issuer.
    pub issuer: IssuerRow,
    /// The broker's clock.
    pub now: UnixSeconds,
    /// What the audit log says of it.
    pub audit: Entry,
}

impl Transaction for SetIssuer {
    type Output = ();

    async fn run(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO issuers (url, kind, audience, authority, added, algorithms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (url) DO UPDATE SET kind = ?2, audience = ?3, authority = ?4, added = ?5, algorithms = ?6",
        )
        .bind(&self.issuer.url)
        .bind(self.issuer.kind.as_str())
        .bind(&self.issuer.audience)
        .bind(&self.issuer.authority)
        .bind(seconds(self.now))
        .bind(self.issuer.algorithms.iter().map(|algorithm| algorithm.as_str()).collect::<Vec<_>>().join(" "))
        .execute(&mut *connection)
        .await?;
        record(connection, &self.audit).await
    }
}

/// Takes an issuer off the list. Sessions that its tokens have opened go on.
#[derive(Debug)]
pub struct RemoveIssuer {
    /// Its URL.
    pub url: String,
    /// What the audit log says of it.
    pub audit: Entry,
}

impl Transaction for RemoveIssuer {
    type Output = ();

    async fn run(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let removed =
            sqlx::query("DELETE FROM issuers WHERE url = ?").bind(&self.url).execute(&mut *connection).await?;
        if removed.rows_affected() == 0 {
            return Err(StoreError::Missing { kind: "issuer", name: self.url });
        }
        record(connection, &self.audit).await
    }
}

/// A job session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// The runner whose attestation key redeemed the token.
    pub runner_id: i64,
    /// Who issued the token.
    pub issuer: String,
    /// The issuer's ids for the job.
    pub job: String,
    /// What the token said.
    pub claims: JobClaims,
    /// Until when it is good.
    pub expires: UnixSeconds,
    /// Whether it has been ended.
    pub ended: bool,
    /// SHA-256 of the token; none for sessions of before this was kept.
    pub token_digest: Option<Sha256Digest>,
}

/// Opens a job session, if the job has none.
#[derive(Debug)]
pub struct OpenSession {
    /// Its id.
    pub id: JobSessionId,
    /// The runner whose attestation key redeems.
    pub runner_id: i64,
    /// Where its TPM is now.
    pub clock: ClockInfo,
    /// What it redeems.
    pub token: VerifiedToken,
    /// SHA-256 of that.
    pub token_digest: Sha256Digest,
    /// The broker's clock.
    pub now: UnixSeconds,
    /// Until when it shall be good.
    pub expires: UnixSeconds,
    /// What the audit log says of it.
    pub audit: Entry,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// It is open.
    Yes,
    /// The job, or the token, has been redeemed before.
    RedeemedBefore,
    /// The job has been redeemed before by this very runner, with another token, into this session.
    RedeemedHere(JobSessionId),
}

impl Transaction for OpenSession {
    type Output = Opened;

    async fn run(self, connection: &mut SqliteConnection) -> Result<Opened, StoreError> {
        super::remember(connection, self.runner_id, self.clock).await?;
        let claims = serde_json::to_string(self.token.claims()).map_err(|_| StoreError::Row("job claims"))?;
        let inserted = sqlx::query(
            "INSERT INTO job_sessions (id, runner_id, issuer, job, token, claims, opened, expires, token_digest)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(self.id.as_str())
        .bind(self.runner_id)
        .bind(self.token.issuer())
        .bind(self.token.job().as_str())
        .bind(self.token.id())
        .bind(claims)
        .bind(seconds(self.now))
        .bind(seconds(self.expires))
        .bind(self.token_digest.as_bytes().as_slice())
        .execute(&mut *connection)
        .await?;
        if inserted.rows_affected() == 0 {
            let here = sqlx::query(
                "SELECT id FROM job_sessions WHERE issuer = ? AND job = ? AND runner_id = ? AND token <> ?",
            )
            .bind(self.token.issuer())
            .bind(self.token.job().as_str())
            .bind(self.runner_id)
            .bind(self.token.id())
            .fetch_optional(&mut *connection)
            .await?;
            let Some(row) = here else { return Ok(Opened::RedeemedBefore) };
            let id = row.get::<String, _>(0).parse().map_err(|_| StoreError::Row("job session id"))?;
            return Ok(Opened::RedeemedHere(id));
        }
        record(connection, &self.audit).await?;
        Ok(Opened::Yes)
    }
}

/// Ends a job session, and whatever its steps still hold.
#[derive(Debug)]
pub struct EndSession {
    /// Which.
    pub id: JobSessionId,
    /// The wall clock.
    pub at: UnixSeconds,
    /// What the audit log says of it.
    pub audit: Entry,
}

impl Transaction for EndSession {
    /// The leases that ended with it; `None` if it had ended before.
    type Output = Option<Vec<LeaseId>>;

    async fn run(self, connection: &mut SqliteConnection) -> Result<Option<Vec<LeaseId>>, StoreError> {
        let ended = sqlx::query("UPDATE job_sessions SET ended = ? WHERE id = ? AND ended IS NULL")
            .bind(seconds(self.at))
            .bind(self.id.as_str())
            .execute(&mut *connection)
            .await?;
        if ended.rows_affected() == 0 {
            return Ok(None);
        }
        record(connection, &self.audit).await?;
        end_of_session(connection, &self.id, self.at).await.map(Some)
    }
}

impl Store {
    /// The issuers on the list.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn issuers(&self) -> Result<Vec<IssuerRow>, StoreError> {
        let rows = sqlx::query("SELECT url, kind, audience, authority, algorithms FROM issuers ORDER BY url")
            .fetch_all(&self.readers)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(IssuerRow {
                    url: row.get(0),
                    kind: row.get::<String, _>(1).parse().map_err(|_| StoreError::Row("issuer kind"))?,
                    audience: row.get(2),
                    authority: row.get(3),
                    algorithms: row
                        .get::<String, _>(4)
                        .split(' ')
                        .map(|name| name.parse().map_err(|_| StoreError::Row("algorithm")))
                        .collect::<Result<_, _>>()?,
                })
            })
            .collect()
    }

    /// A job session.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn session(&self, id: &JobSessionId) -> Result<Option<SessionRow>, StoreError> {
        let row = sqlx::query(
            "SELECT runner_id, issuer, job, claims, expires, ended IS NOT NULL, token_digest FROM job_sessions WHERE id = ?",
        )
        .bind(id.as_str())
        .fetch_optional(&self.readers)
        .await?;
        row.map(|row| {
            Ok(SessionRow {
                runner_id: row.get(0),
                issuer: row.get(1),
                job: row.get(2),
                claims: serde_json::from_str(&row.get::<String, _>(3)).map_err(|_| StoreError::Row("job claims"))?,
                expires: unix(row.get(4)),
                ended: row.get(5),
                token_digest: row
                    .get::<Option<Vec<u8>>, _>(6)
                    .map(|digest| digest.try_into().map(Sha256Digest::from_bytes))
                    .transpose()
                    .map_err(|_| StoreError::Row("token digest"))?,
            })
        })
        .transpose()
    }
}
