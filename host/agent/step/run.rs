//! A step at work: its worker, its egress process, and what they do.

use super::granted::{Directories, Granted, Secrets, copies, granted_keys, writable};
use super::told::Told;
use super::{StepError, phase};
use crate::agent::AgentError;
use crate::boottime::BootInstant;
use crate::egress::{self, Egress, Requests};
use crate::process::{Death, Said};
use crate::record::Record;
use crate::screen::Screen;
use crate::search::{LONGEST, LONGEST_AFTER_FAILURE, Moment, Searched, lend};
use crate::worker::{Deed, Worker, WorkerEnd};
use attest_evidence::exchange::Undeclared as BlockOrReport;
use attest_leaks::Patterns;
use attest_spawner::{SpawnError, Spawner, Started, User};
use attest_step::{CheckedStep, StepKind};
use attest_wire::client::{End, Event};
use attest_wire::egress::FromEgress;
use attest_wire::spawner::Spawn;
use attest_wire::worker::{FromWorker, Start, WorkerLimits};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long a worker may still work when its egress has died.
const LONGEST_WITHOUT_EGRESS: Duration = Duration::from_secs(2);

/// A step that shall work, and whom it works for.
pub(crate) struct Work<'a> {
    pub(crate) spawner: &'a Spawner,
    /// Its process, which waits for what to do.
    pub(crate) worker: Started,
    /// What secrets look like that nobody declared.
    pub(crate) patterns: &'a Arc<Patterns>,
    /// Who sends its requests.
    pub(crate) requests: Requests,
    pub(crate) step: &'a CheckedStep,
    /// Its machine code.
    pub(crate) code: &'a OwnedFd,
    pub(crate) record: Option<&'a mut Record>,
    pub(crate) events: &'a mpsc::Sender<Event>,
}

/// Starts a process for a step. It knows nothing yet, and takes its time to come up: that is best spent while a broker decides.
/// Dropped, it is ended.
pub(crate) fn start_worker(spawner: &Spawner, files_of: User) -> Result<Started, SpawnError> {
    spawner.spawn(Spawn::Worker { file_uid: files_of.uid, file_gid: files_of.gid })
}

impl Work<'_> {
    /// Starts worker and egress, and serves them until the step has ended, one way or another.
    pub(crate) async fn run(
        self,
        mut arguments: Vec<String>,
        directories: Directories,
        granted: Granted,
        taken: impl Future<Output = StepError>,
    ) -> Result<End, AgentError> {
        let Self { spawner, worker, patterns, requests, step, code, record, events } = self;
        let Granted { secrets, http, undeclared: block, served, files_of, expires } = granted;
        let manifest = step.manifest();
        let began = Instant::now();
        let kept = copies(&secrets);
        let screen = Screen::new(&kept, patterns).map_err(StepError::from)?;
        let mut told = Told::new(screen, record, events);
        let secrets = Secrets::part(secrets, manifest)?;
        let (directories, mut descriptors): (Vec<_>, Vec<_>) = directories.into_iter().unzip();
        let written = writable(&directories, &descriptors).map_err(|error| StepError::NotBegun(error.to_string()))?;
        if step.kind() == StepKind::Command {
            arguments.insert(0, manifest.step.name.to_string());
        }
        let start = Start {
            arguments,
            environment: secrets.environment,
            secrets: secrets.worker,
            keys: granted_keys(&served),
            directories,
            outputs: served.outputs.iter().cloned().collect(),
            http: !http.is_empty(),
            summary: served.summary,
            annotations: served.annotations,
            limits: WorkerLimits {
                memory: u64::from(manifest.limits.memory_mib) << 20,
                output: u64::from(manifest.limits.output_mib) << 20,
            },
        };
        let mut egress = None;
        if start.http {
            let secrets = egress::narrowed(secrets.http, manifest);
            let (begun, connection) = Egress::begin(spawner, requests, http, secrets)?;
            egress = Some(begun);
            descriptors.push(connection);
        }
        let since = Moment::now();
        let mut all: Vec<BorrowedFd<'_>> = vec![code.as_fd()];
        all.extend(descriptors.iter().map(OwnedFd::as_fd));
        let mut worker =
            Worker::begin(worker, &start, &all, served).map_err(|error| StepError::NotBegun(error.to_string()))?;
        drop(start);
        // Egress ends when the worker's end is closed: only the worker may hold it.
        drop(descriptors);

        let seconds = u64::from(manifest.limits.seconds);
        let time = BootInstant::now().after(Duration::from_secs(seconds));
        // Whatever the step, its watcher or the TPM wait for: these end it.
        let over = async {
            tokio::select! {
                () = expires.reached() => StepError::LeaseLost("its time was up".to_owned()),
                error = taken => error,
                () = events.closed() => StepError::Abandoned,
            }
        };
        tokio::pin!(over);
        let result = tokio::select! {
            result = serve_step(&mut worker, egress.as_mut(), began, &mut told) => result,
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
            let searched = Searched { spawner, files_of, directories: lend(&written), since };
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
            Some(first) if result.is_ok() && block == BlockOrReport::Block => Err(first.into()),
            _ => result,
        }
    }
}

/// Serves worker and egress until the step has ended by itself.
async fn serve_step(
    worker: &mut Worker,
    mut egress: Option<&mut Egress>,
    began: Instant,
    told: &mut Told<'_>,
) -> Result<End, AgentError> {
    if let Some(egress) = egress.as_deref_mut() {
        egress.ready().await?;
    }
    // How egress died, and until when the worker may say how it came to its own end.
    let mut dead: Option<(String, Instant)> = None;
    loop {
        let from_egress = async {
            match egress.as_deref_mut() {
                Some(egress) => egress.said().await,
                None => std::future::pending().await,
            }
        };
        // Only what is heard is waited for side by side: what is being served is served to its end.
        let too_late = async {
            match &dead {
                Some((_, until)) => tokio::time::sleep_until((*until).into()).await,
                None => std::future::pending().await,
            }
        };
        let said = tokio::select! {
            // That a secret came back is not to wait behind what the step says in the meantime.
            biased;
            said = from_egress => Who::Egress(said),
            () = too_late => Who::Nobody,
            // A step waits for its watcher, as long as it may run; its egress does not.
            place = told.events.reserve(), if told.untold.is_some() => {
                // Where nobody watches any more, the step is about to be stopped.
                if let (Ok(place), Some(event)) = (place, told.untold.take()) {
                    place.send(event);
                }
                continue;
            }
            said = worker.said(), if told.untold.is_none() => Who::Worker(said),
        };
        let served = match (said, egress.as_deref_mut()) {
            (Who::Worker(said), _) => worker.serve(said).await,
            (Who::Egress(said), Some(running)) => {
                match running.understood(said).await {
                    Ok(message) => told.hear(message)?,
                    Err(death) => {
                        egress = None;
                        let until = Instant::now() + LONGEST_WITHOUT_EGRESS;
                        dead = (death != Death::Ended).then(|| (death.to_string(), until));
                    }
                }
                continue;
            }
            (Who::Egress(_) | Who::Nobody, _) => Err(WorkerEnd::Died("it did not end without its egress".to_owned())),
        };
        let served = match (served, &dead) {
            (Err(end), Some((reason, _))) => {
                if let WorkerEnd::Outcome(outcome, files) = end {
                    // Its files are in the ledger all the same.
                    let _ = told.ended(outcome, files).await;
                }
                return Err(StepError::EgressDied(reason.clone()).into());
            }
            (served, _) => served,
        };
        match served {
            Ok(None) => {}
            Ok(Some(Deed::Loaded(loading))) => {
                phase(told.events, "start worker", began.elapsed().saturating_sub(loading)).await;
                phase(told.events, "load", loading).await;
            }
            Ok(Some(deed)) => told.tell(deed),
            Err(WorkerEnd::NeverBegan(reason)) => return Err(StepError::NotBegun(reason).into()),
            Err(WorkerEnd::Died(reason)) => return Err(StepError::WorkerDied(reason).into()),
            Err(WorkerEnd::Outcome(outcome, files)) => return told.ended(outcome, files).await,
        }
    }
}

/// Who said something.
enum Who {
    Worker(Said<FromWorker>),
    Egress(Said<FromEgress>),
    /// The worker may not work any longer.
    Nobody,
}
