//! An egress process at work: it sends one step's requests, and says what became of them.

use crate::process::{Death, Process, Said, messages};
use crate::step::{HeldSecret, StepError};
use attest_egress::{Granted, Hosts, Resolve, Servers};
use attest_evidence::exchange::GrantedOrigin;
use attest_evidence::name::SecretName;
use attest_spawner::{SpawnError, Spawner};
use attest_step::Manifest;
use attest_wire::egress::{FromEgress, HttpSecret, Start};
use attest_wire::spawner::Spawn;
use attest_wire::{FrameWriter, Revealed, WireError, split};
use rustix::net::sockopt::{set_socket_send_buffer_size, set_socket_send_buffer_size_force};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Bytes that may be on their way from a worker to its egress: each works on while the other waits for its processor.
const ON_ITS_WAY: usize = 4 << 20;
/// How long it may take to begin: it reads the system's roots, and raises its walls.
const LONGEST_START: Duration = Duration::from_secs(10);

/// Who sends a step's requests.
pub(crate) enum Requests {
    /// A process, which trusts these roots beside those of the system: PEM.
    Sent { roots: String },
    /// Nobody: canned servers answer them.
    Rehearsed(Rehearsed),
}

/// What stands in for the network in a rehearsal.
pub(crate) struct Rehearsed {
    /// Who answers.
    pub(crate) servers: Box<dyn Servers>,
    /// Where names lead.
    pub(crate) names: Box<dyn Resolve>,
    /// Secrets that may stand in any place of a request.
    pub(crate) in_any_place: Vec<SecretName>,
}

/// Whoever sends a step's requests. Dropped, it is ended.
pub(crate) enum Egress {
    /// A process.
    Process(Process<FromEgress>),
    /// A stand-in within this process.
    StandIn(StandIn),
}

/// Egress's own code in this process, with canned servers where it would connect to others. Dropped, it is ended.
pub(crate) struct StandIn {
    messages: mpsc::Receiver<Result<FromEgress, WireError>>,
    task: JoinHandle<()>,
    /// Held for its other end: without it, the stand-in takes this side for gone.
    _held: FrameWriter,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The secrets for requests, with their destinations as far as the manifest wants them.
pub(crate) fn narrowed(secrets: Vec<HeldSecret>, manifest: &Manifest) -> Vec<HttpSecret> {
    let secrets = secrets.into_iter().map(|HeldSecret { name, destinations: granted, value, .. }| {
        let to = manifest.narrowed_to(&name);
        let destinations = if to.is_empty() {
            granted
        } else {
            to.iter().flat_map(|to| granted.iter().filter_map(|granted| granted.narrowed(to))).collect()
        };
        HttpSecret { name, value: Revealed::new(value), destinations }
    });
    secrets.collect()
}

fn not_begun(error: impl ToString) -> StepError {
    StepError::NoEgress(error.to_string())
}

impl Egress {
    /// Starts one, and gives the worker's end of the connection to it.
    pub(crate) fn begin(
        spawner: &Spawner,
        requests: Requests,
        origins: Vec<GrantedOrigin>,
        secrets: Vec<HttpSecret>,
    ) -> Result<(Self, OwnedFd), StepError> {
        let (ours, theirs) = UnixStream::pair().map_err(not_begun)?;
        // The worker's end: uploads are larger than what is downloaded. Where the system allows less, it is less.
        let _ = set_socket_send_buffer_size_force(&ours, ON_ITS_WAY)
            .or_else(|_| set_socket_send_buffer_size(&ours, ON_ITS_WAY));
        let begun = match requests {
            Requests::Sent { roots } => {
                let start = Start { origins, secrets, roots };
                let started = spawner.spawn(Spawn::Egress).map_err(|error: SpawnError| not_begun(error))?;
                Self::Process(Process::begin(started, &start, &[theirs.as_fd()]).map_err(not_begun)?)
            }
            Requests::Rehearsed(rehearsed) => Self::StandIn(StandIn::begin(theirs, rehearsed, origins, secrets)?),
        };
        Ok((begun, ours.into()))
    }

    /// Waits until it takes requests.
    pub(crate) async fn ready(&mut self) -> Result<(), StepError> {
        let Self::Process(process) = self else { return Ok(()) };
        match tokio::time::timeout(LONGEST_START, process.hear()).await {
            Ok(Ok(FromEgress::Ready)) => Ok(()),
            Ok(Ok(FromEgress::NotStarted { reason })) => Err(StepError::NoEgress(reason)),
            Ok(Ok(_)) => Err(StepError::NoEgress("it spoke out of turn".to_owned())),
            Ok(Err(death)) => Err(StepError::NoEgress(death.to_string())),
            Err(_) => Err(StepError::NoEgress(format!("it was not ready after {} s", LONGEST_START.as_secs()))),
        }
    }

    /// What it says next. May be cancelled, and nothing is lost.
    pub(crate) async fn said(&mut self) -> Said<FromEgress> {
        match self {
            Self::Process(process) => process.said().await,
            Self::StandIn(stand_in) => Said(stand_in.messages.recv().await),
        }
    }

    /// What that means, or how it ended. As it should it ends when its worker has closed the connection.
    pub(crate) async fn understood(&mut self, said: Said<FromEgress>) -> Result<FromEgress, Death> {
        match (self, said) {
            (Self::Process(process), said) => process.understood(said).await,
            (Self::StandIn(_), Said(Some(Ok(message)))) => Ok(message),
            (Self::StandIn(_), Said(Some(Err(WireError::Closed)) | None)) => Err(Death::Ended),
            (Self::StandIn(_), Said(Some(Err(error)))) => Err(Death::Died(error.to_string())),
        }
    }

    /// Both at once.
    pub(crate) async fn next(&mut self) -> Result<FromEgress, Death> {
        let said = self.said().await;
        self.understood(said).await
    }

    /// Ends it, and waits until it is gone.
    pub(crate) async fn end(self) {
        match self {
            Self::Process(process) => process.end().await,
            Self::StandIn(stand_in) => drop(stand_in),
        }
    }
}

impl StandIn {
    fn begin(
        worker: UnixStream,
        rehearsed: Rehearsed,
        origins: Vec<GrantedOrigin>,
        secrets: Vec<HttpSecret>,
    ) -> Result<Self, StepError> {
        let Rehearsed { servers, names, in_any_place } = rehearsed;
        let granted = Granted::new(origins, secrets)?;
        let granted = in_any_place.iter().fold(granted, Granted::in_any_place);
        worker.set_nonblocking(true).map_err(not_begun)?;
        let worker = tokio::net::UnixStream::from_std(worker).map_err(not_begun)?;
        let (ours, theirs) = UnixStream::pair().map_err(not_begun)?;
        let (told, held) = split(ours).map_err(not_begun)?;
        let theirs = split(theirs).map_err(not_begun)?;
        let task = tokio::spawn(async move {
            if let Err(error) = attest_egress::rehearse(theirs, worker, granted, Hosts::new(names), servers).await {
                tracing::debug!(%error, "a stand-in for egress has ended");
            }
        });
        Ok(Self { messages: messages(told), task, _held: held })
    }
}
