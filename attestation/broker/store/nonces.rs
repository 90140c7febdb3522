//! Nonces that have been used.

use super::{Store, StoreError, Transaction, seconds};
use attest_evidence::UnixSeconds;
use attest_evidence::exchange::Nonce;
use sqlx::SqliteConnection;

/// Takes a nonce out of use, for good: the unique key decides between two that try at once.
#[derive(Debug, Clone)]
pub struct ConsumeNonce {
    /// Which.
    pub nonce: Nonce,
    /// When its challenge expires; until then it is remembered.
    pub expires: UnixSeconds,
    /// The broker's clock, to forget those that have expired.
    pub now: UnixSeconds,
}

/// Whether a nonce was still unused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consumed {
    /// It was, and is not any more.
    Fresh,
    /// Somebody was faster.
    Replayed,
}

impl Transaction for ConsumeNonce {
    type Output = Consumed;

    async fn run(self, connection: &mut SqliteConnection) -> Result<Consumed, StoreError> {
        // A little at a time, so that no exchange pays for an hour's worth; and late, since the clock may begin ten
        // seconds earlier after a reboot.
        sqlx::query("DELETE FROM nonces WHERE nonce IN (SELECT nonce FROM nonces WHERE expires < ? LIMIT 4)")
            .bind(seconds(self.now).saturating_sub(60))
            .execute(&mut *connection)
            .await?;
        let inserted = sqlx::query("INSERT INTO nonces (nonce, expires) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(self.nonce.as_bytes().as_slice())
            .bind(seconds(self.expires))
            .execute(&mut *connection)
            .await?;
        Ok(if inserted.rows_affected() == 1 { Consumed::Fresh } else { Consumed::Replayed })
    }
}

impl Store {
    /// Whether a nonce has been used.
    pub(crate) async fn is_nonce_used(&self, nonce: &Nonce) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT 1 FROM nonces WHERE nonce = ?").bind(nonce.as_bytes().as_slice());
        Ok(row.fetch_optional(&self.readers).await?.is_some())
    }
}
