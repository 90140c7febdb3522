//! Certificates that vouch for TPMs.

use super::{Store, StoreError, Transaction, record, seconds};
use crate::audit::Entry;
use attest_appraisal::{Roots, TpmClass};
use attest_evidence::Sha256Digest;
use sqlx::{Row as _, SqliteConnection};

/// Trusts a certificate.
#[derive(Debug)]
pub struct AddRoot {
    /// The class of TPMs that it vouches for; `None` for an intermediate.
    pub class: Option<TpmClass>,
    /// X.509, DER.
    pub certificate: Vec<u8>,
    /// What the audit log says of it.
    pub audit: Entry,
}

impl Transaction for AddRoot {
    type Output = ();

    async fn run(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let fingerprint = Sha256Digest::of(&self.certificate);
        let added = sqlx::query(
            "INSERT INTO roots (fingerprint, class, certificate, added) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(fingerprint.as_bytes().as_slice())
        .bind(self.class.map(TpmClass::as_str))
        .bind(self.certificate)
        .bind(seconds(self.audit.at))
        .execute(&mut *connection)
        .await?;
        if added.rows_affected() == 0 {
            return Err(StoreError::Exists(fingerprint.to_string()));
        }
        record(connection, &self.audit).await
    }
}

impl Store {
    /// All certificates that vouch for TPMs: the makers' that ship with the program, and those that an admin added.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn roots(&self) -> Result<Roots, StoreError> {
        let mut roots = Roots::built_in();
        for row in sqlx::query("SELECT class, certificate FROM roots").fetch_all(&self.readers).await? {
            match row.get::<Option<String>, _>(0) {
                Some(class) => {
                    let class = class.parse().map_err(|_| StoreError::Row("TPM class"))?;
                    roots.add_root(class, row.get(1))
                }
                None => roots.add_intermediate(row.get(1)),
            }
            .map_err(|_| StoreError::Row("certificate that vouches for TPMs"))?;
        }
        Ok(roots)
    }
}
