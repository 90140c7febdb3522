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
    challenge: Challenge,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Settings;
    use crate::keys::RootKey;
    use attest_evidence::exchange::{
        ChallengeRequest, Isolation, RawEvidence, SessionEnd, write_exchange, write_session_end_bound,
    };
    use attest_evidence::name::JobSessionId;
    use attest_evidence::time::{Clock as _, SystemClock};
    use attest_evidence::tpm::TpmName;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    async fn broker() -> (tempfile::TempDir, Arc<Broker>) {
        let folder = tempfile::tempdir().unwrap();
        let (database, root) = (folder.path().join("broker.db"), RootKey::generate().unwrap());
        Broker::init(&database, &root, SystemClock.now()).await.unwrap();
        let broker = Broker::open(&database, root, Settings::default(), Arc::new(SystemClock)).await.unwrap();
        (folder, Arc::new(broker))
    }

    /// What begins with a challenge of the broker's.
    fn asked(broker: &Broker) -> Vec<u8> {
        let challenge = broker.challenge(ChallengeRequest { ak: TpmName::of(b"somebody's") }).unwrap();
        let end = SessionEnd { session: JobSessionId::random().unwrap(), isolation: Isolation::Agent };
        let bound = write_session_end_bound(&challenge, &end).unwrap();
        write_exchange(&bound, &RawEvidence { quote: b"", signature: b"", pcrs: b"", logs: Vec::new() }).unwrap()
    }

    async fn refused(broker: &Broker, bytes: &[u8]) -> String {
        let Err(refusal) = broker.challenged(bytes).await else { panic!("it is looked at") };
        refusal.report.code.to_string()
    }

    /// What comes of it: how often.
    #[derive(Clone, Default)]
    struct Came(Arc<AtomicUsize>);

    impl Came {
        fn times(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    impl Transaction for Came {
        type Output = ();

        async fn run(self, _: &mut SqliteConnection) -> Result<(), StoreError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    }

    #[tokio::test]
    async fn while_one_is_answered_another_with_its_challenge_is_not_looked_at() {
        let (_folder, broker) = broker().await;
        let bytes = asked(&broker);
        let challenged = broker.challenged(&bytes).await.unwrap();
        // Nothing of it is on the disk yet: it is held in memory.
        assert!(!broker.store.is_nonce_used(&challenged.challenge.nonce).await.unwrap());
        assert_eq!(refused(&broker, &bytes).await, "AR-X104");
        challenged.commit(Came::default()).await.unwrap();
        drop(challenged);
        assert!(broker.in_answer.0.lock().unwrap().is_empty());
        assert_eq!(refused(&broker, &bytes).await, "AR-X104");
    }

    #[tokio::test]
    async fn who_goes_away_before_the_answer_has_used_the_challenge_up() {
        let (_folder, broker) = broker().await;
        let bytes = asked(&broker);
        let challenged = broker.challenged(&bytes).await.unwrap();
        let nonce = challenged.challenge.nonce.clone();
        drop(challenged);
        // Until it is on the disk nobody else is let in.
        assert_eq!(refused(&broker, &bytes).await, "AR-X104");
        for _ in 0..500 {
            if broker.in_answer.0.lock().unwrap().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(broker.store.is_nonce_used(&nonce).await.unwrap());
        assert_eq!(refused(&broker, &bytes).await, "AR-X104");
    }

    /// Two brokers at one database know nothing of what the other has in memory.
    #[tokio::test]
    async fn of_a_nonce_that_was_used_meanwhile_nothing_comes() {
        let (_folder, broker) = broker().await;
        let bytes = asked(&broker);
        let challenged = broker.challenged(&bytes).await.unwrap();
        broker.store.commit(challenged.consume.clone()).await.unwrap();
        let came = Came::default();
        assert!(matches!(challenged.commit(came.clone()).await, Err(Refused::Replayed)));
        assert_eq!(came.times(), 0);
        // The control: with one that is unused it does.
        let fresh = broker.challenged(&asked(&broker)).await.unwrap();
        fresh.commit(came.clone()).await.unwrap();
        assert_eq!(came.times(), 1);
    }
}
