//! The jobs of this machine, as far as their tokens have been redeemed here.
//!
//! A job is known by who its processes are, by the kernel's word: their user and their control group. A session is
//! remembered for them, and for nobody else, until another job of theirs takes its place or the runner's hook ends it.

use crate::agent::{Agent, AgentError, EMBEDDED};
use crate::boottime::{BootInstant, this_boot};
use crate::broker::BrokerError;
use crate::exchange::GrantRefused;
use crate::state::{State, StateError};
use attest_evidence::exchange::{
    Challenge, RawEvidence, SessionEnd, SessionOpened, SessionRequest, session_end_qualifying_data,
    session_qualifying_data, write_exchange, write_session_bound, write_session_end_bound,
};
use attest_evidence::measurement;
use attest_evidence::name::JobSessionId;
use attest_evidence::report::Escaped;
use attest_evidence::{Malformed, Sha256Digest};
use attest_wire::client::CiToken;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Mutex, broadcast};

const FILE: &str = "jobs.json";
/// Most jobs that are remembered: a machine runs a handful at once.
const MOST_JOBS: usize = 64;

/// Whose processes they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Their user.
    uid: u32,
    /// Digest of their control group's path.
    group: Sha256Digest,
}

impl Peer {
    /// The process at the other end of a connection.
    pub(crate) fn of(pid: rustix::process::Pid, uid: u32) -> Self {
        // A process that is gone, or hidden, is in a group of its own: it shares a job with nobody.
        let group = std::fs::read(format!("/proc/{}/cgroup", pid.as_raw_pid())).ok().filter(|group| !group.is_empty());
        let alone = || {
            static ALONE: AtomicU64 = AtomicU64::new(0);
            let (agent, number) = (std::process::id(), ALONE.fetch_add(1, Ordering::Relaxed));
            format!("alone {agent} {} {number}", BootInstant::now().seconds()).into_bytes()
        };
        Self { uid, group: Sha256Digest::of(&group.unwrap_or_else(alone)) }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    /// Which boot of the machine they are of: no process outlives it, and so no job.
    boot: String,
    jobs: Vec<Job>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Job {
    peer: Peer,
    /// Of the token that was redeemed. The token itself is kept nowhere.
    token: Sha256Digest,
    session: JobSessionId,
    job: String,
    /// Until when the session is good, in seconds since the boot.
    expires: u64,
    /// Whether the runner's hook began it, before any of its steps: then they need no token of their own.
    by_hook: bool,
}

/// The broker's code for a token whose issuer is not on its list.
const UNLISTED_ISSUER: &str = "AR-J102";

/// The job of some processes.
pub(crate) enum Found {
    /// None that is known.
    None,
    /// This one.
    Session(JobSessionId),
    /// They have a token that the broker does not believe, since it does not know who issued it: it says so.
    NotBelieved(String),
}

/// What is remembered, a lock that is held while it changes, and who is told when a job ends.
pub(crate) struct Jobs {
    changing: Mutex<()>,
    ended: broadcast::Sender<JobSessionId>,
}

impl Default for Jobs {
    fn default() -> Self {
        Self { changing: Mutex::default(), ended: broadcast::channel(MOST_JOBS).0 }
    }
}

impl Jobs {
    /// The end of a job, from now on.
    pub(crate) fn end_of(&self, session: JobSessionId) -> impl Future<Output = ()> + use<> {
        let mut ended = self.ended.subscribe();
        async move {
            loop {
                match ended.recv().await {
                    Ok(other) if other != session => {}
                    // So many have ended at once that it may have been among them: it has to begin anew.
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                }
            }
        }
    }
}

impl Agent {
    /// The job of `peer`, if its token has been redeemed here.
    ///
    /// # Errors
    /// What is remembered can't be read.
    pub(crate) async fn known_job(&self, peer: &Peer) -> Result<Option<measurement::Job>, AgentError> {
        let _changing = self.jobs().changing.lock().await;
        let now = BootInstant::now().seconds();
        let own = read(self.state())?.jobs.into_iter().find(|job| job.peer == *peer && job.expires > now);
        Ok(own.map(|job| measurement::Job { session: job.session, job: job.job }))
    }

    /// The session of `peer`'s job. A token that has not been redeemed yet is redeemed for it, by the runner's hook or
    /// by the first of its steps. Without a token only a session that the hook has opened is had: a process that is
    /// left of an earlier job has no token of this one.
    ///
    /// # Errors
    /// The broker does not believe the token, or another machine has redeemed the job.
    pub(crate) async fn session(
        &self,
        peer: &Peer,
        token: Option<&CiToken>,
        by_hook: bool,
    ) -> Result<Found, AgentError> {
        let enrolled = self.state().enrolment()?;
        if enrolled.map_or(self.may_run_a_broker(), |enrolment| enrolment.broker_url == EMBEDDED) {
            // A broker of one's own knows no CI system.
            return Ok(Found::None);
        }
        let _changing = self.jobs().changing.lock().await;
        let now = BootInstant::now().seconds();
        let mut remembered = read(self.state())?;
        remembered.jobs.retain(|job| job.expires > now);
        let own = remembered.jobs.iter().find(|job| job.peer == *peer).cloned();
        let Some(token) = token else {
            let by_hook = own.filter(|job| job.by_hook);
            return Ok(by_hook.map_or(Found::None, |job| Found::Session(job.session)));
        };
        let digest = token.expose(|token| Sha256Digest::of(token.as_bytes()));
        if let Some(job) = own.as_ref().filter(|job| job.token == digest) {
            return Ok(Found::Session(job.session.clone()));
        }
        let held = own.map(|job| job.session);
        match self.redeem(token, held).await {
            Ok(opened) => {
                let SessionOpened { session, job, seconds, run_url } = opened;
                // Another job of these processes takes its place; a fresh token of the same one is remembered with it.
                let known = remembered.jobs.iter().position(|known| known.peer == *peer);
                let known = known.map(|at| remembered.jobs.remove(at)).filter(|known| known.session == session);
                if remembered.jobs.len() >= MOST_JOBS {
                    remembered.jobs.remove(0);
                }
                let job = match known {
                    Some(known) => Job { token: digest, ..known },
                    None => {
                        tracing::info!(%job, %session, %run_url, "a CI job has begun");
                        let (peer, expires) = (peer.clone(), now.saturating_add(seconds));
                        Job { peer, token: digest, session: session.clone(), job, expires, by_hook }
                    }
                };
                remembered.jobs.push(job);
                self.state().write(FILE, &remembered)?;
                Ok(Found::Session(session))
            }
            Err(AgentError::Broker(BrokerError::Refused(report, _))) if report.code.as_str() == UNLISTED_ISSUER => {
                tracing::warn!(what = %Escaped(&report.what), "the step runs without a job");
                Ok(Found::NotBelieved(report.what))
            }
            Err(error) => Err(error),
        }
    }

    /// Ends `peer`'s job: what is left of it gets nothing more, its steps are stopped, and the broker takes what they hold.
    /// `false` if there was none.
    ///
    /// # Errors
    /// The broker did not hear it, or the state can't be written. Here the job has ended all the same.
    pub(crate) async fn end_job(&self, peer: &Peer) -> Result<bool, AgentError> {
        let _changing = self.jobs().changing.lock().await;
        let mut remembered = read(self.state())?;
        let (ended, left): (Vec<_>, Vec<_>) = remembered.jobs.into_iter().partition(|job| job.peer == *peer);
        remembered.jobs = left;
        self.state().write(FILE, &remembered)?;
        for job in &ended {
            tracing::info!(job = %job.job, session = %job.session, "a CI job has ended");
            // Its steps are stopped whether the broker hears it or not.
            let _ = self.jobs().ended.send(job.session.clone());
            let end = SessionEnd { isolation: self.isolation(), session: job.session.clone() };
            let link = self.link().await?;
            let bytes =
                self.attest(|challenge| write_session_end_bound(challenge, &end), session_end_qualifying_data).await?;
            link.client.end_session(bytes).await?;
        }
        Ok(!ended.is_empty())
    }

    async fn redeem(&self, token: &CiToken, held: Option<JobSessionId>) -> Result<SessionOpened, AgentError> {
        let link = self.link().await?;
        let isolation = self.isolation();
        let request = token.expose(|token| SessionRequest { isolation, held, token: token.to_owned() });
        let bytes = self.attest(|challenge| write_session_bound(challenge, &request), session_qualifying_data).await?;
        Ok(link.client.redeem(bytes).await?)
    }

    /// A challenge, answered with a quote over what `write` binds, in the domain that `qualify` is of.
    async fn attest(
        &self,
        write: impl FnOnce(&Challenge) -> Result<Vec<u8>, Malformed>,
        qualify: fn(&Sha256Digest) -> Sha256Digest,
    ) -> Result<Vec<u8>, AgentError> {
        let link = self.link().await?;
        let challenge = link.client.challenge(&link.ak_name).await?;
        let bound = write(&challenge).map_err(GrantRefused::Malformed)?;
        let qualifying = qualify(&Sha256Digest::of(&bound));
        let selection = challenge.selection;
        let quote = self.tpm().run(move |device| device.quote(selection, &qualifying)).await?;
        let pcrs = quote.pcrs.to_bytes();
        let evidence =
            RawEvidence { quote: &quote.message, signature: &quote.signature, pcrs: &pcrs, logs: Vec::new() };
        Ok(write_exchange(&bound, &evidence).map_err(GrantRefused::Malformed)?)
    }
}

/// What is remembered, as far as it is of this boot. What an older version of this program wrote is not.
fn read(state: &State) -> Result<Remembered, StateError> {
    let boot = this_boot();
    let remembered = state.read::<Remembered>(FILE)?.unwrap_or_default();
    // Where nobody says which boot it is, it may be another.
    Ok(if !boot.is_empty() && remembered.boot == boot { remembered } else { Remembered { boot, jobs: Vec::new() } })
}
