//! What runners' kernels have measured.

use super::{Store, StoreError, Transaction};
use attest_appraisal::{Checkpoint, Measurements};
use attest_evidence::Sha256Digest;
use sqlx::{Row as _, SqliteConnection};

/// Remembers what a kernel has measured. The quote must have been verified, and the list must lead to it.
#[derive(Debug)]
pub struct SeeMeasurements {
    /// Which runner's.
    pub runner: i64,
    /// What was known when it was judged, by its number of entries and boot.
    pub before: Option<Measurements>,
    /// What is known now.
    pub now: Measurements,
    /// The list from where it was known to where it is now, compressed.
    pub part: Option<(Checkpoint, Vec<u8>)>,
}

impl Transaction for SeeMeasurements {
    type Output = ();

    async fn run(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let known = sqlx::query("SELECT state FROM measurements WHERE runner_id = ?")
            .bind(self.runner)
            .fetch_optional(&mut *connection)
            .await?;
        let known = known.map(|row| state(&row.get::<String, _>(0))).transpose()?;
        // Another exchange was faster. What it wrote may go further, or begin another boot: the decision is made anew.
        if known != self.before {
            return Err(StoreError::Stale);
        }
        let same_boot = known.is_some_and(|known| known.boot() == self.now.boot());
        if !same_boot {
            sqlx::query("DELETE FROM measured_parts WHERE runner_id = ?")
                .bind(self.runner)
                .execute(&mut *connection)
                .await?;
        }
        if let Some((at, bytes)) = &self.part {
            sqlx::query("INSERT INTO measured_parts (runner_id, first, value, bytes) VALUES (?, ?, ?, ?)")
                .bind(self.runner)
                .bind(number(at.count))
                .bind(at.value.as_bytes().as_slice())
                .bind(bytes)
                .execute(&mut *connection)
                .await?;
        }
        let text = serde_json::to_string(&self.now).map_err(|_| StoreError::Row("measurements"))?;
        sqlx::query(
            "INSERT INTO measurements (runner_id, reset_count, restart_count, count, judged_by, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET reset_count = ?2, restart_count = ?3, count = ?4, judged_by = ?5, state = ?6",
        )
        .bind(self.runner)
        .bind(self.now.boot().reset_count)
        .bind(self.now.boot().restart_count)
        .bind(number(self.now.quoted().count))
        .bind(self.now.judged_by())
        .bind(text)
        .execute(connection)
        .await?;
        Ok(())
    }
}

fn state(text: &str) -> Result<Measurements, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Row("measurements"))
}

/// SQLite's integers are signed. No list has so many entries.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Store {
    /// What a runner's kernel has measured.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn measurements(&self, runner: i64) -> Result<Option<Measurements>, StoreError> {
        let row = sqlx::query("SELECT state FROM measurements WHERE runner_id = ?")
            .bind(runner)
            .fetch_optional(&self.readers)
            .await?;
        row.map(|row| state(&row.get::<String, _>(0))).transpose()
    }

    /// The parts of a runner's list from entry `first` on, compressed, with the place at which the first of them begins.
    /// Nothing, if no part begins there.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn measured_parts(
        &self,
        runner: i64,
        first: u64,
    ) -> Result<Option<(Checkpoint, Vec<Vec<u8>>)>, StoreError> {
        let rows = sqlx::query(
            "SELECT first, value, bytes FROM measured_parts WHERE runner_id = ? AND first >= ? ORDER BY first",
        )
        .bind(runner)
        .bind(number(first))
        .fetch_all(&self.readers)
        .await?;
        let Some(start) = rows.first().filter(|row| row.get::<i64, _>(0) == number(first)) else { return Ok(None) };
        let value = start.get::<Vec<u8>, _>(1).try_into().map_err(|_| StoreError::Row("measurements"))?;
        let at = Checkpoint { count: first, value: Sha256Digest::from_bytes(value) };
        Ok(Some((at, rows.iter().map(|row| row.get(2)).collect())))
    }
}
