//! Audiences of tokens, and the keys that tokens are signed with.

use super::{Store, StoreError, Transaction, record, seconds, unix};
use crate::audit::Entry;
use crate::secrets::Destinations;
use crate::tokens::{Registration, TokenKeyRow};
use attest_evidence::UnixSeconds;
use attest_evidence::name::{SecretName, Stage};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

/// An audience, as it is kept. [`Registration::check`] says whether this broker wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudienceRow {
    /// What was registered.
    pub registration: Registration,
    /// What [`Registration::seal`] made of it.
    pub sealed: Vec<u8>,
    /// When it was.
    pub set_at: UnixSeconds,
}

/// Registers an audience, or registers it anew.
#[derive(Debug)]
pub struct SetAudience {
    /// As what.
    pub registration: Registration,
    /// What [`Registration::seal`] makes of it.
    pub sealed: Vec<u8>,
    /// What the audit log says of it.
    pub audit: Entry,
}

impl Transaction for SetAudience {
    type Output = ();

    async fn run(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let Registration { stage, name, audience, destinations } = &self.registration;
        sqlx::query(
            "INSERT INTO audiences (stage, name, audience, destinations, sealed, set_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (stage, name) DO UPDATE SET audience = ?3, destinations = ?4, sealed = ?5, set_at = ?6",
        )
        .bind(stage.as_str())
        .bind(name.as_str())
        .bind(audience.as_str())
        .bind(destinations.as_text())
        .bind(&self.sealed)
        .bind(seconds(self.audit.at))
        .execute(&mut *connection)
        .await?;
        record(connection, &self.audit).await
    }
}

/// Deletes an audience. Tokens that have been minted are good until they expire.
#[derive(Debug)]
pub struct DeleteAudience {
    /// Its stage.
    pub stage: Stage,
    /// Its name.
    pub name: SecretName,
    /// What the audit log says of it.
    pub audit: Entry,
}

impl Transaction for DeleteAudience {
    type Output = ();

    async fn run(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let deleted = sqlx::query("DELETE FROM audiences WHERE stage = ? AND name = ?")
            .bind(self.stage.as_str())
            .bind(self.name.as_str())
            .execute(&mut *connection)
            .await?;
        if deleted.rows_affected() == 0 {
            return Err(StoreError::Missing { kind: "audience", name: format!("{}/{}", self.stage, self.name) });
        }
        record(connection, &self.audit).await
    }
}

/// What becomes of the other keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// There is none: else nothing is added.
    First,
    /// Those of which no token lives any more are deleted.
    Planned {
        /// Their ids.
        gone: Vec<String>,
    },
    /// All are deleted: none of their tokens is believed any more.
    AtOnce,
}

/// Adds a key for tokens.
#[derive(Debug)]
pub struct AddTokenKey {
    /// The key, sealed.
    pub key: TokenKeyRow,
    /// What becomes of the others.
    pub rotation: Rotation,
    /// What the audit log says of it.
    pub audit: Entry,
}

impl Transaction for AddTokenKey {
    type Output = ();

    async fn run(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        match &self.rotation {
            Rotation::First => {
                let other = sqlx::query("SELECT 1 FROM token_keys LIMIT 1").fetch_optional(&mut *connection).await?;
                if other.is_some() {
                    return Ok(());
                }
            }
            Rotation::Planned { gone } => {
                for id in gone {
                    sqlx::query("DELETE FROM token_keys WHERE id = ?").bind(id).execute(&mut *connection).await?;
                }
            }
            Rotation::AtOnce => {
                sqlx::query("DELETE FROM token_keys").execute(&mut *connection).await?;
            }
        }
        sqlx::query("INSERT INTO token_keys (id, signs_from, sealed) VALUES (?, ?, ?)")
            .bind(&self.key.id)
            .bind(seconds(self.key.signs_from))
            .bind(&self.key.sealed)
            .execute(&mut *connection)
            .await?;
        record(connection, &self.audit).await
    }
}

fn audience(row: &SqliteRow) -> Result<AudienceRow, StoreError> {
    let text = |column: usize| row.get::<String, _>(column);
    let registration = Registration {
        stage: text(0).parse().map_err(|_| StoreError::Row("stage"))?,
        name: text(1).parse().map_err(|_| StoreError::Row("name of an audience"))?,
        audience: text(2).parse().map_err(|_| StoreError::Row("audience"))?,
        destinations: Destinations::of_text(text(3)).ok_or(StoreError::Row("destinations of an audience"))?,
    };
    Ok(AudienceRow { registration, sealed: row.get(4), set_at: unix(row.get(5)) })
}

impl Store {
    /// An audience.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn audience(&self, stage: Stage, name: &SecretName) -> Result<Option<AudienceRow>, StoreError> {
        let row = sqlx::query(
            "SELECT stage, name, audience, destinations, sealed, set_at FROM audiences WHERE stage = ? AND name = ?",
        )
        .bind(stage.as_str())
        .bind(name.as_str())
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(audience).transpose()
    }

    /// All audiences.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn audiences(&self) -> Result<Vec<AudienceRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT stage, name, audience, destinations, sealed, set_at FROM audiences ORDER BY stage, name",
        )
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(audience).collect()
    }

    /// The keys of tokens, sealed.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn token_keys(&self) -> Result<Vec<TokenKeyRow>, StoreError> {
        let rows = sqlx::query("SELECT id, signs_from, sealed FROM token_keys").fetch_all(&self.readers).await?;
        let key = |row: &SqliteRow| TokenKeyRow { id: row.get(0), signs_from: unix(row.get(1)), sealed: row.get(2) };
        Ok(rows.iter().map(key).collect())
    }
}
