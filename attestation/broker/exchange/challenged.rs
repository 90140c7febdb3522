//! A challenge that is being answered: once, by whoever came first.
//!
//! Its nonce is used up in the transaction of what comes of it, so that an exchange that is granted takes one commit. What
//! happens meanwhile is held in memory: two that come with the same challenge are never looked at side by side.

use super::{Refused, challenge_report, malformed_report};
use crate::broker::Broker;
use crate::server::Refusal;
use crate::store::{ConsumeNonce, Consumed, Store, StoreError, Transaction};
use attest_evidence::exchange::{Challenge, Exchange, Nonce};
use sqlx::SqliteConnection;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The nonces of the challenges that are being answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct InAnswer(Arc<Mutex<HashSet<Nonce>>>);

impl InAnswer {
    /// Whether nobody else answers to this nonce now. Then nobody else does until [`Challenged`] is dropped.
    fn take(&self, nonce: &Nonce) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(nonce.clone())
    }
}

/// A challenge of ours that is being answered.
pub(crate) struct Challenged {
    pub(crate) challenge: Challenge,
    store: Store,
    consume: ConsumeNonce,
    used_up: AtomicBool,
    in_answer: InAnswer,
}

impl Challenged {
    /// Commits what comes of it, if its nonce had not been used; then it is now.
    pub(crate) async fn commit<T: Transaction>(&self, transaction: T) -> Result<T::Output, Refused> {
        let consuming = Consuming { consume: self.consume.clone(), transaction };
        let output = self.store.commit(consuming).await?.ok_or(Refused::Replayed)?;
        self.used_up.store(true, Ordering::Relaxed);
        Ok(output)
    }

    /// Uses its nonce up, if nothing came of it.
    async fn use_up(&self) -> Result<(), StoreError> {
        if !self.used_up.load(Ordering::Relaxed) {
            self.store.commit(self.consume.clone()).await?;
            self.used_up.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Whoever asked may have gone before there was an answer: it is used up all the same.
impl Drop for Challenged {
    fn drop(&mut self) {
        let (in_answer, nonce) = (self.in_answer.clone(), self.consume.nonce.clone());
        let free = move || {
            in_answer.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&nonce);
        };
        if self.used_up.load(Ordering::Relaxed) {
            return free();
        }
        let (store, consume) = (self.store.clone(), self.consume.clone());
        tokio::spawn(async move {
            if let Err(error) = store.commit(consume).await {
                tracing::error!(%error, "a nonce could not be used up");
            }
            free();
        });
    }
}

/// A transaction that happens if the nonce is unused; with it, the nonce is used up.
struct Consuming<T> {
    consume: ConsumeNonce,
    transaction: T,
}

impl<T: Transaction> Transaction for Consuming<T> {
    /// None: the nonce had been used.
    type Output = Option<T::Output>;

    async fn run(self, connection: &mut SqliteConnection) -> Result<Option<T::Output>, StoreError> {
        match self.consume.run(&mut *connection).await? {
            Consumed::Fresh => self.transaction.run(connection).await.map(Some),
            Consumed::Replayed => Ok(None),
        }
    }
}

impl Broker {
    /// The challenge in front of `bytes`, if it is ours and nobody has answered it.
    ///
    /// # Errors
    /// The refusal, once that is on the disk.
    pub(crate) async fn challenged(&self, bytes: &[u8]) -> Result<Challenged, Refusal> {
        // Before the challenge is known to be ours there is nothing to remember a refusal by.
        let challenge = Exchange::challenge_of(bytes).map_err(|malformed| Refusal::of(&malformed_report(malformed)))?;
        let now = self.now();
        self.keys.challenge().check(&challenge, now).map_err(|refused| Refusal::of(&challenge_report(refused)))?;
        if !self.in_answer.take(&challenge.nonce) {
            return Err(self.refuse(&challenge, bytes, &Refused::Replayed).await);
        }
        let consume = ConsumeNonce { nonce: challenge.nonce.clone(), expires: challenge.expires, now };
        let (store, in_answer) = (self.store.clone(), self.in_answer.clone());
        let challenged = Challenged { challenge, store, consume, used_up: AtomicBool::new(false), in_answer };
        if self.store.is_nonce_used(&challenged.challenge.nonce).await? {
            challenged.used_up.store(true, Ordering::Relaxed);
            return Err(self.refuse(&challenged.challenge, bytes, &Refused::Replayed).await);
        }
        Ok(challenged)
    }

    /// What is said to whoever asked with it.
    ///
    /// # Errors
    /// The refusal, once that is on the disk.
    pub(crate) async fn answer<T>(
        &self,
        challenged: Challenged,
        bytes: &[u8],
        result: Result<T, Refused>,
    ) -> Result<T, Refusal> {
        challenged.use_up().await?;
        match result {
            Ok(answer) => Ok(answer),
            Err(refused) => Err(self.refuse(&challenged.challenge, bytes, &refused).await),
        }
    }
}
