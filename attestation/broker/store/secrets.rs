//! Sealed secrets.

use super::{Store, StoreError, Transaction, record, seconds, unix};
use crate::audit::Entry;
use crate::policy::{Asked, Kind};
use crate::secrets::Destinations;
use attest_evidence::UnixSeconds;
use attest_evidence::name::{SecretName, Stage};
use sqlx::{Row as _, SqliteConnection};

/// The newest version of a secret, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRow {
    /// Counted from 1.
    pub version: u64,
    /// Where it may go.
    pub destinations: Destinations,
    /// Opened by the key of its stage.
    pub sealed: Vec<u8>,
}

/// What may be said of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretListing {
    /// Its stage.
    pub stage: Stage,
    /// Its name.
    pub name: SecretName,
    /// Its newest version.
    pub version: u64,
    /// When that was set.
    pub set_at: UnixSeconds,
    /// Where that may go.
    pub destinations: Destinations,
    /// The lease in which that came to light, if it did: it has to be replaced.
    pub exposed: Option<String>,
}

/// Adds a version of a secret. Its number is part of what is sealed, so sealing happens inside.
pub struct SetSecret {
    /// Its stage.
    pub stage: Stage,
    /// Its name.
    pub name: SecretName,
    /// Where it may go.
    pub destinations: Destinations,
    /// Seals the value for the version it is given.
    pub seal: Box<dyn FnOnce(u64) -> Result<Vec<u8>, StoreError> + Send>,
    /// What the audit log says of it.
    pub audit: Entry,
}

impl Transaction for SetSecret {
    type Output = u64;

    async fn run(self, connection: &mut SqliteConnection) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT coalesce(max(version), 0) + 1 FROM secrets WHERE stage = ? AND name = ?")
            .bind(self.stage.as_str())
            .bind(self.name.as_str())
            .fetch_one(&mut *connection)
            .await?;
        let version: i64 = row.get(0);
        let number = u64::try_from(version).map_err(|_| StoreError::Row("secret version"))?;
        let sealed = (self.seal)(number)?;
        sqlx::query(
            "INSERT INTO secrets (stage, name, version, sealed, set_at, destinations) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(self.stage.as_str())
        .bind(self.name.as_str())
        .bind(version)
        .bind(sealed)
        .bind(seconds(self.audit.at))
        .bind(self.destinations.as_text())
        .execute(&mut *connection)
        .await?;
        record(connection, &self.audit).await?;
        Ok(number)
    }
}

/// Deletes a secret, every version of it.
#[derive(Debug)]
pub struct DeleteSecret {
    /// Its stage.
    pub stage: Stage,
    /// Its name.
    pub name: SecretName,
    /// What the audit log says of it.
    pub audit: Entry,
}

impl Transaction for DeleteSecret {
    type Output = ();

    async fn run(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let deleted = sqlx::query("DELETE FROM secrets WHERE stage = ? AND name = ?")
            .bind(self.stage.as_str())
            .bind(self.name.as_str())
            .execute(&mut *connection)
            .await?;
        if deleted.rows_affected() == 0 {
            return Err(StoreError::Missing { kind: "secret", name: format!("{}/{}", self.stage, self.name) });
        }
        record(connection, &self.audit).await
    }
}

impl Store {
    /// Leaves out secrets and audiences that there are none of. Keys are their runners' business, and stay.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn keep_real(&self, asked: &mut Vec<Asked>) -> Result<(), StoreError> {
        for one in std::mem::take(asked) {
            let real = match (one.kind, one.name.parse()) {
                (Kind::Secret, Ok(name)) => self.secret(one.stage, &name).await?.is_some(),
                (Kind::Audience, Ok(name)) => self.audience(one.stage, &name).await?.is_some(),
                (Kind::Secret | Kind::Audience, Err(_)) => false,
                _ => true,
            };
            if real {
                asked.push(one);
            }
        }
        Ok(())
    }

    /// The newest version of a secret.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn secret(&self, stage: Stage, name: &SecretName) -> Result<Option<SealedRow>, StoreError> {
        let row = sqlx::query(
            "SELECT version, sealed, destinations FROM secrets WHERE stage = ? AND name = ? ORDER BY version DESC LIMIT 1",
        )
        .bind(stage.as_str())
        .bind(name.as_str())
        .fetch_optional(&self.readers)
        .await?;
        row.map(|row| {
            let version = u64::try_from(row.get::<i64, _>(0)).map_err(|_| StoreError::Row("secret version"))?;
            let destinations = Destinations::of_text(row.get(2)).ok_or(StoreError::Row("destinations of a secret"))?;
            Ok(SealedRow { version, destinations, sealed: row.get(1) })
        })
        .transpose()
    }

    /// Names, versions and ages of all secrets; no value.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn secrets(&self) -> Result<Vec<SecretListing>, StoreError> {
        let rows = sqlx::query(
            "SELECT stage, name, max(version), set_at, destinations, exposed FROM secrets GROUP BY stage, name ORDER BY stage, name",
        )
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(SecretListing {
                    stage: row.get::<String, _>(0).parse().map_err(|_| StoreError::Row("stage"))?,
                    name: row.get::<String, _>(1).parse().map_err(|_| StoreError::Row("secret name"))?,
                    version: u64::try_from(row.get::<i64, _>(2)).map_err(|_| StoreError::Row("secret version"))?,
                    set_at: unix(row.get(3)),
                    destinations: Destinations::of_text(row.get(4))
                        .ok_or(StoreError::Row("destinations of a secret"))?,
                    exposed: row.get(5),
                })
            })
            .collect()
    }
}
