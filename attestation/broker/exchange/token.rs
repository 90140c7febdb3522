//! The tokens of a request, looked up after policy has said yes to them.

use super::{Refused, VerifiedJob};
use crate::broker::Broker;
use crate::keys::KeyError;
use crate::tokens::{LONGEST_SUBJECT, Minting, Wanted, subject};
use attest_appraisal::AppraisedHost;
use attest_evidence::exchange::{Audience, Request};
use attest_evidence::report::{Explain, Fault, Report};

/// Why a token that policy allows is not minted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MintRefused {
    /// Nobody has said what tokens say in `iss`.
    #[error("this broker mints no tokens: it has no issuer")]
    NoIssuer,
    /// No admin has registered it.
    #[error("there is no audience `{0}`")]
    NoAudience(String),
    /// The manifest means another one.
    #[error("`{name}` is registered for audience `{registered}`, and the step asks for `{asked}`")]
    OtherAudience {
        /// `STAGE/NAME`.
        name: String,
        /// As an admin has it.
        registered: Audience,
        /// As the manifest has it.
        asked: Audience,
    },
    /// Relying parties take no more.
    #[error("the subject of a token for `{name}` would have {length} characters, and {LONGEST_SUBJECT} is the most")]
    Subject {
        /// `STAGE/NAME`.
        name: String,
        /// How many.
        length: usize,
    },
    /// A key, or a registration, that does not open.
    #[error(transparent)]
    Keys(#[from] KeyError),
}

impl Explain for MintRefused {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Refused, self.to_string());
        match self {
            Self::NoIssuer => report("AR-P421")
                .hint("whoever runs the broker names one: `attest-broker serve --token-issuer https://HOST`"),
            Self::NoAudience(name) => {
                let (stage, name) = name.split_once('/').unwrap_or(("STAGE", "NAME"));
                report("AR-P422").hint(format!(
                    "an admin registers it: `attest-broker audience set {name} --stage {stage} --audience AUDIENCE --to https://HOST/PATH`"
                ))
            }
            Self::OtherAudience { registered, asked, .. } => report("AR-P423")
                .fact("registered", registered)
                .fact("asked", asked)
                .hint("write what is registered into `audience` of step.toml, or have an admin register another: `attest-broker audience set`"),
            Self::Subject { .. } => report("AR-P424").hint("register the audience under a shorter name"),
            Self::Keys(error) => error.report(),
        }
    }
}

impl Broker {
    /// What the tokens asked for are minted with; nothing if none is asked for.
    pub(super) async fn minting(
        &self,
        host: &AppraisedHost,
        job: &VerifiedJob,
        request: &Request,
    ) -> Result<Option<Minting>, Refused> {
        if request.tokens.is_empty() {
            return Ok(None);
        }
        let issuer = self.settings.token_issuer.clone().ok_or(MintRefused::NoIssuer)?;
        let now = self.wall();
        let key = self.token_keys().await?.signing(now).ok_or(MintRefused::NoIssuer)?;
        let stage = request.step.stage;
        let mut wanted = Vec::with_capacity(request.tokens.len());
        for asked in &request.tokens {
            let name = || format!("{stage}/{}", asked.name);
            let row = self.store.audience(stage, &asked.name).await?.ok_or_else(|| MintRefused::NoAudience(name()))?;
            row.registration.check(self.keys.root(), &row.sealed).map_err(MintRefused::from)?;
            let registration = row.registration;
            if registration.audience != asked.audience {
                let (registered, asked) = (registration.audience, asked.audience.clone());
                return Err(MintRefused::OtherAudience { name: name(), registered, asked }.into());
            }
            let subject = subject(host.runner(), job.job(), stage, &asked.name);
            if subject.len() > LONGEST_SUBJECT {
                return Err(MintRefused::Subject { name: name(), length: subject.len() }.into());
            }
            wanted.push(Wanted { registration, subject });
        }
        Ok(Some(Minting { issuer, key, wanted, now, lease_seconds: self.settings.lease_seconds }))
    }
}
