//! One step, from two open files to a lease that has ended.

mod asked;
mod granted;
mod prepare;
mod refused;
mod run;
mod told;

pub(crate) use granted::{Directories, Granted, HeldSecret};
pub(crate) use prepare::{check_arguments, open_directories};
pub use refused::StepError;
pub(crate) use run::{Work, start_worker};

use crate::agent::{Agent, AgentError};
use crate::boottime::BootInstant;
use crate::egress::Requests;
use crate::exchange::Recipient;
use crate::jobs::{Found, Peer};
use crate::record::Record;
use asked::{Asked, in_words};
use attest_evidence::SecretBytes;
use attest_evidence::exchange::GrantBody;
use attest_evidence::name::{DirectoryName, SecretName, Stage};
use attest_evidence::report::Explain as _;
use attest_spawner::User;
use attest_wire::client::{CiToken, End, Event};
use attest_wire::worker::Level;
use prepare::{Prepared, prepare};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use told::tell_at_the_end;

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
    pub files_of: User,
    /// Who asks.
    pub peer: Peer,
    /// The token of its CI job, if there is one.
    pub token: Option<CiToken>,
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
        check_arguments(&arguments)?;
        phase(events, "read and check", began.elapsed()).await;

        let began = Instant::now();
        let component = prepared.step.component().digest;
        let code = tokio::select! {
            code = self.code(component, &prepared.bytes) => code?,
            () = events.closed() => return Err(StepError::Abandoned.into()),
        };
        if let Some(took) = code.compiled {
            phase(events, "compile", took).await;
        }
        phase(events, "code", began.elapsed().saturating_sub(code.compiled.unwrap_or_default())).await;

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
        let Asked { request: asked, served, waiting } =
            self.request(&prepared, &arguments, stage, session, &recipient).await?;
        // The lease's time counts from before it was asked for: here it never ends later than at the broker.
        let before = BootInstant::now();
        // What takes its time is begun now: the broker takes its own.
        let worker = start_worker(self.spawner(), files_of)?;
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
        // Before anybody is told, who may be slow to hear it.
        let opened = self.open_keys(&body.keys, &served, waiting).await;
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

        let mut record = Record::begin(&body, &asked, prepared.step.manifest().outputs.keys());
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
        let granted = Granted {
            secrets: held(grant.secrets, &body),
            http: body.http.clone(),
            undeclared: body.undeclared,
            served,
            files_of,
            expires,
        };
        let Prepared { step, directories, .. } = prepared;
        let work = Work {
            spawner: self.spawner(),
            worker,
            patterns: self.patterns(),
            requests: Requests::Sent { roots: self.http_roots().to_owned() },
            step: &step,
            code: &code.file,
            record: Some(&mut record),
            events,
        };
        // A key that can't be opened ends the lease like anything else.
        let result = match opened {
            Ok(()) => work.run(arguments, directories, granted, taken).await,
            Err(error) => {
                drop(taken);
                Err(error)
            }
        };
        if let Err(AgentError::Step(StepError::NotStarted(_))) = &result {
            // Code that was not taken is made anew the next time.
            self.code_cache().forget(&component);
        }
        if result.is_ok() {
            let unused = record.unused();
            if !unused.is_empty() {
                tell_at_the_end(events, vec![Event::Unused(unused)]).await;
            }
        }
        let began = Instant::now();
        let ledger = record.finish();
        if let Err(error) =
            lease.end(matches!(result, Ok(End::Done)), async |release| self.close_lease(release, ledger).await).await
        {
            tracing::warn!(lease = %body.lease, %error, "the broker did not hear of the lease's end; it ends it by itself");
        }
        phase(events, "end lease", began.elapsed()).await;
        let commands = self.tpm().commands().saturating_sub(commands_before);
        tell_at_the_end(events, vec![Event::Count { name: "TPM commands".to_owned(), count: commands }]).await;
        result
    }
}

/// The secrets and tokens of a grant, each with what was granted of it.
fn held(secrets: Vec<(SecretName, SecretBytes)>, grant: &GrantBody) -> Vec<HeldSecret> {
    let with_terms = |(name, value): (SecretName, SecretBytes)| {
        let (usage, destinations) = (grant.usage(&name)?, grant.destinations(&name).to_vec());
        Some(HeldSecret { name, usage, destinations, value })
    };
    secrets.into_iter().filter_map(with_terms).collect()
}

async fn phase(events: &mpsc::Sender<Event>, name: &str, took: Duration) {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    tell_at_the_end(events, vec![Event::Phase { name: name.to_owned(), micros }]).await;
}
