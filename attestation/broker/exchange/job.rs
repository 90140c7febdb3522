//! Which CI job it is.

use attest_appraisal::AppraisedHost;
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
}

/// Why a job is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobRefused {
    /// No CI token was redeemed into this session.
    #[error("there is no job session `{0}`")]
    UnknownSession(JobSessionId),
}

impl VerifiedJob {
    /// Finds the job of the session that a request names.
    ///
    /// # Errors
    /// [`JobRefused::UnknownSession`]. This broker redeems no CI tokens yet, so that it knows no session.
    pub fn identify(session: Option<&JobSessionId>, host: &AppraisedHost) -> Result<Self, JobRefused> {
        match session {
            None => Ok(Self { bound: *host.bound() }),
            Some(session) => Err(JobRefused::UnknownSession(session.clone())),
        }
    }

    /// The request that it is about.
    pub(super) const fn bound(&self) -> &Sha256Digest {
        &self.bound
    }
}

impl Explain for JobRefused {
    fn report(&self) -> Report {
        Report::new("AR-X201", Fault::Identity, self.to_string())
    }
}
