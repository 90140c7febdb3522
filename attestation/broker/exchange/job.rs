//! Which CI job it is.

use crate::broker::Broker;
use crate::store::{SessionRow, StoreError};
use attest_appraisal::QuotedHost;
use attest_appraisal::ci::JobClaims;
use attest_evidence::Sha256Digest;
use attest_evidence::name::JobSessionId;
use attest_evidence::report::{Explain, Fault, Report};

/// What is known of the job behind a request, after everything it said about itself was checked.
///
/// Its one constructor is [`VerifiedJob::identify`]. A request that names no job session belongs to no job:
/// policy sees that nothing about a job is known.
#[derive(Debug, Clone)]
pub struct VerifiedJob {
    bound: Sha256Digest,
    job: Option<Job>,
}

/// A job whose CI system has spoken for it.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its session.
    pub session: JobSessionId,
    /// Who issued the token.
    pub issuer: String,
    /// The issuer's ids for it.
    pub key: String,
    /// What the token said.
    pub claims: JobClaims,
    /// SHA-256 of the token, where that is known.
    pub token_digest: Option<Sha256Digest>,
}

/// Why a job is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobRefused {
    /// No CI token was redeemed into this session, or not by this runner: callers learn no more than that.
    #[error("this runner has no job session `{0}`")]
    UnknownSession(JobSessionId),
    /// It was, and it is over.
    #[error("the job session `{0}` has ended")]
    Ended(JobSessionId),
    /// The store can't say.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl VerifiedJob {
    /// Finds the job of the session that a request names. It must have been opened by the attestation key that made
    /// the quote: a session is nothing in the hands of another runner.
    ///
    /// `runner` is the row of that runner.
    ///
    /// # Errors
    /// See [`JobRefused`].
    pub(crate) async fn identify(
        broker: &Broker,
        session: Option<&JobSessionId>,
        host: &QuotedHost,
        runner: i64,
    ) -> Result<Self, JobRefused> {
        let bound = *host.bound();
        let Some(session) = session else { return Ok(Self { bound, job: None }) };
        let row = broker.store().session(session).await?.filter(|row| row.runner_id == runner);
        let row = row.ok_or_else(|| JobRefused::UnknownSession(session.clone()))?;
        if row.ended || row.expires <= broker.now() {
            return Err(JobRefused::Ended(session.clone()));
        }
        let SessionRow { issuer, job: key, claims, token_digest, .. } = row;
        let job = Job { session: session.clone(), issuer, key, claims, token_digest };
        Ok(Self { bound, job: Some(job) })
    }

    /// The job, if there is one.
    pub const fn job(&self) -> Option<&Job> {
        self.job.as_ref()
    }

    /// The request that it is about.
    pub(super) const fn bound(&self) -> &Sha256Digest {
        &self.bound
    }
}

impl Explain for JobRefused {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Identity, self.to_string());
        match self {
            Self::UnknownSession(_) => report("AR-J301").hint(
                "redeem a token of the CI job first. A session is good on the runner that opened it, and nowhere else",
            ),
            Self::Ended(_) => report("AR-J302").hint("the job is over, or has run for longer than a session lasts"),
            Self::Store(error) => crate::server::Refusal::from(error.clone()).report,
        }
    }
}
