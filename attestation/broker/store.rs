//! What the broker remembers. SQLite in WAL mode with synchronous FULL: what was answered is on the disk.
//!
//! Reads go to a pool. Writes are [`Transaction`]s that go to one writer, which commits whatever has gathered
//! while it was committing the last: many exchanges, one sync (group commit).

mod alarms;
mod audiences;
mod boots;
mod clock;
mod error;
mod jobs;
mod leases;
mod measurements;
mod nonces;
mod policies;
mod roots;
mod runners;
mod secrets;
mod timestamps;
mod writer;

pub(crate) use alarms::record_alarm;
pub use alarms::{AlarmRow, AlarmSent, RecordAlarm, SetWebhook, WebhookRow};
pub use audiences::{AddTokenKey, AudienceRow, DeleteAudience, Rotation, SetAudience};
pub(crate) use boots::remember;
pub use boots::{ApplyReferences, BootRow, SeeBoot, Seen};
pub use clock::{LeaseClockRow, SetLeaseClock};
pub use error::StoreError;
pub use jobs::{EndSession, IssuerRow, OpenSession, Opened, RemoveIssuer, SessionRow, SetIssuer};
pub use leases::{
    CloseEndedLease, EndLostLeases, Exposure, Heartbeats, LeaseFilter, LeaseKey, LeaseRow, LeaseUpdate, ListedLease,
    ReleaseLease, RevokeLeases, ShownAtEnd, TakenLease,
};
pub use measurements::SeeMeasurements;
pub use nonces::{ConsumeNonce, Consumed};
pub use policies::{Applied, ApplyPolicy, ApprovePolicy, Approved, AskedBefore, PolicyRow};
pub use roots::AddRoot;
pub use runners::{
    AddEnrolment, AddToken, EnrolmentRow, FinishEnrolment, Finished, RunnerRow, SetRunnerState, TokenRow,
};
pub use secrets::{DeleteSecret, SealedRow, SecretListing, SetSecret};
pub use timestamps::AddTimestampAuthority;
pub use writer::Transaction;

use crate::audit::Entry;
use attest_evidence::UnixSeconds;
pub(crate) use leases::{insert as insert_lease, of as lease_of};
use sqlx::SqliteConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use std::path::Path;
use std::time::Duration;
use writer::Writer;

/// Readers beside the writer: two cores' worth.
const READERS: u32 = 4;

/// The broker's memory.
#[derive(Clone)]
pub struct Store {
    readers: SqlitePool,
    writer: Writer,
}

impl Store {
    /// Opens the database at `path`, and makes it if `create` says so.
    ///
    /// # Errors
    /// Whatever SQLite reports: not there, no rights, disk full, not a database.
    pub async fn open(path: &Path, create: bool) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(create)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .foreign_keys(true);
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        sqlx::migrate!("store/migrations")
            .run(&writer)
            .await
            .map_err(|error| StoreError::Migration(error.to_string()))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .min_connections(1)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(options.read_only(true))
            .await?;
        Ok(Self { readers, writer: Writer::start(writer) })
    }

    /// Runs a transaction and returns once it is on the disk.
    ///
    /// # Errors
    /// What the transaction reports, or that it could not be committed: then nothing of it is there.
    pub async fn commit<T: Transaction>(&self, transaction: T) -> Result<T::Output, StoreError> {
        self.writer.commit(transaction).await
    }

    /// Commits done so far, each for one transaction or more.
    pub fn commits(&self) -> u64 {
        self.writer.commits()
    }
}

/// Writes an audit entry within the transaction of what it records.
pub(crate) async fn record(connection: &mut SqliteConnection, entry: &Entry) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO audit (id, at, kind, body) VALUES (?, ?, ?, ?)")
        .bind(entry.id.as_str())
        .bind(seconds(entry.at))
        .bind(entry.kind.as_str())
        .bind(&entry.body)
        .execute(connection)
        .await?;
    Ok(())
}

/// An audit entry with nothing else.
#[derive(Debug)]
pub struct Record(pub Entry);

impl Transaction for Record {
    type Output = ();

    async fn run(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        record(connection, &self.0).await
    }
}

/// SQLite's integers are signed. A time beyond them is beyond the year 292 billion.
fn seconds(time: UnixSeconds) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

fn unix(seconds: i64) -> UnixSeconds {
    UnixSeconds(u64::try_from(seconds).unwrap_or(0))
}

/// Makes a broker.
pub(crate) struct AddBroker {
    pub(crate) keys: crate::keys::StoredKeys,
    pub(crate) created: UnixSeconds,
}

impl Transaction for AddBroker {
    type Output = ();

    async fn run(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO broker (only_row, id, created, tls_root, ak_authority, sealed_keys) VALUES (1, ?, ?, ?, ?, ?)",
        )
        .bind(self.keys.id.as_str())
        .bind(seconds(self.created))
        .bind(self.keys.tls_root)
        .bind(self.keys.ak_authority)
        .bind(self.keys.sealed)
        .execute(connection)
        .await?;
        Ok(())
    }
}

impl Store {
    /// The broker's keys, if this is the database of one.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn broker_keys(&self) -> Result<Option<crate::keys::StoredKeys>, StoreError> {
        use sqlx::Row as _;
        let row = sqlx::query("SELECT id, tls_root, ak_authority, sealed_keys FROM broker")
            .fetch_optional(&self.readers)
            .await?;
        row.map(|row| {
            Ok(crate::keys::StoredKeys {
                id: row.get::<String, _>(0).parse().map_err(|_| StoreError::Row("broker id"))?,
                tls_root: row.get(1),
                ak_authority: row.get(2),
                sealed: row.get(3),
            })
        })
        .transpose()
    }
}
