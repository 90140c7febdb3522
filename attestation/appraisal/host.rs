//! The machine behind a quote.

use crate::certificate::TpmClass;
use crate::key::AttestationKey;
use crate::quote::{QuoteRefused, RawQuote, VerifiedQuote};
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::{
    Exchange, Isolation, RunnerState, qualifying_data, session_end_qualifying_data, session_qualifying_data,
};
use attest_evidence::name::RunnerName;
use attest_evidence::report::{Explain, Fault, Report};

/// A runner as the broker's store has it: the reference values of an appraisal.
#[derive(Debug, Clone)]
pub struct EnrolledRunner {
    /// Its name.
    pub name: RunnerName,
    /// Its attestation key, activated at enrolment.
    pub key: AttestationKey,
    /// What its TPM is, from the chain of its endorsement.
    pub class: TpmClass,
    /// The isolation that an admin approved.
    pub isolation: Isolation,
    /// Whether it may ask for something.
    pub state: RunnerState,
}

/// A machine that proved what it is and what it booted, for one request.
///
/// Its one constructor is [`AppraisedHost::appraise`].
#[derive(Debug, Clone)]
pub struct AppraisedHost {
    runner: RunnerName,
    class: TpmClass,
    isolation: Isolation,
    quote: VerifiedQuote,
    bound: Sha256Digest,
}

/// Why a machine is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostRefused {
    /// The runner is not approved.
    #[error("runner `{runner}` is {}", state.as_str())]
    State {
        /// Which.
        runner: RunnerName,
        /// What it is instead.
        state: RunnerState,
    },
    /// The challenge was for another AK.
    #[error("the challenge was given to another attestation key")]
    OtherKey,
    /// Its quote is not believed.
    #[error(transparent)]
    Quote(#[from] QuoteRefused),
    /// It claims another isolation than the approved one.
    #[error("runner `{runner}` claims isolation `{claimed}` and is approved for `{approved}`")]
    Isolation {
        /// Which.
        runner: RunnerName,
        /// What it says.
        claimed: Isolation,
        /// What an admin approved.
        approved: Isolation,
    },
    /// It sent a log that nobody here can appraise, and what is not appraised proves nothing.
    #[error("a log of kind {0} came with the quote, which this broker can't appraise")]
    UnknownLog(u16),
}

/// What evidence is for. A quote for one purpose is worth nothing for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A grant.
    Grant,
    /// The redemption of a CI token.
    Session,
    /// The end of a job session.
    SessionEnd,
}

impl AppraisedHost {
    /// Appraises the evidence of `exchange` against what is known of `runner`, which claims `isolation`.
    ///
    /// The caller must have parsed the claim out of `exchange`, checked the challenge and taken its nonce out of use.
    ///
    /// # Errors
    /// See [`HostRefused`]: the first thing wrong.
    pub fn appraise(
        exchange: &Exchange<'_>,
        purpose: Purpose,
        isolation: Isolation,
        runner: &EnrolledRunner,
    ) -> Result<Self, HostRefused> {
        if exchange.challenge.ak != *runner.key.name() {
            return Err(HostRefused::OtherKey);
        }
        let evidence = &exchange.evidence;
        let raw = RawQuote { message: evidence.quote, signature: evidence.signature, pcrs: evidence.pcrs };
        let qualifying = match purpose {
            Purpose::Grant => qualifying_data(&exchange.bound),
            Purpose::Session => session_qualifying_data(&exchange.bound),
            Purpose::SessionEnd => session_end_qualifying_data(&exchange.bound),
        };
        let quote = raw.parse()?.verify(&runner.key, &qualifying, exchange.challenge.selection)?;
        if let Some((kind, _)) = evidence.logs.first() {
            return Err(HostRefused::UnknownLog(*kind));
        }
        if runner.state != RunnerState::Approved {
            return Err(HostRefused::State { runner: runner.name.clone(), state: runner.state });
        }
        if isolation != runner.isolation {
            let (claimed, approved) = (isolation, runner.isolation);
            return Err(HostRefused::Isolation { runner: runner.name.clone(), claimed, approved });
        }
        Ok(Self {
            runner: runner.name.clone(),
            class: runner.class,
            isolation: runner.isolation,
            quote,
            bound: exchange.bound,
        })
    }

    /// Which runner.
    pub const fn runner(&self) -> &RunnerName {
        &self.runner
    }

    /// What its TPM is.
    pub const fn class(&self) -> TpmClass {
        self.class
    }

    /// The approved isolation, which it also claims.
    pub const fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// Its quote.
    pub const fn quote(&self) -> &VerifiedQuote {
        &self.quote
    }

    /// Digest of the `bound` that was appraised: the host is believed for this request alone.
    pub const fn bound(&self) -> &Sha256Digest {
        &self.bound
    }
}

impl Explain for HostRefused {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Identity, self.to_string());
        match self {
            Self::Quote(quote) => quote.report(),
            Self::State { state, .. } => report("AR-E301").hint(match state {
                RunnerState::Pending => "an admin has to approve it: `attest-broker runner approve NAME`",
                _ => "an admin stopped it; ask why before `attest-broker runner approve NAME`",
            }),
            Self::OtherKey => report("AR-E302"),
            Self::Isolation { claimed, approved, .. } => report("AR-E303")
                .fact("claimed", claimed)
                .fact("approved", approved)
                .hint("isolation is what an admin approved for this key at enrolment, not what a runner says"),
            Self::UnknownLog(kind) => report("AR-E304").fact("kind", kind).hint("upgrade the broker before the agents"),
        }
    }
}
