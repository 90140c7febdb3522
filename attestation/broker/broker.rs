//! What all parts of a running broker share.

use crate::boots::Boots;
use crate::clock::LeaseClock;
use crate::exchange::InAnswer;
use crate::issuers::Issuers;
use crate::keys::{BrokerKeys, KeyError, RootKey, StoredKeys};
use crate::leases::{Gathering, KnownLeases, Taken};
use crate::policy::{Policy, PolicyError};
use crate::refusals::Refusals;
use crate::store::{Store, StoreError};
use crate::timestamps::TimestampAuthority;
use crate::tokens::TokenIssuer;
use attest_evidence::UnixSeconds;
use attest_evidence::report::{Explain, Report};
use attest_evidence::time::Clock;
use attest_evidence::tpm::PcrSelection;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// What an operator may set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The PCRs that quotes must cover.
    pub pcrs: PcrSelection,
    /// Seconds for which a challenge can be answered.
    pub challenge_seconds: u64,
    /// Seconds after which a lease ends, whatever the step says.
    pub lease_seconds: u64,
    /// Seconds between heartbeats.
    pub heartbeat_seconds: u32,
    /// Seconds after which a job session ends, whatever the job says.
    pub session_seconds: u64,
    /// What tokens say in `iss`. Without it none is minted.
    pub token_issuer: Option<TokenIssuer>,
}

impl Settings {
    /// Firmware, boot loader, kernel, and the shim's keys: what a boot leaves unchanged while it lasts
    /// (PC Client Platform Firmware Profile §3.3.4, UAPI Group Linux TPM PCR Registry). And PCR 10, which changes all the
    /// time where the kernel measures, and is followed by its list.
    const PCRS: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14];
}

impl Default for Settings {
    fn default() -> Self {
        let pcrs = PcrSelection::of(Self::PCRS.into_iter().filter_map(attest_evidence::tpm::PcrIndex::new));
        Self {
            pcrs,
            challenge_seconds: 60,
            lease_seconds: 15 * 60,
            heartbeat_seconds: 10,
            session_seconds: 6 * 60 * 60,
            token_issuer: None,
        }
    }
}

/// A broker: its store, its keys, its settings and the policy in force.
pub struct Broker {
    pub(crate) store: Store,
    pub(crate) keys: BrokerKeys,
    pub(crate) settings: Settings,
    pub(crate) lease_clock: LeaseClock,
    pub(crate) taken: Taken,
    pub(crate) known_leases: KnownLeases,
    pub(crate) gathering: Gathering,
    wall: Arc<dyn Clock>,
    pub(crate) refusals: Refusals,
    pub(crate) issuers: Issuers,
    pub(crate) boots: Boots,
    pub(crate) in_answer: InAnswer,
    pub(crate) timestamp_authority: tokio::sync::OnceCell<Arc<TimestampAuthority>>,
    policy: RwLock<Option<Arc<Policy>>>,
    /// Held by whoever compiles a version: the others wait for it.
    compiling: tokio::sync::Mutex<()>,
    /// The version that could not be used, and why.
    broken: Mutex<Option<(i64, PolicyInForceError)>>,
}

/// Why a broker can't start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// Its store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
}

impl Explain for BrokerError {
    fn report(&self) -> Report {
        match self {
            Self::Store(error) => error.report(),
            Self::Keys(error) => error.report(),
        }
    }
}

impl Broker {
    /// Opens the broker whose database is at `database`.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn open(
        database: &Path,
        root: RootKey,
        settings: Settings,
        wall: Arc<dyn Clock>,
    ) -> Result<Self, BrokerError> {
        let store = Store::open(database, false).await?;
        let stored = store
            .broker_keys()
            .await?
            .ok_or(StoreError::Missing { kind: "broker in this database", name: database.display().to_string() })?;
        let keys = BrokerKeys::open(root, stored)?;
        let lease_clock = LeaseClock::open(&store, &*wall).await?;
        Ok(Self {
            store,
            keys,
            settings,
            lease_clock,
            taken: Taken::default(),
            known_leases: KnownLeases::default(),
            gathering: Gathering::default(),
            wall,
            refusals: Refusals::default(),
            issuers: Issuers::default(),
            boots: Boots::default(),
            in_answer: InAnswer::default(),
            timestamp_authority: tokio::sync::OnceCell::new(),
            policy: RwLock::new(None),
            compiling: tokio::sync::Mutex::new(()),
            broken: Mutex::default(),
        })
    }

    /// Makes the database and the keys of a new broker.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if there is one already.
    pub async fn init(database: &Path, root: &RootKey, now: UnixSeconds) -> Result<StoredKeys, BrokerError> {
        let store = Store::open(database, true).await?;
        if let Some(stored) = store.broker_keys().await? {
            return Err(StoreError::Exists(stored.id.to_string()).into());
        }
        let stored = BrokerKeys::generate(root, now)?;
        store.commit(crate::store::AddBroker { keys: stored.clone(), created: now }).await?;
        Ok(stored)
    }

    /// The broker's store.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The broker's keys.
    pub const fn keys(&self) -> &BrokerKeys {
        &self.keys
    }

    /// The lease clock, which nobody sets: for leases, sessions and challenges.
    pub fn now(&self) -> UnixSeconds {
        self.lease_clock.now()
    }

    /// The wall clock: for tokens, certificates and the audit log.
    pub fn wall(&self) -> UnixSeconds {
        self.wall.now()
    }

    fn broken_policy(&self, version: i64) -> Option<PolicyInForceError> {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone();
        broken.filter(|(of, _)| *of == version).map(|(_, error)| error)
    }

    fn held_policy(&self, version: i64) -> Option<Arc<Policy>> {
        let held = self.policy.read().unwrap_or_else(PoisonError::into_inner).clone();
        held.filter(|policy| policy.version() == version)
    }

    /// The policy in force, compiled; compiled anew when another version has been applied, once for all who ask.
    pub(crate) async fn policy(self: &Arc<Self>) -> Result<Arc<Policy>, PolicyInForceError> {
        let version = self.store.policy_version().await?;
        if let Some(policy) = self.held_policy(version) {
            return Ok(policy);
        }
        if let Some(error) = self.broken_policy(version) {
            return Err(error);
        }
        let broker = Arc::clone(self);
        // A task of its own: whoever asked first may give up waiting, and the others must not begin anew.
        let compiled = tokio::spawn(async move {
            let _compiling = broker.compiling.lock().await;
            if let Some(policy) = broker.held_policy(version) {
                return Ok(policy);
            }
            if let Some(error) = broker.broken_policy(version) {
                return Err(error);
            }
            let row = broker.store.policy(version).await?.ok_or(PolicyInForceError::None)?;
            let compile = move || Policy::compile(row.version, &row.text, &row.entities);
            let compiled = tokio::task::spawn_blocking(compile).await.map_err(|_| PolicyInForceError::Crashed);
            let policy = match compiled.and_then(|compiled| Ok(Arc::new(compiled?))) {
                Ok(policy) => policy,
                Err(error) => {
                    // It is no better the next time.
                    *broker.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some((version, error.clone()));
                    return Err(error);
                }
            };
            *broker.policy.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&policy));
            Ok(policy)
        });
        compiled.await.map_err(|_| PolicyInForceError::Crashed)?
    }
}

/// Why there is no policy to ask. Without one nothing is released.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PolicyInForceError {
    #[error("no policy has been applied")]
    None,
    /// A defect of this program.
    #[error("the policy in force could not be compiled")]
    Crashed,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
}
