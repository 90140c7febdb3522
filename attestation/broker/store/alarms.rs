//! Alarms, and where they are sent.

use super::{Store, StoreError, Transaction, record, seconds};
use crate::alarms::{Alarm, AlarmKind};
use crate::audit::Entry;
use attest_evidence::UnixSeconds;
use serde::Serialize;
use sqlx::{Row as _, SqliteConnection};

/// Seconds within which one alarm stands for all of its kind about one subject.
const ONE_ALARM: i64 = 60;
/// Tries after which an alarm is not sent any more: with the pauses between them, three days.
const MOST_TRIES: i64 = 80;

/// Writes an alarm within the transaction of what it is about.
pub(crate) async fn record_alarm(connection: &mut SqliteConnection, alarm: &Alarm) -> Result<(), StoreError> {
    let (kind, at) = (alarm.kind.as_str(), seconds(alarm.at));
    sqlx::query(
        "INSERT INTO alarm_counts (kind, times) VALUES (?, 1) ON CONFLICT (kind) DO UPDATE SET times = times + 1",
    )
    .bind(kind)
    .execute(&mut *connection)
    .await?;
    let repeated = sqlx::query(
        "UPDATE alarms SET times = times + 1 WHERE id = (SELECT id FROM alarms
         WHERE kind = ?1 AND subject = ?2 AND at BETWEEN ?3 - ?4 AND ?3 ORDER BY at DESC LIMIT 1)",
    )
    .bind(kind)
    .bind(&alarm.subject)
    .bind(at)
    .bind(ONE_ALARM)
    .execute(&mut *connection)
    .await?;
    if repeated.rows_affected() == 0 {
        sqlx::query("INSERT INTO alarms (id, kind, subject, at, times, body, next_try) VALUES (?, ?, ?, ?, 1, ?, ?)")
            .bind(alarm.id.as_str())
            .bind(kind)
            .bind(&alarm.subject)
            .bind(at)
            .bind(alarm.body.to_string())
            .bind(at)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// An audit entry, and the alarm that it is.
#[derive(Debug)]
pub struct RecordAlarm(pub Entry, pub Option<Alarm>);

impl Transaction for RecordAlarm {
    type Output = ();

    async fn run(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        record(connection, &self.0).await?;
        match &self.1 {
            Some(alarm) => record_alarm(connection, alarm).await,
            None => Ok(()),
        }
    }
}

/// An alarm as it is listed and sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AlarmRow {
    /// The audit entry that it is about.
    pub id: String,
    /// See [`AlarmKind`].
    pub kind: String,
    /// Whom or what it is about.
    pub subject: String,
    /// When, in seconds since 1970.
    pub at: i64,
    /// How often, within a minute.
    pub times: i64,
    /// The facts.
    pub facts: serde_json::Value,
    /// When the webhook took it.
    pub delivered: Option<i64>,
    /// How often it was tried to send it.
    pub tries: i64,
    /// Why the last try went wrong.
    pub failure: Option<String>,
}

/// Where alarms are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRow {
    /// Its URL.
    pub url: String,
    /// The secret that signs what is sent, sealed.
    pub secret: Vec<u8>,
    /// The root of its TLS, DER, where it is not one of the system's.
    pub authority: Option<Vec<u8>>,
}

/// Says where alarms are sent, from now on.
#[derive(Debug)]
pub struct SetWebhook {
    /// Where; `None`: nowhere.
    pub webhook: Option<WebhookRow>,
    /// What the audit log says of it.
    pub audit: Entry,
}

impl Transaction for SetWebhook {
    type Output = ();

    async fn run(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM webhook").execute(&mut *connection).await?;
        if let Some(webhook) = &self.webhook {
            sqlx::query("INSERT INTO webhook (only_row, url, secret, authority) VALUES (1, ?, ?, ?)")
                .bind(&webhook.url)
                .bind(&webhook.secret)
                .bind(&webhook.authority)
                .execute(&mut *connection)
                .await?;
        }
        record(connection, &self.audit).await
    }
}

/// What became of sending an alarm.
#[derive(Debug)]
pub struct AlarmSent {
    /// Which.
    pub id: String,
    /// When it was taken, or when to try again, and why.
    pub result: Result<UnixSeconds, (UnixSeconds, String)>,
}

impl Transaction for AlarmSent {
    type Output = ();

    async fn run(self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let (delivered, next, failure) = match self.result {
            Ok(delivered) => (Some(seconds(delivered)), None, None),
            Err((next, failure)) => (None, Some(seconds(next)), Some(failure)),
        };
        sqlx::query(
            "UPDATE alarms SET delivered = ?1, tries = tries + 1, next_try = coalesce(?2, next_try), failure = ?3
             WHERE id = ?4",
        )
        .bind(delivered)
        .bind(next)
        .bind(failure)
        .bind(self.id)
        .execute(connection)
        .await?;
        Ok(())
    }
}

fn listed(row: &sqlx::sqlite::SqliteRow) -> Result<AlarmRow, StoreError> {
    Ok(AlarmRow {
        id: row.get(0),
        kind: row.get(1),
        subject: row.get(2),
        at: row.get(3),
        times: row.get(4),
        facts: serde_json::from_str(&row.get::<String, _>(5)).map_err(|_| StoreError::Row("alarm"))?,
        delivered: row.get(6),
        tries: row.get(7),
        failure: row.get(8),
    })
}

impl Store {
    /// Alarms, the newest last, `most` of them.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn alarms(&self, most: u32) -> Result<Vec<AlarmRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, kind, subject, at, times, body, delivered, tries, failure FROM alarms ORDER BY at DESC, id LIMIT ?",
        )
        .bind(most)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().rev().map(listed).collect()
    }

    /// An alarm.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn alarm(&self, id: &str) -> Result<Option<AlarmRow>, StoreError> {
        let row = sqlx::query(
            "SELECT id, kind, subject, at, times, body, delivered, tries, failure FROM alarms WHERE id = ?",
        )
        .bind(id)
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(listed).transpose()
    }

    /// Alarms that are to be sent now, the oldest first.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn alarms_to_send(&self, now: UnixSeconds, most: u32) -> Result<Vec<AlarmRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, kind, subject, at, times, body, delivered, tries, failure FROM alarms
             WHERE delivered IS NULL AND next_try <= ? AND tries < ? ORDER BY next_try LIMIT ?",
        )
        .bind(seconds(now))
        .bind(MOST_TRIES)
        .bind(most)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(listed).collect()
    }

    /// How many alarms the webhook has not taken, where there is one.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn alarms_unsent(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT count(*) FROM alarms, webhook WHERE delivered IS NULL")
            .fetch_one(&self.readers)
            .await?;
        Ok(row.get(0))
    }

    /// How many alarms of each kind there have been; none is a number, too.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn alarm_counts(&self) -> Result<Vec<(AlarmKind, i64)>, StoreError> {
        let rows = sqlx::query("SELECT kind, times FROM alarm_counts").fetch_all(&self.readers).await?;
        let counted = |kind: AlarmKind| {
            rows.iter().find(|row| row.get::<String, _>(0) == kind.as_str()).map_or(0, |row| row.get(1))
        };
        Ok(AlarmKind::ALL.into_iter().map(|kind| (kind, counted(kind))).collect())
    }

    /// Where alarms are sent.
    ///
    /// # Errors
    /// Whatever SQLite reports.
    pub async fn webhook(&self) -> Result<Option<WebhookRow>, StoreError> {
        let row = sqlx::query("SELECT url, secret, authority FROM webhook").fetch_optional(&self.readers).await?;
        Ok(row.map(|row| WebhookRow { url: row.get(0), secret: row.get(1), authority: row.get(2) }))
    }
}
