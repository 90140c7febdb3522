//! Policies: every version that was ever applied, or waited for a second person.

use super::{Store, StoreError, Transaction, record, seconds};
use crate::audit::Entry;
use crate::policy::{Question, Questions};
use serde::Deserialize as _;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

/// A policy as it was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRow {
    /// Counted from 1. The greatest that does not wait is in force.
    pub version: i64,
    /// Cedar text.
    pub text: String,
    /// Its entities, JSON; empty if it has none.
    pub entities: String,
    /// Whether, once it is in force, a change needs two persons.
    pub two_persons: bool,
    /// Whether it waits for a second person.
    pub waiting: bool,
    /// Who applied it.
    pub applied_by: String,
    /// Who approved it, if it needed that.
    pub approved_by: Option<String>,
}

/// Puts a policy in force, or, if the one in force calls for two persons, lets it wait. The caller must have checked it.
#[derive(Debug)]
pub struct ApplyPolicy {
    /// Cedar text.
    pub text: String,
    /// Its entities, JSON.
    pub entities: String,
    /// Whether changes to it shall need two persons; `None`: as it is now.
    pub two_persons: Option<bool>,
    /// Who applies it.
    pub by: String,
    /// What the audit log says of it.
    pub audit: Entry,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Its version.
    pub version: i64,
    /// Whether it waits for a second person.
    pub waiting: bool,
    /// Whether, once it is in force, changes need two persons.
    pub two_persons: bool,
}

impl Transaction for ApplyPolicy {
    type Output = Applied;

    async fn run(self, connection: &mut SqliteConnection) -> Result<Applied, StoreError> {
        let row = sqlx::query("SELECT two_persons FROM policies WHERE NOT waiting ORDER BY version DESC LIMIT 1")
            .fetch_optional(&mut *connection)
            .await?;
        let waiting = row.is_some_and(|row| row.get(0));
        let two_persons = self.two_persons.unwrap_or(waiting);
        let applied = sqlx::query(
            "INSERT INTO policies (text, entities, two_persons, waiting, applied_by, applied) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(&self.text)
        .bind(&self.entities)
        .bind(two_persons)
        .bind(waiting)
        .bind(&self.by)
        .bind(seconds(self.audit.at))
        .execute(&mut *connection)
        .await?;
        record(connection, &self.audit).await?;
        Ok(Applied { version: applied.last_insert_rowid(), waiting, two_persons })
    }
}

/// Puts a policy in force that has waited for a second person.
#[derive(Debug)]
pub struct ApprovePolicy {
    /// Which version.
    pub version: i64,
    /// Who approves.
    pub by: String,
    /// What the audit log says of it.
    pub audit: Entry,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approved {
    /// It is in force. Whether changes to it need two persons.
    Yes {
        /// See there.
        two_persons: bool,
    },
    /// It is not waiting.
    NotWaiting,
    /// A newer one has been put in force since: whoever wrote this one did not know that.
    Overtaken(i64),
    /// Whoever applied it can't be the second person.
    SamePerson,
}

impl Transaction for ApprovePolicy {
    type Output = Approved;

    async fn run(self, connection: &mut SqliteConnection) -> Result<Approved, StoreError> {
        let row = sqlx::query("SELECT waiting, applied_by, two_persons FROM policies WHERE version = ?")
            .bind(self.version)
            .fetch_optional(&mut *connection)
            .await?;
        let missing = || StoreError::Missing { kind: "policy version", name: self.version.to_string() };
        let row = row.ok_or_else(missing)?;
        if !row.get::<bool, _>(0) {
            return Ok(Approved::NotWaiting);
        }
        if row.get::<String, _>(1) == self.by {
            return Ok(Approved::SamePerson);
        }
        let newest: i64 = sqlx::query("SELECT coalesce(max(version), 0) FROM policies WHERE NOT waiting")
            .fetch_one(&mut *connection)
            .await?
            .get(0);
        if newest > self.version {
            return Ok(Approved::Overtaken(newest));
        }
        sqlx::query("UPDATE policies SET waiting = 0, approved_by = ? WHERE version = ?")
            .bind(&self.by)
            .bind(self.version)
            .execute(&mut *connection)
            .await?;
        record(connection, &self.audit).await?;
        Ok(Approved::Yes { two_persons: row.get(2) })
    }
}

/// A request of the audit log, with what policy was asked about it then.
#[derive(Debug, Clone)]
pub struct AskedBefore {
    /// The entry that records the answer.
    pub audit: String,
    /// Everything that it was asked about; `None` if that can't be read any more.
    pub questions: Option<Vec<Question>>,
}

impl AskedBefore {
    /// The questions of an entry's body.
    pub fn questions_of(body: &serde_json::Value) -> Option<Vec<Question>> {
        let questions = Questions::deserialize(body.get("questions")?).ok()?;
        let request = body.get("request").or_else(|| body.get("asked"))?;
        let arguments = Vec::<String>::deserialize(request.get("arguments")?).ok()?;
        Some(questions.with_arguments(&arguments))
    }
}

impl Store {
    /// The version of the policy in force; 0 if none has been applied.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn policy_version(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT coalesce(max(version), 0) FROM policies WHERE NOT waiting")
            .fetch_one(&self.readers)
            .await?;
        Ok(row.get(0))
    }

    /// The policy of a version.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn policy(&self, version: i64) -> Result<Option<PolicyRow>, StoreError> {
        let row = sqlx::query(
            "SELECT text, entities, two_persons, waiting, applied_by, approved_by FROM policies WHERE version = ?",
        )
        .bind(version)
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.map(|row| PolicyRow {
            version,
            text: row.get(0),
            entities: row.get(1),
            two_persons: row.get(2),
            waiting: row.get(3),
            applied_by: row.get(4),
            approved_by: row.get(5),
        }))
    }

    /// The newest `most` requests that policy was asked about, the newest first.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn asked_before(&self, most: u32) -> Result<Vec<AskedBefore>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, body FROM audit
             WHERE kind IN ('granted', 'refused') AND json_extract(body, '$.questions') IS NOT NULL
             ORDER BY sequence DESC LIMIT ?",
        )
        .bind(most)
        .fetch_all(&self.readers)
        .await?;
        let asked = |row: &SqliteRow| {
            let body = serde_json::from_str(&row.get::<String, _>(1)).ok();
            AskedBefore { audit: row.get(0), questions: body.as_ref().and_then(AskedBefore::questions_of) }
        };
        Ok(rows.iter().map(asked).collect())
    }
}
