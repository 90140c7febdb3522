//! An egress process at work: it sends one step's requests, and says what became of them.

use crate::process::{Death, Process, Said};
use crate::spawner::{SpawnError, Spawner};
use crate::step::StepError;
use attest_evidence::SecretBytes;
use attest_evidence::exchange::GrantBody;
use attest_evidence::name::SecretName;
use attest_step::Manifest;
use attest_wire::Revealed;
use attest_wire::egress::{FromEgress, HttpSecret, Start};
use attest_wire::spawner::Spawn;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long it may take to begin: it reads the system's roots, and raises its walls.
const LONGEST_START: Duration = Duration::from_secs(10);

/// An egress process. Dropped, it is ended.
pub(crate) struct Egress(Process<FromEgress>);

/// What it is told: the grant, narrowed by the manifest.
pub(crate) fn start(
    grant: &GrantBody,
    manifest: &Manifest,
    secrets: Vec<(SecretName, SecretBytes)>,
    roots: &str,
) -> Start {
    let secrets = secrets.into_iter().map(|(name, value)| {
        let granted = grant.secrets.iter().find(|granted| granted.name == name);
        let granted = granted.map(|granted| granted.destinations.as_slice()).unwrap_or_default();
        let to = manifest.secrets.get(&name).map(|declared| declared.to.as_slice()).unwrap_or_default();
        let destinations = if to.is_empty() {
            granted.to_vec()
        } else {
            to.iter().flat_map(|to| granted.iter().filter_map(|granted| granted.narrowed(to))).collect()
        };
        HttpSecret { name, value: Revealed::new(value), destinations }
    });
    Start { origins: grant.http.clone(), secrets: secrets.collect(), roots: roots.to_owned() }
}

impl Egress {
    /// Starts one, and gives the worker's end of the connection to it.
    pub(crate) fn begin(spawner: &Spawner, start: &Start) -> Result<(Self, OwnedFd), StepError> {
        let not_begun = |reason: String| StepError::NoEgress(reason);
        let (ours, theirs) = UnixStream::pair().map_err(|error| not_begun(error.to_string()))?;
        let started = spawner.spawn(Spawn::Egress).map_err(|error: SpawnError| not_begun(error.to_string()))?;
        let process =
            Process::begin(started, start, &[theirs.as_fd()]).map_err(|error| not_begun(error.to_string()))?;
        Ok((Self(process), ours.into()))
    }

    /// Waits until it takes requests.
    pub(crate) async fn ready(&mut self) -> Result<(), StepError> {
        match tokio::time::timeout(LONGEST_START, self.0.hear()).await {
            Ok(Ok(FromEgress::Ready)) => Ok(()),
            Ok(Ok(FromEgress::NotStarted { reason })) => Err(StepError::NoEgress(reason)),
            Ok(Ok(_)) => Err(StepError::NoEgress("it spoke out of turn".to_owned())),
            Ok(Err(Death::Died(reason) | Death::NeverBegan(reason))) => Err(StepError::NoEgress(reason)),
            Err(_) => Err(StepError::NoEgress(format!("it was not ready after {} s", LONGEST_START.as_secs()))),
        }
    }

    /// What it says next. May be cancelled, and nothing is lost.
    pub(crate) async fn said(&mut self) -> Said<FromEgress> {
        self.0.said().await
    }

    /// What that means, or how it ended.
    pub(crate) async fn understood(&mut self, said: Said<FromEgress>) -> Result<FromEgress, String> {
        self.0.understood(said).await.map_err(|death| match death {
            Death::Died(how) | Death::NeverBegan(how) => how,
        })
    }

    /// Both at once.
    pub(crate) async fn next(&mut self) -> Result<FromEgress, String> {
        let said = self.said().await;
        self.understood(said).await
    }

    /// Ends it, and waits until it is gone.
    pub(crate) async fn end(self) {
        self.0.end().await;
    }
}
