//! A step at work: its worker, its egress process, and what they do.

use super::prepare::Prepared;
use super::told::Told;
use super::{StepError, phase};
use crate::agent::{Agent, AgentError};
use crate::boottime::BootInstant;
use crate::egress::{self, Egress};
use crate::process::Said;
use crate::record::Record;
use crate::screen::Screen;
use crate::search::{LONGEST, LONGEST_AFTER_FAILURE, Moment, Searched, lend};
use crate::spawner::User;
use crate::worker::{Deed, Served, Worker, WorkerEnd};
use attest_evidence::SecretBytes;
use attest_evidence::exchange::{DirectoryMode, GrantBody, SecretUse, Undeclared as BlockOrReport};
use attest_evidence::name::{DirectoryName, SecretName};
use attest_step::{Manifest, StepKind};
use attest_wire::Revealed;
use attest_wire::client::{End, Event};
use attest_wire::egress::FromEgress;
use attest_wire::spawner::Spawn;
use attest_wire::worker::{
    FromWorker, GrantedDirectory, GrantedKey, GrantedKeyUse, GrantedSecret, Start, Variable, WorkerLimits,
};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long a worker may take to say how it ended when its egress has.
const LONGEST_FAREWELL: Duration = Duration::from_secs(2);

/// What a step was granted, and until when it may have it.
pub(super) struct Granted<'a> {
    /// The machine code that runs.
    pub(super) code: &'a OwnedFd,
    pub(super) body: &'a GrantBody,
    pub(super) secrets: Vec<(SecretName, SecretBytes)>,
    pub(super) served: Served,
    pub(super) files_of: User,
    pub(super) expires: BootInstant,
}

/// The secrets of a grant, by where they go.
#[derive(Default)]
struct Secrets {
    http: Vec<(SecretName, SecretBytes)>,
    worker: Vec<GrantedSecret>,
    environment: Vec<Variable>,
}

impl Secrets {
    fn part(all: Vec<(SecretName, SecretBytes)>, grant: &GrantBody, manifest: &Manifest) -> Result<Self, StepError> {
        let mut parted = Self::default();
        for (name, value) in all {
            let usage = grant.secrets.iter().find(|granted| granted.name == name).map(|granted| granted.usage);
            match usage {
                Some(SecretUse::Reveal) => {
                    parted.worker.push(GrantedSecret { name, revealed: Some(Revealed::new(value)) });
                }
                Some(SecretUse::Env) => {
                    if value.expose(|value| std::str::from_utf8(value).is_err()) {
                        return Err(StepError::NotText(name));
                    }
                    let variable = manifest.secrets.get(&name).and_then(|declared| declared.variable.clone());
                    let variable = variable.unwrap_or_default();
                    parted.environment.push(Variable { name: variable, value: Revealed::new(value) });
                }
                Some(SecretUse::Http) => {
                    parted.worker.push(GrantedSecret { name: name.clone(), revealed: None });
                    parted.http.push((name, value));
                }
                None => {}
            }
        }
        Ok(parted)
    }
}

/// Copies for the search of what the step has written: the others are given away.
fn copies(secrets: &[(SecretName, SecretBytes)]) -> Vec<(SecretName, SecretBytes)> {
    let copy = |value: &SecretBytes| SecretBytes::new(value.expose(<[u8]>::to_vec));
    secrets.iter().map(|(name, value)| (name.clone(), copy(value))).collect()
}

/// The directories that the step may write to, with descriptors of their own.
fn writable(
    directories: &[GrantedDirectory],
    descriptors: &[OwnedFd],
) -> std::io::Result<Vec<(DirectoryName, OwnedFd)>> {
    let all = directories.iter().zip(descriptors);
    all.filter(|(directory, _)| directory.mode == DirectoryMode::Write)
        .map(|(directory, descriptor)| Ok((directory.name.clone(), descriptor.try_clone()?)))
        .collect()
}

/// The keys that a worker may ask for, as it is told.
fn granted_keys(served: &Served) -> Vec<GrantedKey> {
    let signing = served.signing.iter().map(|(name, (key, formats))| GrantedKey {
        name: name.clone(),
        usage: GrantedKeyUse::Sign {
            public_key: key.public.public_key.clone(),
            formats: formats.iter().copied().collect(),
            longest_message: key.longest_message(),
        },
    });
    let derivation =
        served.derivation.keys().map(|name| GrantedKey { name: name.clone(), usage: GrantedKeyUse::Derive });
    signing.chain(derivation).collect()
}

impl Agent {
    /// Starts worker and egress, and serves them until the step has ended, one way or another.
    pub(super) async fn work(
        &self,
        prepared: Prepared,
        mut arguments: Vec<String>,
        granted: Granted<'_>,
        taken: impl Future<Output = StepError>,
        record: &mut Record,
        events: &mpsc::Sender<Event>,
    ) -> Result<End, AgentError> {
        let Granted { code, body, secrets, served, files_of, expires } = granted;
        let manifest = prepared.step.manifest();
        let began = Instant::now();
        let screen = Screen::new(&secrets, self.patterns()).map_err(StepError::from)?;
        let mut told = Told::new(screen, record, events);
        let kept = copies(&secrets);
        let secrets = Secrets::part(secrets, body, manifest)?;
        let (directories, mut descriptors): (Vec<_>, Vec<_>) = prepared.directories.into_iter().unzip();
        let written = writable(&directories, &descriptors).map_err(|error| StepError::NotBegun(error.to_string()))?;
        if prepared.step.kind() == StepKind::Command {
            arguments.insert(0, manifest.step.name.to_string());
        }
        let start = Start {
            arguments,
            environment: secrets.environment,
            secrets: secrets.worker,
            keys: granted_keys(&served),
            directories,
            outputs: served.outputs.iter().cloned().collect(),
            http: !body.http.is_empty(),
            summary: served.summary,
            annotations: served.annotations,
            limits: WorkerLimits {
                memory: u64::from(manifest.limits.memory_mib) << 20,
                output: u64::from(manifest.limits.output_mib) << 20,
            },
        };
        let mut egress = None;
        if start.http {
            let start = egress::start(body, manifest, secrets.http, self.http_roots());
            let (begun, connection) = Egress::begin(self.spawner(), &start)?;
            egress = Some(begun);
            descriptors.push(connection);
        }
        let since = Moment::now();
        let worker = Spawn::Worker { file_uid: files_of.uid, file_gid: files_of.gid };
        let started = self.spawner().spawn(worker)?;
        let mut all: Vec<BorrowedFd<'_>> = vec![code.as_fd()];
        all.extend(descriptors.iter().map(OwnedFd::as_fd));
        let mut worker =
            Worker::begin(started, &start, &all, served).map_err(|error| StepError::NotBegun(error.to_string()))?;
        drop(start);
        // Egress ends when the worker's end is closed: only the worker may hold it.
        drop(descriptors);

        let seconds = u64::from(manifest.limits.seconds);
        let time = BootInstant::now().after(Duration::from_secs(seconds));
        // Whatever the step, its watcher or the TPM wait for: these end it.
        let over = async {
            tokio::select! {
                () = expires.reached() => StepError::TimedOut(seconds),
                error = taken => error,
                () = events.closed() => StepError::Abandoned,
            }
        };
        tokio::pin!(over);
        let result = tokio::select! {
            result = self.serve_step(&mut worker, egress.as_mut(), began, &mut told) => result,
            () = time.reached() => Err(StepError::TimedOut(seconds).into()),
            error = &mut over => Err(error.into()),
        };
        worker.end().await;
        let late = match egress {
            Some(egress) => told.hear_rest(egress).await,
            None => Ok(()),
        };
        // What was heard too late to stop the step is no less true.
        let mut result = match late {
            // Whatever else went wrong, it went wrong because of this.
            Err(error @ StepError::CameBack { .. }) => Err(error.into()),
            late => result.and_then(|end| Ok(late.map(|()| end)?)),
        };
        told.finish().await;
        let mut undeclared = told.undeclared_so_far();
        if !written.is_empty() {
            let began = Instant::now();
            let searched = Searched { spawner: self.spawner(), files_of, directories: lend(&written), since };
            let search = async {
                match &result {
                    // What ends a step ends its search.
                    Ok(_) => tokio::select! {
                        found = searched.search(kept, LONGEST) => found,
                        error = over => Err(error),
                    },
                    Err(_) => searched.search(kept, LONGEST_AFTER_FAILURE).await,
                }
            };
            match search.await {
                Ok(found) => undeclared.extend(found),
                Err(error) => {
                    let error = told.found(error);
                    // The first that went wrong is told; that a secret stands in a file is told in any case.
                    if result.is_ok() || matches!(error, StepError::InFile { .. }) {
                        result = Err(error.into());
                    }
                }
            }
            phase(events, "search files", began.elapsed()).await;
        }
        match told.undeclared(undeclared).await {
            Some(first) if result.is_ok() && body.undeclared == BlockOrReport::Block => Err(first.into()),
            _ => result,
        }
    }

    /// Serves worker and egress until the step has ended by itself.
    async fn serve_step(
        &self,
        worker: &mut Worker,
        mut egress: Option<&mut Egress>,
        began: Instant,
        told: &mut Told<'_>,
    ) -> Result<End, AgentError> {
        if let Some(egress) = egress.as_deref_mut() {
            egress.ready().await?;
        }
        loop {
            let from_egress = async {
                match egress.as_deref_mut() {
                    Some(egress) => egress.said().await,
                    None => std::future::pending().await,
                }
            };
            // Only what is heard is waited for side by side: what is being served is served to its end.
            let said = tokio::select! {
                // That a secret came back is not to wait behind what the step says in the meantime.
                biased;
                said = from_egress => Who::Egress(said),
                said = worker.said() => Who::Worker(said),
            };
            let said = match (said, egress.as_deref_mut()) {
                (Who::Worker(said), _) => said,
                (Who::Egress(_), None) => continue,
                (Who::Egress(said), Some(running)) => match running.understood(said).await {
                    Ok(message) => {
                        told.hear(message)?;
                        continue;
                    }
                    // It ends when its worker does: which of the two began it?
                    Err(reason) => {
                        let worker = tokio::time::timeout(LONGEST_FAREWELL, worker.said()).await;
                        egress = None;
                        worker.map_err(|_| StepError::EgressDied(reason))?
                    }
                },
            };
            match worker.serve(said, self.tpm()).await {
                Ok(None) => {}
                Ok(Some(Deed::Loaded { started, loading })) => {
                    let spawned = began.elapsed().saturating_sub(loading);
                    phase(told.events, "start worker", spawned.max(started)).await;
                    phase(told.events, "load", loading).await;
                }
                Ok(Some(deed)) => told.tell(deed).await,
                Err(WorkerEnd::NeverBegan(reason)) => return Err(StepError::NotBegun(reason).into()),
                Err(WorkerEnd::Died(reason)) => return Err(StepError::WorkerDied(reason).into()),
                Err(WorkerEnd::Outcome(outcome, files)) => return told.ended(outcome, files).await,
            }
        }
    }
}

/// Who said something.
enum Who {
    Worker(Said<FromWorker>),
    Egress(Said<FromEgress>),
}
