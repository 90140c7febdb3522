//! Runners, and how they come in: tokens and enrolments.

use super::leases::revoke_of_runner;
use super::{Store, StoreError, Transaction, record, seconds, unix};
use crate::audit::Entry;
use attest_appraisal::{AttestationKey, EnrolledRunner, TpmClass};
use attest_evidence::exchange::{Isolation, RunnerState};
use attest_evidence::name::{EnrolmentId, LeaseId, RunnerName};
use attest_evidence::tpm::{ClockInfo, TpmName};
use attest_evidence::{Sha256Digest, UnixSeconds};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

/// A runner, with its row's number.
#[derive(Debug, Clone)]
pub struct RunnerRow {
    /// Stands for this enrolment: a name may be given to another after it was retired.
    pub id: i64,
    /// What an appraisal needs.
    pub runner: EnrolledRunner,
    /// Stands for its TPM.
    pub endorsed: Sha256Digest,
    /// Whether a trusted root vouches for it.
    pub certified: bool,
    /// When it enrolled.
    pub enrolled: UnixSeconds,
}

fn runner(row: &SqliteRow) -> Result<RunnerRow, StoreError> {
    let text = |column: usize| row.get::<String, _>(column);
    Ok(RunnerRow {
        id: row.get(0),
        runner: EnrolledRunner {
            name: text(1).parse().map_err(|_| StoreError::Row("runner name"))?,
            key: AttestationKey::check(&row.get::<Vec<u8>, _>(2)).map_err(|_| StoreError::Row("attestation key"))?,
            class: text(3).parse().map_err(|_| StoreError::Row("TPM class"))?,
            isolation: text(4).parse().map_err(|_| StoreError::Row("isolation"))?,
            state: text(5).parse().map_err(|_| StoreError::Row("runner state"))?,
        },
        endorsed: digest(row.get(6))?,
        certified: row.get(7),
        enrolled: unix(row.get(8)),
    })
}

fn digest(bytes: Vec<u8>) -> Result<Sha256Digest, StoreError> {
    bytes.try_into().map(Sha256Digest::from_bytes).map_err(|_| StoreError::Row("digest"))
}

/// A one-time token, as the broker keeps it.
#[derive(Debug, Clone)]
pub struct TokenRow {
    /// Its id.
    pub id: [u8; 16],
    /// SHA-256 of its secret.
    pub secret: Sha256Digest,
    /// The name that the runner will have.
    pub runner: RunnerName,
    /// The isolation that was approved.
    pub isolation: Isolation,
    /// Whether a TPM that nobody vouches for needs no further approval.
    pub uncertified_is_approved: bool,
    /// When it ends.
    pub expires: UnixSeconds,
}

/// Makes a token known.
#[derive(Debug)]
pub struct AddToken {
    /// Which.
    pub token: TokenRow,
    /// What the audit log says of it.
    pub audit: Entry,
}

impl Transaction for AddToken {
    type Output = ();

    async fn run(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let token = self.token;
        sqlx::query(
            "INSERT INTO enrolment_tokens (id, secret, runner, isolation, uncertified_is_approved, expires)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(token.id.as_slice())
        .bind(token.secret.as_bytes().as_slice())
        .bind(token.runner.as_str())
        .bind(token.isolation.as_str())
        .bind(token.uncertified_is_approved)
        .bind(seconds(token.expires))
        .execute(&mut *connection)
        .await?;
        record(connection, &self.audit).await
    }
}

/// An enrolment that waits for the TPM's proof.
#[derive(Debug, Clone)]
pub struct EnrolmentRow {
    /// Its id.
    pub id: EnrolmentId,
    /// The token it was begun with.
    pub token: [u8; 16],
    /// Stands for the TPM.
    pub endorsed: Sha256Digest,
    /// Whether a trusted root vouches for it.
    pub certified: bool,
    /// `TPMT_PUBLIC` of the attestation key.
    pub ak: Vec<u8>,
    /// What the TPM is.
    pub class: TpmClass,
    /// The approved isolation.
    pub isolation: Isolation,
    /// SHA-256 of the secret to activate, or the qualifying data to quote.
    pub proof: Sha256Digest,
    /// Which of the two.
    pub by_quote: bool,
    /// When it ends.
    pub expires: UnixSeconds,
}

/// Begins an enrolment.
#[derive(Debug)]
pub struct AddEnrolment(pub EnrolmentRow);

impl Transaction for AddEnrolment {
    type Output = ();

    async fn run(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let enrolment = self.0;
        // One token, one enrolment at a time: whoever begins again gives the first one up.
        sqlx::query("DELETE FROM enrolments WHERE token = ?")
            .bind(enrolment.token.as_slice())
            .execute(&mut *connection)
            .await?;
        sqlx::query(
            "INSERT INTO enrolments (id, token, endorsed, certified, ak, class, isolation, proof, by_quote, expires)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(enrolment.id.as_str())
        .bind(enrolment.token.as_slice())
        .bind(enrolment.endorsed.as_bytes().as_slice())
        .bind(enrolment.certified)
        .bind(enrolment.ak)
        .bind(enrolment.class.as_str())
        .bind(enrolment.isolation.as_str())
        .bind(enrolment.proof.as_bytes().as_slice())
        .bind(enrolment.by_quote)
        .bind(seconds(enrolment.expires))
        .execute(&mut *connection)
        .await?;
        Ok(())
    }
}

/// Ends an enrolment whose proof has been checked: the token is used up and the runner is there, both or
/// neither.
#[derive(Debug)]
pub struct FinishEnrolment {
    /// Which.
    pub enrolment: EnrolmentRow,
    /// Name of its attestation key.
    pub ak_name: TpmName,
    /// The name that its token gives it.
    pub runner: RunnerName,
    /// Whether it may ask at once.
    pub state: RunnerState,
    /// Where its TPM is, if a quote has told: its clock and counts go on from there.
    pub clock: Option<ClockInfo>,
    /// What the audit log says of it.
    pub audit: Entry,
}

/// How an enrolment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// The runner is there.
    Enrolled,
    /// Its token was used, or withdrawn, in the meantime.
    TokenGone,
    /// The name, or the key, is another runner's.
    Taken,
}

impl Transaction for FinishEnrolment {
    type Output = Finished;

    async fn run(self, connection: &mut SqliteConnection) -> Result<Finished, StoreError> {
        let taken = sqlx::query("SELECT 1 FROM runners WHERE ak_name = ? OR (name = ? AND state <> 'retired')")
            .bind(self.ak_name.to_string())
            .bind(self.runner.as_str())
            .fetch_optional(&mut *connection)
            .await?;
        if taken.is_some() {
            return Ok(Finished::Taken);
        }
        let token = sqlx::query("DELETE FROM enrolment_tokens WHERE id = ?")
            .bind(self.enrolment.token.as_slice())
            .execute(&mut *connection)
            .await?;
        if token.rows_affected() == 0 {
            return Ok(Finished::TokenGone);
        }
        sqlx::query("DELETE FROM enrolments WHERE token = ?")
            .bind(self.enrolment.token.as_slice())
            .execute(&mut *connection)
            .await?;
        let runner = sqlx::query(
            "INSERT INTO runners (name, endorsed, certified, ak_name, ak, class, isolation, state, enrolled)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        )
        .bind(self.runner.as_str())
        .bind(self.enrolment.endorsed.as_bytes().as_slice())
        .bind(self.enrolment.certified)
        .bind(self.ak_name.to_string())
        .bind(self.enrolment.ak)
        .bind(self.enrolment.class.as_str())
        .bind(self.enrolment.isolation.as_str())
        .bind(self.state.as_str())
        .bind(seconds(self.audit.at))
        .fetch_one(&mut *connection)
        .await?;
        if let Some(clock) = self.clock {
            super::remember(connection, runner.get(0), clock).await?;
        }
        record(connection, &self.audit).await?;
        Ok(Finished::Enrolled)
    }
}

/// Changes whether a runner may ask. One that may not loses the leases it has.
#[derive(Debug)]
pub struct SetRunnerState {
    /// Which.
    pub runner: RunnerName,
    /// What it shall be.
    pub state: RunnerState,
    /// The wall clock.
    pub at: UnixSeconds,
    /// What the audit log says of it.
    pub audit: Entry,
}

impl Transaction for SetRunnerState {
    type Output = Vec<LeaseId>;

    async fn run(self, connection: &mut SqliteConnection) -> Result<Vec<LeaseId>, StoreError> {
        let row = sqlx::query("UPDATE runners SET state = ? WHERE name = ? AND state <> 'retired' RETURNING id")
            .bind(self.state.as_str())
            .bind(self.runner.as_str())
            .fetch_optional(&mut *connection)
            .await?;
        let missing = || StoreError::Missing { kind: "runner", name: self.runner.to_string() };
        let runner: i64 = row.ok_or_else(missing)?.get(0);
        record(connection, &self.audit).await?;
        if self.state == RunnerState::Approved {
            return Ok(Vec::new());
        }
        if self.state == RunnerState::Retired {
            // It never comes back under this key.
            for table in ["measured_parts", "measurements"] {
                sqlx::query(sqlx::AssertSqlSafe(format!("DELETE FROM {table} WHERE runner_id = ?")))
                    .bind(runner)
                    .execute(&mut *connection)
                    .await?;
            }
        }
        revoke_of_runner(connection, runner, self.at).await
    }
}

impl Store {
    /// The runner with this attestation key.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn runner_by_key(&self, ak: &TpmName) -> Result<Option<RunnerRow>, StoreError> {
        let row = sqlx::query(
            "SELECT id, name, ak, class, isolation, state, endorsed, certified, enrolled FROM runners
             WHERE ak_name = ?",
        )
        .bind(ak.to_string())
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(runner).transpose()
    }

    /// All runners, the newest last.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn runners(&self) -> Result<Vec<RunnerRow>, StoreError> {
        sqlx::query(
            "SELECT id, name, ak, class, isolation, state, endorsed, certified, enrolled FROM runners ORDER BY id",
        )
        .fetch_all(&self.readers)
        .await?
        .iter()
        .map(runner)
        .collect()
    }

    /// A token that has not been used.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn token(&self, id: &[u8; 16]) -> Result<Option<TokenRow>, StoreError> {
        let row = sqlx::query(
            "SELECT secret, runner, isolation, uncertified_is_approved, expires FROM enrolment_tokens WHERE id = ?",
        )
        .bind(id.as_slice())
        .fetch_optional(&self.readers)
        .await?;
        row.map(|row| {
            Ok(TokenRow {
                id: *id,
                secret: digest(row.get(0))?,
                runner: row.get::<String, _>(1).parse().map_err(|_| StoreError::Row("runner name"))?,
                isolation: row.get::<String, _>(2).parse().map_err(|_| StoreError::Row("isolation"))?,
                uncertified_is_approved: row.get(3),
                expires: unix(row.get(4)),
            })
        })
        .transpose()
    }

    /// An enrolment that waits for its proof.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn enrolment(&self, id: &EnrolmentId) -> Result<Option<EnrolmentRow>, StoreError> {
        let row = sqlx::query(
            "SELECT token, endorsed, certified, ak, class, isolation, proof, by_quote, expires
             FROM enrolments WHERE id = ?",
        )
        .bind(id.as_str())
        .fetch_optional(&self.readers)
        .await?;
        row.map(|row| {
            Ok(EnrolmentRow {
                id: id.clone(),
                token: row.get::<Vec<u8>, _>(0).try_into().map_err(|_| StoreError::Row("enrolment token"))?,
                endorsed: digest(row.get(1))?,
                certified: row.get(2),
                ak: row.get(3),
                class: row.get::<String, _>(4).parse().map_err(|_| StoreError::Row("TPM class"))?,
                isolation: row.get::<String, _>(5).parse().map_err(|_| StoreError::Row("isolation"))?,
                proof: digest(row.get(6))?,
                by_quote: row.get(7),
                expires: unix(row.get(8)),
            })
        })
        .transpose()
    }
}
