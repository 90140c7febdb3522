//! An agent: one TPM, one enrolment, any number of steps.

use crate::boot::BootLog;
use crate::broker::{BrokerClient, BrokerError, BrokerUrl};
use crate::code::CodeCache;
use crate::embedded::{self, BrokerStarting, EmbeddedBroker, EmbeddedError};
use crate::enrol::EnrolError;
use crate::exchange::GrantRefused;
use crate::jobs::{Jobs, Peer};
use crate::keys::{KeyError, KeyStore};
use crate::lease::Keeper;
use crate::leased::Authority;
use crate::measure::{self, MeasureError};
use crate::measured::{Measured, MeasurementList};
use crate::state::{Enrolment, State, StateError};
use crate::step::StepError;
use attest_evidence::exchange::{Isolation, user_qualifying_data};
use attest_evidence::measurement::{Claimed, LONGEST_STATEMENT};
use attest_evidence::name::BrokerId;
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::tpm::{PcrSelection, TpmName};
use attest_leaks::Patterns;
use attest_spawner::{SpawnError, Spawner};
use attest_tpm::{Tpm, TpmError, Transport};
use attest_wire::client::{Answer, Status};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Mutex, Semaphore};

/// What an agent is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where its state lies.
    pub state: PathBuf,
    /// Where its TPM is.
    pub tpm: Transport,
    /// How it is separated from the jobs.
    pub isolation: Isolation,
    /// The firmware's event log of a TPM device, if there is one: [`firmware_log`](crate::firmware_log).
    pub event_log: Option<Vec<u8>>,
    /// What the kernel measures, if it does: [`MeasurementList::of_kernel`].
    pub measurements: Option<MeasurementList>,
    /// The programs that it consists of, by name.
    pub programs: std::collections::BTreeMap<&'static str, PathBuf>,
    /// What the admin declared: compilers and the like.
    pub tools: Vec<PathBuf>,
    /// The program of workers.
    pub worker: PathBuf,
    /// Certificates of servers' roots for steps' requests, beside those of the system: PEM.
    pub http_roots: String,
    /// The program of an embedded broker, for an agent that may start one.
    pub embedded_broker: Option<PathBuf>,
}

/// The name by which an enrolment with an embedded broker is known.
pub(crate) const EMBEDDED: &str = "embedded";

/// An agent.
pub struct Agent {
    settings: Settings,
    state: Arc<State>,
    tpm: Tpm,
    keys: KeyStore,
    spawner: Spawner,
    embedded: Mutex<Embedded>,
    link: Mutex<Option<Arc<Link>>>,
    jobs: Jobs,
    boot: BootLog,
    measured: Measured,
    code: Arc<CodeCache>,
    patterns: Arc<Patterns>,
}

/// The broker that an agent runs itself.
enum Embedded {
    None,
    Starting(BrokerStarting),
    Running(EmbeddedBroker),
}

/// A broker that this agent has enrolled with, and what it takes to ask it.
pub(crate) struct Link {
    pub(crate) client: Arc<BrokerClient>,
    /// Speaks for the leases that are held of it.
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) broker: BrokerId,
    pub(crate) grant_key: Vec<u8>,
    /// The same as a TPM knows it.
    pub(crate) authority: Authority,
    pub(crate) ak_name: TpmName,
    pub(crate) ak: Vec<u8>,
    /// The broker's certificate for it, PEM.
    pub(crate) ak_certificate: String,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.keeper.stop();
    }
}

/// Why an agent could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// Its state.
    #[error(transparent)]
    State(#[from] StateError),
    /// Its TPM.
    #[error(transparent)]
    Tpm(TpmError),
    /// Its broker.
    #[error(transparent)]
    Broker(BrokerError),
    /// The broker that it runs itself.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// Its enrolment.
    #[error(transparent)]
    Enrol(EnrolError),
    /// A grant.
    #[error(transparent)]
    Grant(GrantRefused),
    /// Its keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its workers.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The step.
    #[error(transparent)]
    Step(#[from] StepError),
    /// What it measures.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// What a client says of itself has another form, or is more than can be.
    #[error("what the client says of its environment can't be understood, or is too much")]
    Claimed,
    /// A nonce that is too short to be fresh, or too long.
    #[error("a nonce has 8 to 64 bytes, this has {0}")]
    Nonce(usize),
    /// PCRs that can't be quoted.
    #[error(transparent)]
    Pcrs(#[from] attest_evidence::tpm::PcrSelectionError),
}

impl Explain for AgentError {
    fn report(&self) -> Report {
        match self {
            Self::State(error) => error.report(),
            Self::Tpm(error) => error.report(),
            Self::Broker(error) => error.report(),
            Self::Embedded(error) => error.report(),
            Self::Enrol(error) => error.report(),
            Self::Grant(error) => error.report(),
            Self::Key(error) => error.report(),
            Self::Spawn(error) => error.report(),
            Self::Step(error) => error.report(),
            Self::Measure(error) => error.report(),
            Self::Nonce(_) => Report::new("AR-C102", Fault::Usage, self.to_string()),
            Self::Claimed => Report::new("AR-C302", Fault::Usage, self.to_string())
                .hint("client and agent are of one version: install them together"),
            Self::Pcrs(_) => Report::new("AR-C103", Fault::Usage, self.to_string()),
        }
    }
}

impl Agent {
    /// Starts an agent whose spawner has been started before, and maybe its broker, too.
    ///
    /// # Errors
    /// State or TPM can't be used; see [`AgentError`].
    pub async fn start(
        settings: Settings,
        spawner: Spawner,
        broker: Option<BrokerStarting>,
    ) -> Result<Self, AgentError> {
        let state = Arc::new(State::open(&settings.state)?);
        let enrolment = state.enrolment()?;
        let embedded = broker.map_or(Embedded::None, Embedded::Starting);
        let tpm = Tpm::open(settings.tpm.clone()).await.map_err(AgentError::Tpm)?;
        let boot = BootLog::of(&settings, &state, &tpm).await?;
        let keys = KeyStore::new(Arc::clone(&state), tpm.clone());
        let (embedded, link) = (Mutex::new(embedded), Mutex::new(None));
        let measured = Measured::of(settings.measurements.clone());
        let jobs = Jobs::default();
        // Whose TPM it is shows here first.
        if let Some(enrolment) = enrolment {
            let credentials = enrolment.credentials;
            tpm.run(move |device| device.use_attestation_key(&credentials)).await.map_err(AgentError::Tpm)?;
        }
        let key = keys.code_key(settings.isolation).await?;
        let code = Arc::new(CodeCache::open(state.path().join("code"), &settings.worker, key)?);
        let patterns = Patterns::new();
        Ok(Self { settings, state, tpm, keys, spawner, embedded, link, jobs, boot, measured, code, patterns })
    }

    /// Its TPM.
    pub const fn tpm(&self) -> &Tpm {
        &self.tpm
    }

    /// Its keys.
    pub const fn keys(&self) -> &KeyStore {
        &self.keys
    }

    /// How it is separated from the jobs.
    pub const fn isolation(&self) -> Isolation {
        self.settings.isolation
    }

    /// Whether it runs a broker of its own when it has enrolled with none.
    pub(crate) const fn may_run_a_broker(&self) -> bool {
        self.settings.embedded_broker.is_some()
    }

    pub(crate) const fn boot(&self) -> &BootLog {
        &self.boot
    }

    pub(crate) const fn measured(&self) -> &Measured {
        &self.measured
    }

    pub(crate) fn http_roots(&self) -> &str {
        &self.settings.http_roots
    }

    /// What secrets look like that nobody declared.
    pub(crate) const fn patterns(&self) -> &Arc<Patterns> {
        &self.patterns
    }

    pub(crate) const fn code_cache(&self) -> &Arc<CodeCache> {
        &self.code
    }

    pub(crate) const fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) const fn spawner(&self) -> &Spawner {
        &self.spawner
    }

    /// The broker that it has enrolled with.
    ///
    /// An agent that may run a broker of its own enrols with that when it has none.
    pub(crate) async fn link(&self) -> Result<Arc<Link>, AgentError> {
        if let Some(link) = self.link.lock().await.as_ref() {
            return Ok(Arc::clone(link));
        }
        match self.state.enrolment()? {
            Some(enrolment) => self.take_enrolment(enrolment).await,
            None if self.settings.embedded_broker.is_some() => {
                let token = self.embedded_broker().await?.token().await?;
                tracing::info!("first use: enrolling with a broker on this machine");
                self.enrol(EMBEDDED, &token).await?;
                match self.link.lock().await.as_ref() {
                    Some(link) => Ok(Arc::clone(link)),
                    None => Err(AgentError::Tpm(TpmError::NotEnrolled)),
                }
            }
            None => Err(AgentError::Tpm(TpmError::NotEnrolled)),
        }
    }

    pub(crate) async fn take_enrolment(&self, enrolment: Enrolment) -> Result<Arc<Link>, AgentError> {
        let url = self.resolve(&enrolment.broker_url).await?;
        let client = Arc::new(BrokerClient::new(url, &enrolment.tls_root)?);
        let credentials = enrolment.credentials;
        let ak_name = credentials.name.clone();
        self.tpm.run(move |device| device.use_attestation_key(&credentials)).await?;
        let keeper = Keeper::new(Arc::clone(&client));
        let authority = Authority::of(&enrolment.grant_key).ok_or(GrantRefused::Signature)?;
        let link = Arc::new(Link {
            client,
            keeper,
            broker: enrolment.broker,
            grant_key: enrolment.grant_key,
            authority,
            ak_name,
            ak: enrolment.ak,
            ak_certificate: enrolment.ak_certificate,
        });
        *self.link.lock().await = Some(Arc::clone(&link));
        Ok(link)
    }

    /// Where a broker is. The embedded one is started for the question.
    pub(crate) async fn resolve(&self, url: &str) -> Result<BrokerUrl, AgentError> {
        if url == EMBEDDED && self.settings.embedded_broker.is_some() {
            return Ok(self.embedded_broker().await?.url().clone());
        }
        Ok(url.parse::<BrokerUrl>()?)
    }

    async fn embedded_broker(&self) -> Result<EmbeddedBroker, AgentError> {
        let program = self.settings.embedded_broker.clone().ok_or(AgentError::Tpm(TpmError::NotEnrolled))?;
        let state = self.settings.state.join("broker");
        let mut embedded = self.embedded.lock().await;
        let starting = match std::mem::replace(&mut *embedded, Embedded::None) {
            Embedded::Running(broker) => {
                *embedded = Embedded::Running(broker.clone());
                return Ok(broker);
            }
            Embedded::Starting(starting) => starting,
            Embedded::None => BrokerStarting::begin(&program, &state)
                .map_err(|error| embedded::failed(format!("{}: {error}", program.display())))?,
        };
        let broker = starting.ready(program, state).await?;
        *embedded = Embedded::Running(broker.clone());
        Ok(broker)
    }

    /// A quote for whoever asks, in the domain of users: its qualifying data is never that of an exchange.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn user_quote(&self, nonce: &[u8], pcrs: &str) -> Result<Answer, AgentError> {
        if !(8..=64).contains(&nonce.len()) {
            return Err(AgentError::Nonce(nonce.len()));
        }
        let selection: PcrSelection = pcrs.parse()?;
        let link = self.link().await?;
        let qualifying_data = user_qualifying_data(nonce);
        let quote = self.tpm.run(move |device| device.quote(selection, &qualifying_data)).await?;
        Ok(Answer::Quote {
            message: quote.message,
            signature: quote.signature,
            ak: link.ak.clone(),
            pcrs: quote.pcrs.iter().map(|(index, value)| (index.get(), *value)).collect(),
            qualifying_data,
        })
    }

    /// The statement about this environment, for a client that says `claimed` of its own.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub(crate) async fn measure(&self, peer: &Peer, claimed: &str) -> Result<Answer, AgentError> {
        if claimed.len() > LONGEST_STATEMENT / 2 {
            return Err(AgentError::Claimed);
        }
        let claimed: Claimed = serde_json::from_str(claimed).map_err(|_| AgentError::Claimed)?;
        if !claimed.is_in_bounds() {
            return Err(AgentError::Claimed);
        }
        // It reads all of every program: one at a time.
        static MEASURING: Semaphore = Semaphore::const_new(1);
        let _turn = MEASURING.acquire().await.map_err(|_| AgentError::Claimed)?;
        let selection = PcrSelection::of((0..=9).chain([14]).filter_map(attest_evidence::tpm::PcrIndex::new));
        let pcrs = self.tpm.run(move |device| device.read_pcrs(selection)).await?;
        let enrolment = self.state.enrolment()?;
        let subject = measure::Subject {
            programs: self.settings.programs.clone(),
            tools: self.settings.tools.clone(),
            isolation: self.isolation(),
            pcrs,
            attestation_key: enrolment.map(|enrolment| enrolment.credentials.name),
            job: self.known_job(peer).await?,
            claimed,
        };
        let statement = tokio::task::spawn_blocking(move || {
            let statement = measure::statement(subject)?;
            statement
                .to_bytes()
                .map_err(|error| MeasureError { path: "the statement".into(), reason: error.to_string() })
        });
        let stopped = |_| MeasureError { path: "programs".into(), reason: "stopped".to_owned() };
        let statement = statement.await.map_err(stopped)??;
        Ok(Answer::Statement(String::from_utf8_lossy(&statement).into_owned()))
    }

    /// How it is.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn status(&self) -> Result<Status, AgentError> {
        let handles = self.tpm.run(|device| device.handles()).await?;
        let enrolment = self.state.enrolment()?;
        let broker_answers = match &enrolment {
            None => None,
            Some(_) => match self.link().await {
                Ok(link) => match link.client.health().await {
                    Ok(()) => Some("yes".to_owned()),
                    Err(error) => Some(format!("no: {error}")),
                },
                Err(error) => Some(format!("no: {error}")),
            },
        };
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tpm: self.settings.tpm.to_string(),
            runner: enrolment.as_ref().map(|enrolment| enrolment.runner.clone()),
            broker: enrolment.map(|enrolment| enrolment.broker_url),
            isolation: self.settings.isolation.to_string(),
            tpm_handles: format!(
                "{} persistent, {} transient, {} sessions",
                handles.persistent.len(),
                handles.transient.len(),
                handles.sessions.len()
            ),
            broker_answers,
        })
    }
}
