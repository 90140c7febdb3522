//! Redemptions: a CI token becomes a job session, once.

use super::{Challenged, JobRefused, Refused, VerifiedJob};
use crate::audit::{Entry, Kind};
use crate::broker::Broker;
use crate::issuers::IssuerError;
use crate::server::Refusal;
use crate::signatures::AwsLc;
use crate::store::{EndSession, OpenSession, Opened, StoreError};
use attest_appraisal::ci::{TokenRefused, UnverifiedToken, VerifiedToken};
use attest_appraisal::{Purpose, QuotedHost};
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::{Exchange, SessionEnd, SessionOpened, SessionRequest};
use attest_evidence::name::JobSessionId;
use attest_evidence::report::{Explain, Fault, Report};
use serde_json::json;

/// Why a token opens no session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SessionRefused {
    #[error(transparent)]
    Token(#[from] TokenRefused),
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// First redeemer wins. Who comes second may be a thief, or may have been robbed: somebody has to look.
    #[error("the CI job {job} has redeemed a token before")]
    RedeemedBefore { job: String },
    /// Other processes of the runner have the session.
    #[error("this runner has redeemed the CI job {job} before, for other processes")]
    RedeemedHere { job: String },
}

impl Explain for SessionRefused {
    fn report(&self) -> Report {
        let report = |code, fault| Report::new(code, fault, self.to_string());
        match self {
            Self::Token(refused) => refused.report(),
            Self::Issuer(error) => error.report(),
            Self::RedeemedBefore { .. } => report("AR-J303", Fault::Identity).hint(
                "a job redeems once, at its start. If this is the start, another step of the job, or another machine, was first: tell whoever runs the broker",
            ),
            Self::RedeemedHere { job } => report("AR-J306", Fault::Identity)
                .fact("job", job)
                .hint("the session belongs to the processes that redeemed first: the same user, the same control group. If those are not the job's, tell whoever runs the broker"),
        }
    }
}

impl Broker {
    /// Redeems a CI token: the session, once it is on the disk.
    ///
    /// # Errors
    /// The refusal, once that is on the disk.
    pub(crate) async fn redeem(&self, bytes: &[u8]) -> Result<SessionOpened, Refusal> {
        let challenged = self.challenged(bytes).await?;
        let result = self.open_session(bytes, &challenged).await;
        self.answer(challenged, bytes, result).await
    }

    async fn open_session(&self, bytes: &[u8], challenged: &Challenged) -> Result<SessionOpened, Refused> {
        let exchange = Exchange::parse(bytes)?;
        let request = SessionRequest::parse(exchange.request)?;
        let row = self.store.runner_by_key(&exchange.challenge.ak).await?.ok_or(Refused::UnknownRunner)?;
        let host = QuotedHost::verify(&exchange, Purpose::Session, request.isolation, &row.runner, &AwsLc)?;
        self.followed(&host, row.id).await?;
        let token = self.verify_token(&request.token).await?;
        let now = self.now();
        let id = JobSessionId::random().map_err(|_| StoreError::Database("no randomness".to_owned()))?;
        let expires = now.plus(self.settings.session_seconds);
        let body = json!({
            "session": id, "runner": host.runner(), "issuer": token.issuer(), "job": token.job(), "token": token.id(),
            "claims": token.claims(), "seconds": self.settings.session_seconds,
        });
        let opened = SessionOpened {
            session: id.clone(),
            job: token.job().to_string(),
            seconds: self.settings.session_seconds,
            run_url: token.claims().run_url.clone(),
        };
        let audit = Entry::new(self.wall(), Kind::Session, &body)?;
        let clock = host.quote().clock();
        let token_digest = Sha256Digest::of(request.token.as_bytes());
        let open = OpenSession { id, runner_id: row.id, clock, token, token_digest, now, expires, audit };
        match challenged.commit(open).await? {
            Opened::Yes => Ok(opened),
            Opened::RedeemedHere(session) if request.held.as_ref() == Some(&session) => {
                // Its own, once more. A session that has ended is refused when it is used.
                Ok(SessionOpened { session, ..opened })
            }
            Opened::RedeemedHere(_) => Err(SessionRefused::RedeemedHere { job: opened.job }.into()),
            Opened::RedeemedBefore => Err(SessionRefused::RedeemedBefore { job: opened.job }.into()),
        }
    }

    /// Ends a job session, and whatever its steps still hold.
    ///
    /// # Errors
    /// The refusal, once that is on the disk.
    pub(crate) async fn end_session(&self, bytes: &[u8]) -> Result<(), Refusal> {
        let challenged = self.challenged(bytes).await?;
        let result = self.close_session(bytes, &challenged).await;
        self.answer(challenged, bytes, result).await
    }

    async fn close_session(&self, bytes: &[u8], challenged: &Challenged) -> Result<(), Refused> {
        let exchange = Exchange::parse(bytes)?;
        let end = SessionEnd::parse(exchange.request)?;
        let row = self.store.runner_by_key(&exchange.challenge.ak).await?.ok_or(Refused::UnknownRunner)?;
        let host = QuotedHost::verify(&exchange, Purpose::SessionEnd, end.isolation, &row.runner, &AwsLc)?;
        self.followed(&host, row.id).await?;
        let job = VerifiedJob::identify(self, Some(&end.session), &host, row.id).await?;
        let body = json!({ "session": end.session, "runner": host.runner(), "job": job.job().map(|job| &job.key) });
        let at = self.wall();
        let audit = Entry::new(at, Kind::SessionEnded, &body)?;
        let ended = challenged.commit(EndSession { id: end.session.clone(), at, audit }).await?;
        let leases = ended.ok_or(JobRefused::Ended(end.session))?;
        for lease in leases {
            tracing::info!(%lease, "a lease ended with its job");
        }
        Ok(())
    }

    /// The token, if an issuer on the list has signed it. Nothing is fetched for any other.
    async fn verify_token(&self, text: &str) -> Result<VerifiedToken, Refused> {
        let token = UnverifiedToken::parse(text).map_err(SessionRefused::from)?;
        let issuer = token.issuer().map_err(SessionRefused::from)?;
        let listed = self.store.issuers().await?;
        let row = listed.iter().find(|row| row.url == issuer);
        let row = row.ok_or_else(|| SessionRefused::from(TokenRefused::Issuer(issuer.to_owned())))?;
        let known = self.issuers.keys(row, token.key()).await.map_err(SessionRefused::from)?;
        Ok(token.verify(&known.issuer, &known.keys, self.wall()).map_err(SessionRefused::from)?)
    }
}
