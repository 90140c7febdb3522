//! Policies: every version that was ever applied.

use super::{Store, StoreError, Transaction, record, seconds};
use crate::audit::Entry;
use sqlx::{Row as _, SqliteConnection};

/// A policy as it was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRow {
    /// Counted from 1. The greatest is in force.
    pub version: i64,
    /// Cedar text.
    pub text: String,
}

/// Puts a policy in force. The caller must have checked it.
#[derive(Debug)]
pub struct ApplyPolicy {
    /// Cedar text.
    pub text: String,
    /// What the audit log says of it.
    pub audit: Entry,
}

impl Transaction for ApplyPolicy {
    type Output = i64;

    async fn run(self, connection: &mut SqliteConnection) -> Result<i64, StoreError> {
        let applied = sqlx::query("INSERT INTO policies (text, applied) VALUES (?, ?)")
            .bind(&self.text)
            .bind(seconds(self.audit.at))
            .execute(&mut *connection)
            .await?;
        record(connection, &self.audit).await?;
        Ok(applied.last_insert_rowid())
    }
}

impl Store {
    /// The version of the policy in force; 0 if none has been applied.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn policy_version(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT coalesce(max(version), 0) FROM policies").fetch_one(&self.readers).await?;
        Ok(row.get(0))
    }

    /// The policy of a version.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn policy(&self, version: i64) -> Result<Option<PolicyRow>, StoreError> {
        let row = sqlx::query("SELECT text FROM policies WHERE version = ?")
            .bind(version)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|row| PolicyRow { version, text: row.get(0) }))
    }
}
