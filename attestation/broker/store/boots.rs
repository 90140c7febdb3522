//! What runners booted, and what they may boot.

use super::{Store, StoreError, Transaction, record, seconds, unix};
use crate::audit::Entry;
use attest_appraisal::Continuity;
use attest_evidence::tpm::{ClockInfo, PcrSelection, PcrValues};
use attest_evidence::{Sha256Digest, UnixSeconds};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

/// Boots of one runner that are remembered.
const MOST_BOOTS: i64 = 50;

/// A boot that a runner quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootRow {
    /// What was quoted.
    pub pcrs: PcrValues,
    /// Its event log.
    pub event_log: Option<Sha256Digest>,
    /// The TPM's firmware version.
    pub firmware: u64,
    /// When it was first seen.
    pub first_seen: UnixSeconds,
    /// When it was last seen for the first time since the broker started.
    pub last_seen: UnixSeconds,
}

/// Remembers what a runner booted. The quote must have been verified, and the log must lead to it.
#[derive(Debug)]
pub struct SeeBoot {
    /// Which runner.
    pub runner: i64,
    /// What it quoted.
    pub pcrs: PcrValues,
    /// Its event log, with the compressed bytes if they came.
    pub event_log: Option<(Sha256Digest, Option<Vec<u8>>)>,
    /// The TPM's firmware version.
    pub firmware: u64,
    /// When.
    pub at: UnixSeconds,
}

/// Whether a boot is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It is.
    Kept,
    /// Its log came by its digest, and is not here any more: nothing was written.
    LogGone,
}

impl Transaction for SeeBoot {
    type Output = Seen;

    async fn run(self, connection: &mut SqliteConnection) -> Result<Seen, StoreError> {
        let digest = self.event_log.as_ref().map(|(digest, _)| digest.as_bytes().to_vec());
        match &self.event_log {
            Some((digest, Some(bytes))) => {
                sqlx::query("INSERT INTO evidence (digest, kind, bytes, added) VALUES (?, 'event-log', ?, ?) ON CONFLICT DO NOTHING")
                    .bind(digest.as_bytes().as_slice())
                    .bind(bytes)
                    .bind(seconds(self.at))
                    .execute(&mut *connection)
                    .await?;
            }
            Some((digest, None)) => {
                let here = sqlx::query("SELECT 1 FROM evidence WHERE digest = ?").bind(digest.as_bytes().as_slice());
                if here.fetch_optional(&mut *connection).await?.is_none() {
                    return Ok(Seen::LogGone);
                }
            }
            None => {}
        }
        let state = self.pcrs.digest();
        let before = sqlx::query("SELECT event_log FROM boots WHERE runner_id = ? AND state = ?")
            .bind(self.runner)
            .bind(state.as_bytes().as_slice())
            .fetch_optional(&mut *connection)
            .await?;
        let pcrs = [self.pcrs.selection().bits().as_slice(), &self.pcrs.to_bytes()].concat();
        sqlx::query(
            "INSERT INTO boots (runner_id, state, pcrs, event_log, firmware, first_seen, last_seen, sequence)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, (SELECT coalesce(max(sequence), 0) + 1 FROM boots WHERE runner_id = ?1))
             ON CONFLICT DO UPDATE SET event_log = coalesce(excluded.event_log, event_log), firmware = excluded.firmware,
                                       last_seen = excluded.last_seen, sequence = excluded.sequence",
        )
        .bind(self.runner)
        .bind(state.as_bytes().as_slice())
        .bind(pcrs)
        .bind(&digest)
        .bind(format!("{:016x}", self.firmware))
        .bind(seconds(self.at))
        .execute(&mut *connection)
        .await?;
        let forgotten = sqlx::query(
            "DELETE FROM boots WHERE runner_id = ?1 AND state NOT IN
             (SELECT state FROM boots WHERE runner_id = ?1 ORDER BY sequence DESC, last_seen DESC LIMIT ?2)
             RETURNING event_log",
        )
        .bind(self.runner)
        .bind(MOST_BOOTS)
        .fetch_all(&mut *connection)
        .await?;
        // A machine's log differs by a few addresses from boot to boot: of one state the latest is kept.
        for log in before.iter().chain(&forgotten).filter_map(|row| row.get::<Option<Vec<u8>>, _>(0)) {
            sqlx::query(
                "DELETE FROM evidence WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM boots WHERE event_log = ?1)",
            )
            .bind(log)
            .execute(&mut *connection)
            .await?;
        }
        Ok(Seen::Kept)
    }
}

/// Puts reference values in force. The caller must have checked them.
#[derive(Debug)]
pub struct ApplyReferences {
    /// TOML.
    pub text: String,
    /// The version that they were made from.
    pub instead_of: i64,
    /// Who applies them.
    pub by: String,
    /// What the audit log says of it.
    pub audit: Entry,
}

impl Transaction for ApplyReferences {
    /// The version.
    type Output = i64;

    async fn run(self, connection: &mut SqliteConnection) -> Result<i64, StoreError> {
        let row =
            sqlx::query("SELECT coalesce(max(version), 0) FROM boot_references").fetch_one(&mut *connection).await?;
        if row.get::<i64, _>(0) != self.instead_of {
            return Err(StoreError::Stale);
        }
        let applied = sqlx::query("INSERT INTO boot_references (text, applied_by, applied) VALUES (?, ?, ?)")
            .bind(&self.text)
            .bind(&self.by)
            .bind(seconds(self.audit.at))
            .execute(&mut *connection)
            .await?;
        record(connection, &self.audit).await?;
        Ok(applied.last_insert_rowid())
    }
}

/// Remembers clock and counts of a quote that was believed. Two may come in the other order than they were made: nothing
/// is put back. If what was remembered since can't be followed by this quote, the decision rests on something old.
pub(crate) async fn remember(
    connection: &mut SqliteConnection,
    runner: i64,
    quoted: ClockInfo,
) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT clock, reset_count, restart_count FROM continuity WHERE runner_id = ?")
        .bind(runner)
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(last) = row.as_ref().map(continuity).transpose()?
        && last.followed_by(quoted).is_err()
    {
        return Err(StoreError::Stale);
    }
    let now = Continuity::of(quoted);
    let clock = i64::try_from(now.clock).unwrap_or(i64::MAX);
    sqlx::query(
        "INSERT INTO continuity (runner_id, clock, reset_count, restart_count) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET clock = ?2, reset_count = ?3, restart_count = ?4
         WHERE (?3, ?4, ?2) > (reset_count, restart_count, clock)",
    )
    .bind(runner)
    .bind(clock)
    .bind(now.reset_count)
    .bind(now.restart_count)
    .execute(connection)
    .await?;
    Ok(())
}

fn continuity(row: &SqliteRow) -> Result<Continuity, StoreError> {
    let wrong = |_| StoreError::Row("continuity");
    Ok(Continuity {
        clock: u64::try_from(row.get::<i64, _>(0)).map_err(wrong)?,
        reset_count: u32::try_from(row.get::<i64, _>(1)).map_err(wrong)?,
        restart_count: u32::try_from(row.get::<i64, _>(2)).map_err(wrong)?,
    })
}

fn boot(row: &SqliteRow) -> Result<BootRow, StoreError> {
    let wrong = || StoreError::Row("boot");
    let pcrs: Vec<u8> = row.get(0);
    let (bits, values) = pcrs.split_first_chunk::<3>().ok_or_else(wrong)?;
    let event_log = row.get::<Option<Vec<u8>>, _>(1);
    let event_log = event_log.map(|digest| digest.try_into().map(Sha256Digest::from_bytes)).transpose();
    Ok(BootRow {
        pcrs: PcrValues::parse(PcrSelection::from_bits(*bits), values).map_err(|_| wrong())?,
        event_log: event_log.map_err(|_| wrong())?,
        firmware: u64::from_str_radix(&row.get::<String, _>(2), 16).map_err(|_| wrong())?,
        first_seen: unix(row.get(3)),
        last_seen: unix(row.get(4)),
    })
}

impl Store {
    /// Clock and counts in the quote of a runner that was last believed.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn continuity(&self, runner: i64) -> Result<Option<Continuity>, StoreError> {
        let row = sqlx::query("SELECT clock, reset_count, restart_count FROM continuity WHERE runner_id = ?")
            .bind(runner)
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(continuity).transpose()
    }

    /// Evidence by its digest, compressed.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn evidence(&self, digest: &Sha256Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let row = sqlx::query("SELECT bytes FROM evidence WHERE digest = ?")
            .bind(digest.as_bytes().as_slice())
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|row| row.get(0)))
    }

    /// The boots of a runner, the latest first.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn boots(&self, runner: i64) -> Result<Vec<BootRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT pcrs, event_log, firmware, first_seen, last_seen FROM boots WHERE runner_id = ?
             ORDER BY sequence DESC, last_seen DESC",
        )
        .bind(runner)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(boot).collect()
    }

    /// The version of the reference values in force; 0 for none.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn references_version(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT coalesce(max(version), 0) FROM boot_references").fetch_one(&self.readers).await?;
        Ok(row.get(0))
    }

    /// Reference values, as they were applied.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn references(&self, version: i64) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT text FROM boot_references WHERE version = ?")
            .bind(version)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|row| row.get(0)))
    }
}
