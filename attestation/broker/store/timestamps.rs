//! The timestamp authority's key.

use super::{Store, StoreError, Transaction, record};
use crate::audit::Entry;
use crate::timestamps::StoredAuthority;
use sqlx::{Row as _, SqliteConnection};

/// Keeps a timestamp authority, unless there is one.
#[derive(Debug)]
pub struct AddTimestampAuthority {
    /// It.
    pub authority: StoredAuthority,
    /// What the audit log says of it.
    pub audit: Entry,
}

impl Transaction for AddTimestampAuthority {
    type Output = ();

    async fn run(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let StoredAuthority { root, certificate, sealed } = self.authority;
        let added = sqlx::query(
            "INSERT INTO timestamp_authority (one, root, certificate, sealed) VALUES (1, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(root)
        .bind(certificate)
        .bind(sealed)
        .execute(&mut *connection)
        .await?;
        if added.rows_affected() == 1 { record(connection, &self.audit).await } else { Ok(()) }
    }
}

impl Store {
    /// The timestamp authority, if there is one yet.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn timestamp_authority(&self) -> Result<Option<StoredAuthority>, StoreError> {
        let row = sqlx::query("SELECT root, certificate, sealed FROM timestamp_authority");
        let row = row.fetch_optional(&self.readers).await?;
        Ok(row.map(|row| StoredAuthority { root: row.get(0), certificate: row.get(1), sealed: row.get(2) }))
    }
}
