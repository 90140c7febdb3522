//! One step, from two open files to a lease that has ended.

use crate::agent::{Agent, AgentError};
use crate::boottime::BootInstant;
use crate::exchange::Recipient;
use crate::jobs::{Found, Peer};
use crate::spawner::WorkerUser;
use crate::worker::{Deed, Served, Worker, WorkerEnd};
use attest_evidence::exchange::{
    BoundDirectory, DirectoryMode, GrantBody, KeyRequest, KeyUse, Request, SecretRequest, SecretUse, StepIdentity,
};
use attest_evidence::name::{DirectoryName, JobSessionId, Stage};
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::{SecretBytes, name::SecretName};
use attest_step::{
    BadManifest, CheckedStep, Component, LONGEST_COMPONENT, LONGEST_MANIFEST, Manifest, NotAComponent, StepKind,
    Uncovered,
};
use attest_wire::Revealed;
use attest_wire::client::{CiToken, End, Event};
use attest_wire::worker::{GrantedDirectory, GrantedKey, GrantedSecret, Level, Outcome, Start, WorkerLimits};
use rustix::fs::{FileType, MemfdFlags, SealFlags};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Most arguments, and bytes of them all: they are hashed, sent and logged with every exchange.
const MOST_ARGUMENTS: usize = 256;
const LONGEST_ARGUMENTS: usize = 32 * 1024;

/// A step to run: open files, not paths, so that what is hashed is what runs.
#[derive(Debug)]
pub struct StepRequest {
    /// The component.
    pub component: OwnedFd,
    /// Its manifest.
    pub manifest: OwnedFd,
    /// The directories that it gets.
    pub directories: Vec<(DirectoryName, OwnedFd)>,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The stage whose secrets and keys it may ask for.
    pub stage: Stage,
    /// Whose rights to files it has.
    pub files_of: WorkerUser,
    /// Who asks.
    pub peer: Peer,
    /// The token of its CI job, if there is one.
    pub token: Option<CiToken>,
}

/// Why a step did not run, or not to a good end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Its component or manifest can't be read.
    #[error("the {what} can't be read: {reason}")]
    Unreadable {
        /// Which.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// Its manifest is none.
    #[error(transparent)]
    Manifest(#[from] BadManifest),
    /// Its component is none.
    #[error(transparent)]
    Component(#[from] NotAComponent),
    /// It imports more than it declares.
    #[error(transparent)]
    Uncovered(#[from] Uncovered),
    /// A declared directory was not given.
    #[error("the step declares directory `{0}`, and none was given")]
    DirectoryMissing(DirectoryName),
    /// A directory was given that is not declared.
    #[error("directory `{0}` was given, and the step does not declare it")]
    DirectoryUndeclared(DirectoryName),
    /// What was given is no directory that a step may have.
    #[error("what was given as directory `{name}` {reason}")]
    NotADirectory {
        /// Which.
        name: DirectoryName,
        /// What it is instead.
        reason: String,
    },
    /// More arguments than can be asked with.
    #[error("a step has at most {MOST_ARGUMENTS} arguments of {LONGEST_ARGUMENTS} bytes in all")]
    Arguments,
    /// It declares what this agent can't give yet.
    #[error("the step declares `{0}`, which this version of the agent does not serve yet")]
    NotServed(String),
    /// Root asked for it, and the workers of an agent touch no file as root.
    #[error("a step of this agent does not run for root: it would touch files as root")]
    RootsFiles,
    /// Its worker could not be told what to run.
    #[error("the worker could not be told what to run: {0}")]
    NotBegun(String),
    /// The walls around it could not be raised.
    #[error("the walls around the step could not be raised: {0}")]
    NoWalls(String),
    /// The engine refused it.
    #[error("the step could not be started: {0}")]
    NotStarted(String),
    /// It trapped.
    #[error("the step trapped: {0}")]
    Trapped(String),
    /// It went over a limit.
    #[error("the step went over its limit of {0}")]
    OverLimit(String),
    /// It took too long.
    #[error("the step did not end within {0} s")]
    TimedOut(u64),
    /// Its worker died.
    #[error("the worker died: {0}")]
    WorkerDied(String),
    /// Its lease was lost.
    #[error("the step's lease was lost: {0}")]
    LeaseLost(String),
    /// Its CI job has ended.
    #[error("the step's CI job has ended")]
    JobEnded,
    /// Whoever asked for it has gone.
    #[error("whoever started the step has gone")]
    Abandoned,
}

impl Explain for StepError {
    fn report(&self) -> Report {
        let report = |code, fault| Report::new(code, fault, self.to_string());
        match self {
            Self::Unreadable { .. } => report("AR-S001", Fault::Environment),
            Self::Manifest(error) => error.report(),
            Self::Component(error) => error.report(),
            Self::Uncovered(error) => error.report(),
            Self::DirectoryMissing(name) => {
                report("AR-S401", Fault::Usage).hint(format!("`--dir {name}=PATH`, before the component's file"))
            }
            Self::DirectoryUndeclared(name) => report("AR-S402", Fault::Usage)
                .hint(format!("leave `--dir {name}=…` out, or declare it in step.toml:\n[dirs.{name}]\nmode = \"read\"\nwhy = \"…\"")),
            Self::NotADirectory { .. } => report("AR-S403", Fault::Usage),
            Self::Arguments => report("AR-S404", Fault::Usage),
            Self::NotServed(_) => report("AR-S407", Fault::Refused)
                .hint("the step did not start, and nothing was asked for it"),
            Self::RootsFiles => report("AR-S406", Fault::Refused)
                .hint("run the job as a user of its own; a CI runner should not be root in any case"),
            Self::NotBegun(_) => report("AR-W201", Fault::Environment),
            Self::NoWalls(_) => report("AR-W202", Fault::Environment)
                .hint("nothing was run. The kernel has to have landlock and seccomp (Linux 5.13 or later)"),
            Self::NotStarted(_) => report("AR-W203", Fault::NotAComponent)
                .hint("the step did not run. Was it built against this version of the contract?"),
            Self::Trapped(_) => report("AR-W301", Fault::Trapped).hint("this is a defect of the step; its log may say more"),
            Self::OverLimit(_) => report("AR-W302", Fault::Trapped)
                .hint("if it needs that much, its step.toml may raise the limit: `[limits]`"),
            Self::TimedOut(_) => report("AR-W303", Fault::TimedOut)
                .hint("if it needs that long, its step.toml may raise the limit: `[limits]` `seconds`"),
            Self::WorkerDied(_) => report("AR-W304", Fault::Trapped)
                .hint("what it held has been given back. If it made a forbidden system call, somebody may have broken out of WebAssembly"),
            Self::LeaseLost(_) => report("AR-X405", Fault::Refused).hint("the step was stopped; whatever it held is not held any more"),
            Self::JobEnded => report("AR-J307", Fault::Refused)
                .hint("the step was stopped; whatever it held is not held any more. The runner's hook ends a job when its last step has"),
            Self::Abandoned => report("AR-S405", Fault::Refused),
        }
    }
}

/// A step that has been read and checked, and not asked for yet.
struct Prepared {
    step: CheckedStep,
    bytes: Vec<u8>,
    directories: Vec<(GrantedDirectory, OwnedFd)>,
}

impl Agent {
    /// Runs a step and tells what happens to it. When the receiver of `events` is dropped the step is stopped.
    ///
    /// Whatever it ends with, nothing is held any more when this returns.
    pub async fn run_step(&self, request: StepRequest, events: mpsc::Sender<Event>) -> End {
        let result = self.try_run_step(request, &events).await;
        match result {
            Ok(end) => end,
            Err(error) => {
                let report = error.report();
                tracing::info!(code = %report.code, what = %report.what, "step ended");
                let audit = match &error {
                    AgentError::Broker(crate::broker::BrokerError::Refused(_, audit)) => audit.clone(),
                    _ => None,
                };
                End::Failed { report, audit }
            }
        }
    }

    async fn try_run_step(&self, request: StepRequest, events: &mpsc::Sender<Event>) -> Result<End, AgentError> {
        let commands_before = self.tpm().commands();
        let StepRequest { component, manifest, directories, arguments, stage, files_of, peer, token } = request;
        if self.spawner().has_own_user() && (files_of.uid == 0 || files_of.gid == 0) {
            return Err(StepError::RootsFiles.into());
        }
        let began = Instant::now();
        let prepared = tokio::task::spawn_blocking(move || prepare(component, manifest, directories))
            .await
            .map_err(|_| StepError::Unreadable { what: "component", reason: "reading it failed".to_owned() })??;
        if arguments.len() > MOST_ARGUMENTS || arguments.iter().map(String::len).sum::<usize>() > LONGEST_ARGUMENTS {
            return Err(StepError::Arguments.into());
        }
        phase(events, "read and check", began.elapsed()).await;

        let began = Instant::now();
        let session = match self.session(&peer, token.as_ref(), false).await? {
            Found::Session(session) => Some(session),
            Found::None => None,
            Found::NotBelieved(what) => {
                let message = format!("{what}: the step runs without a CI job");
                let _ = events.send(Event::Log { level: Level::Warn, message }).await;
                None
            }
        };
        drop(token);
        if session.is_some() {
            phase(events, "job", began.elapsed()).await;
        }
        // From here on, so that no end of the job is missed.
        let job_ends = session.as_ref().map(|session| self.jobs().end_of(session.clone()));
        let recipient = Recipient::generate();
        let (asked, keys) = self.request(&prepared, &arguments, stage, session, &recipient).await?;
        // The lease's time counts from before it was asked for: here it never ends later than at the broker.
        let before = BootInstant::now();
        let (grant, times) = self.exchange(&asked, &recipient).await?;
        phase(events, "challenge", times.challenge).await;
        phase(events, "quote", times.quote).await;
        phase(events, "exchange", times.exchange).await;
        phase(events, "verify grant", times.verify).await;
        let link = self.link().await?;
        let body = grant.body;
        let every = Duration::from_secs(body.heartbeat_seconds.max(1).into());
        let mut lease = link.keeper.take_up(body.lease.clone(), grant.lease_key, every);
        let seconds = body.expires.0.saturating_sub(body.issued.0);
        let told = Event::Granted {
            lease: body.lease.clone(),
            audit: body.audit.clone(),
            seconds,
            handles: in_words(&body, &asked),
            rules: body.rules.clone(),
            policy_version: body.policy_version,
            run_url: body.run_url.clone(),
        };
        let _ = events.send(told).await;

        let served = Served {
            keys: keys
                .into_iter()
                .zip(&body.keys)
                .map(|(key, granted)| (granted.name.clone(), (key, granted.formats.iter().copied().collect())))
                .collect(),
            outputs: prepared.step.manifest().outputs.keys().cloned().collect(),
        };
        let taken = async {
            let job_ended = async {
                match job_ends {
                    Some(ends) => ends.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                reason = lease.lost() => StepError::LeaseLost(reason),
                () = job_ended => StepError::JobEnded,
            }
        };
        let expires = before.after(Duration::from_secs(seconds));
        let result = self.work(prepared, arguments, grant.secrets, served, files_of, expires, taken, events).await;
        let began = Instant::now();
        if let Err(error) =
            lease.end(matches!(result, Ok(End::Done)), async |release| self.close_lease(release, None).await).await
        {
            tracing::warn!(lease = %body.lease, %error, "the broker did not hear of the lease's end; it ends it by itself");
        }
        phase(events, "end lease", began.elapsed()).await;
        let commands = self.tpm().commands().saturating_sub(commands_before);
        let _ = events.send(Event::Count { name: "TPM commands".to_owned(), count: commands }).await;
        result
    }

    /// What the broker is asked, and the keys it is asked about, in the same order.
    async fn request(
        &self,
        prepared: &Prepared,
        arguments: &[String],
        stage: Stage,
        session: Option<JobSessionId>,
        recipient: &Recipient,
    ) -> Result<(Request, Vec<crate::keys::UsableKey>), AgentError> {
        let manifest = prepared.step.manifest();
        let mut keys = Vec::with_capacity(manifest.keys.len());
        let mut asked_keys = Vec::with_capacity(manifest.keys.len());
        for (name, declared) in &manifest.keys {
            let key = self.keys().usable(stage, name).await?;
            asked_keys.push(KeyRequest {
                name: name.clone(),
                usage: KeyUse::Sign,
                formats: declared.formats.clone(),
                public_key: key.public.fingerprint,
                why: declared.why.clone(),
            });
            keys.push(key);
        }
        let secrets = manifest
            .secrets
            .iter()
            .map(|(name, declared)| SecretRequest {
                name: name.clone(),
                usage: declared.usage,
                why: declared.why.clone(),
            })
            .collect();
        let request = Request {
            isolation: self.isolation(),
            session,
            step: StepIdentity { name: manifest.step.name.clone(), stage },
            component: prepared.step.component().digest,
            manifest: manifest.digest(),
            arguments: arguments.to_vec(),
            directories: prepared
                .directories
                .iter()
                .map(|(directory, _)| BoundDirectory {
                    name: directory.name.clone(),
                    mode: directory.mode,
                    why: manifest.dirs.get(&directory.name).map(|declared| declared.why.clone()).unwrap_or_default(),
                })
                .collect(),
            measurement: None,
            hpke_public_key: recipient.public(),
            secrets,
            keys: asked_keys,
            http: Vec::new(),
        };
        Ok((request, keys))
    }

    /// Starts a worker and serves it until the step has ended, one way or another.
    #[expect(clippy::too_many_arguments, reason = "all of them are what one step is")]
    async fn work(
        &self,
        prepared: Prepared,
        arguments: Vec<String>,
        secrets: Vec<(SecretName, SecretBytes)>,
        served: Served,
        files_of: WorkerUser,
        lease_expires: BootInstant,
        taken: impl Future<Output = StepError>,
        events: &mpsc::Sender<Event>,
    ) -> Result<End, AgentError> {
        let began = Instant::now();
        let limits = prepared.step.manifest().limits;
        let (granted, descriptors): (Vec<_>, Vec<_>) = prepared.directories.into_iter().unzip();
        let usage: BTreeMap<_, _> =
            prepared.step.manifest().secrets.iter().map(|(name, declared)| (name.clone(), declared.usage)).collect();
        let start = Start {
            arguments,
            secrets: secrets
                .into_iter()
                .map(|(name, value)| GrantedSecret {
                    revealed: (usage.get(&name) == Some(&SecretUse::Reveal)).then(|| Revealed::new(value)),
                    name,
                })
                .collect(),
            keys: served
                .keys
                .iter()
                .map(|(name, (key, formats))| GrantedKey {
                    name: name.clone(),
                    public_key: key.public.public_key.clone(),
                    formats: formats.iter().copied().collect(),
                    longest_message: key.longest_message(),
                })
                .collect(),
            directories: granted,
            outputs: served.outputs.iter().cloned().collect(),
            limits: WorkerLimits {
                memory: u64::from(limits.memory_mib) << 20,
                output: u64::from(limits.output_mib) << 20,
            },
        };
        let sealed = seal_in_memory(&prepared.bytes)?;
        drop(prepared.bytes);
        let started = self.spawner().spawn(files_of)?;
        let mut all: Vec<BorrowedFd<'_>> = vec![sealed.as_fd()];
        all.extend(descriptors.iter().map(OwnedFd::as_fd));
        let mut worker = Worker::begin(started.channel, started.lifeline, &start, &all, served)
            .map_err(|error| StepError::NotBegun(error.to_string()))?;
        drop(start);

        let (seconds, began_at) = (u64::from(limits.seconds), BootInstant::now());
        let deadline = began_at.after(Duration::from_secs(seconds)).min(lease_expires);
        // Whatever the step, its watcher or the TPM wait for: these end it.
        let stopped = async {
            tokio::select! {
                () = deadline.reached() => StepError::TimedOut(seconds),
                error = taken => error,
                () = events.closed() => StepError::Abandoned,
            }
        };
        let result = tokio::select! {
            result = self.serve_worker(&mut worker, began, events) => result,
            error = stopped => Err(error.into()),
        };
        worker.end().await;
        result
    }

    /// Serves a worker until it has ended by itself.
    async fn serve_worker(
        &self,
        worker: &mut Worker,
        began: Instant,
        events: &mpsc::Sender<Event>,
    ) -> Result<End, AgentError> {
        loop {
            match worker.next(self.tpm()).await {
                Ok(Deed::Compiled { started, compiling }) => {
                    let spawned = began.elapsed().saturating_sub(compiling);
                    phase(events, "start worker", spawned.max(started)).await;
                    phase(events, "compile", compiling).await;
                }
                Ok(Deed::Log { level, message }) => drop(events.send(Event::Log { level, message }).await),
                Ok(Deed::Output { name, value }) => drop(events.send(Event::Output { name, value }).await),
                Ok(Deed::Signed { key }) => tracing::debug!(%key, "signed for a step"),
                Err(WorkerEnd::NeverBegan(reason)) => return Err(StepError::NotBegun(reason).into()),
                Err(WorkerEnd::Died(reason)) => return Err(StepError::WorkerDied(reason).into()),
                Err(WorkerEnd::Outcome(outcome)) => return ended(outcome, events).await,
            }
        }
    }
}

async fn ended(outcome: Outcome, events: &mpsc::Sender<Event>) -> Result<End, AgentError> {
    match outcome {
        Outcome::Succeeded { ran } => {
            phase(events, "run", Duration::from_micros(ran)).await;
            Ok(End::Done)
        }
        Outcome::Failed { code, message } => Ok(End::StepFailed { code: code.clamp(1, 123), message }),
        Outcome::Trapped { reason } => Err(StepError::Trapped(reason).into()),
        Outcome::OverLimit { limit } => Err(StepError::OverLimit(limit).into()),
        Outcome::NotStarted { reason } => Err(StepError::NotStarted(reason).into()),
        Outcome::NoWalls { reason } => Err(StepError::NoWalls(reason).into()),
    }
}

async fn phase(events: &mpsc::Sender<Event>, name: &str, took: Duration) {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let _ = events.send(Event::Phase { name: name.to_owned(), micros }).await;
}

/// What was granted, for the job's log.
fn in_words(grant: &GrantBody, asked: &Request) -> Vec<String> {
    let stage = grant.step.stage;
    let secrets = grant
        .secrets
        .iter()
        .map(|secret| format!("{} {stage}/{} v{}", secret.usage.as_str(), secret.name, secret.version));
    let keys = grant.keys.iter().map(|key| format!("sign with {stage}/{}", key.name));
    let directories = asked.directories.iter().map(|directory| match directory.mode {
        DirectoryMode::Read => format!("read directory {}", directory.name),
        DirectoryMode::Write => format!("write directory {}", directory.name),
    });
    secrets.chain(keys).chain(directories).collect()
}

/// Reads component and manifest, each once, and holds one against the other and against the directories.
fn prepare(component: OwnedFd, manifest: OwnedFd, given: Vec<(DirectoryName, OwnedFd)>) -> Result<Prepared, StepError> {
    let manifest = Manifest::parse(&read("manifest", manifest, LONGEST_MANIFEST)?)?;
    let bytes = read("component", component, LONGEST_COMPONENT)?;
    let step = CheckedStep::check(manifest, Component::inspect(&bytes)?)?;
    if let Some(what) = not_served(&step) {
        return Err(StepError::NotServed(what));
    }
    let mut given: BTreeMap<_, _> = given.into_iter().collect();
    let mut directories = Vec::with_capacity(given.len());
    for (name, declared) in &step.manifest().dirs {
        let directory = given.remove(name).ok_or_else(|| StepError::DirectoryMissing(name.clone()))?;
        check_directory(name, &directory)?;
        directories.push((GrantedDirectory { name: name.clone(), mode: declared.mode }, directory));
    }
    match given.into_keys().next() {
        Some(name) => Err(StepError::DirectoryUndeclared(name)),
        None => Ok(Prepared { step, bytes, directories }),
    }
}

/// What a step declares, or is, that the worker does not know yet.
fn not_served(step: &CheckedStep) -> Option<String> {
    let manifest = step.manifest();
    let secret = manifest.secrets.iter().find(|(_, secret)| secret.usage != SecretUse::Reveal);
    let key = manifest.keys.iter().find(|(_, key)| key.usage != KeyUse::Sign);
    let others = [
        (!manifest.http.is_empty(), "[http]"),
        (manifest.summary.is_some(), "[summary]"),
        (manifest.annotations.is_some(), "[annotations]"),
        (step.kind() == StepKind::Command, "wasi:cli/run"),
    ];
    secret
        .map(|(name, secret)| format!("secrets.{name} use = \"{}\"", secret.usage.as_str()))
        .or_else(|| key.map(|(name, key)| format!("keys.{name} use = \"{}\"", key.usage.as_str())))
        .or_else(|| others.into_iter().find(|(is, _)| *is).map(|(_, what)| what.to_owned()))
}

/// All of a regular file. Others could keep us waiting, or be another thing each time they are read.
fn read(what: &'static str, file: OwnedFd, longest: usize) -> Result<Vec<u8>, StepError> {
    let failed = |reason: String| StepError::Unreadable { what, reason };
    let stat = rustix::fs::fstat(&file).map_err(|error| failed(error.to_string()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(failed("it is not a regular file".to_owned()));
    }
    let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(size.min(longest) + 1);
    let limit = u64::try_from(longest).unwrap_or(u64::MAX).saturating_add(1);
    File::from(file).take(limit).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    Ok(bytes)
}

/// File systems whose files are no files: they speak of, and to, the kernel and its processes
/// (`linux/magic.h`).
const KERNEL_FILE_SYSTEMS: [(i64, &str); 8] = [
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x7363_6673, "securityfs"),
    (0x6367_7270, "cgroup2"),
    (0x0027_e0eb, "cgroup"),
    (0x1cd1, "devpts"),
];

fn check_directory(name: &DirectoryName, directory: &OwnedFd) -> Result<(), StepError> {
    let refused = |reason: String| StepError::NotADirectory { name: name.clone(), reason };
    let stat = rustix::fs::fstat(directory).map_err(|error| refused(format!("can't be looked at: {error}")))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(refused("is not a directory".to_owned()));
    }
    let system = rustix::fs::fstatfs(directory).map_err(|error| refused(format!("can't be looked at: {error}")))?;
    let kernel = KERNEL_FILE_SYSTEMS.into_iter().find(|(magic, _)| system.f_type == *magic);
    match kernel {
        Some((_, system)) => Err(refused(format!("lies in {system}, where no file is just a file"))),
        None => Ok(()),
    }
}

/// The bytes in a file that nobody can change any more: the worker runs what was hashed.
fn seal_in_memory(bytes: &[u8]) -> Result<OwnedFd, StepError> {
    let failed = |reason: String| StepError::NotBegun(reason);
    let memory = rustix::fs::memfd_create("component", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(|error| failed(error.to_string()))?;
    let mut file = File::from(memory);
    file.write_all(bytes).map_err(|error| failed(error.to_string()))?;
    std::io::Seek::rewind(&mut file).map_err(|error| failed(error.to_string()))?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals).map_err(|error| failed(error.to_string()))?;
    Ok(file.into())
}
