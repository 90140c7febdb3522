//! The machine behind a quote.
//!
//! ```text
//! Exchange → QuotedHost → AppraisedHost
//!            its key's    its boot, its clock
//! ```

mod continuity;

pub use continuity::{Continuity, ContinuityRefused};

use crate::boot::{ApprovedBoot, BootRefused, Candidate, References, ReplayedLog};
use crate::certificate::TpmClass;
use crate::key::AttestationKey;
use crate::log::LogRefused;
use crate::measurements::{BootCounts, Checkpoint, Measurements};
use crate::quote::{QuoteRefused, RawQuote, VerifiedQuote};
use crate::signature::SignatureVerifier;
use attest_evidence::exchange::{
    Exchange, Isolation, RunnerState, lease_end_qualifying_data, qualifying_data, session_end_qualifying_data,
    session_qualifying_data,
};
use attest_evidence::name::RunnerName;
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::tpm::PcrIndex;
use attest_evidence::{Sha256Digest, UnixSeconds};

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

/// An approved runner whose TPM quoted for one request. What it booted is not judged yet.
///
/// Its one constructor is [`QuotedHost::verify`].
#[derive(Debug, Clone)]
pub struct QuotedHost {
    runner: RunnerName,
    class: TpmClass,
    isolation: Isolation,
    quote: VerifiedQuote,
    quote_digest: Sha256Digest,
    key_digest: Sha256Digest,
    bound: Sha256Digest,
}

/// A machine that proved what it is and what it booted, for one request.
///
/// Its one constructor is [`QuotedHost::appraise`].
#[derive(Debug, Clone)]
pub struct AppraisedHost {
    quoted: QuotedHost,
    boot: Option<ApprovedBoot>,
    secure_boot: Option<bool>,
    event_log: Option<Sha256Digest>,
    measurements: Option<MeasuredSoFar>,
    rebooted: Option<bool>,
}

/// What a kernel measured, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeasuredSoFar {
    /// Up to where.
    pub quoted: Checkpoint,
    /// How often a file could not be measured reliably.
    pub violations: u64,
}

/// What a quoted host is judged by.
#[derive(Debug, Clone, Copy)]
pub struct HostEvidence<'a> {
    /// Its event log with its digest, if it sent one.
    pub event_log: Option<(Sha256Digest, &'a ReplayedLog)>,
    /// What its kernel measured, as far as its quotes have vouched for it, if it sent that.
    pub measurements: Option<&'a Measurements>,
    /// What an admin allowed machines to boot.
    pub references: &'a References,
    /// Its TPM's clock and counts when it was last believed.
    pub last: Option<Continuity>,
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
    /// Its event log is not what it booted.
    #[error(transparent)]
    Log(#[from] LogRefused),
    /// Its TPM's clock went back.
    #[error(transparent)]
    Continuity(#[from] ContinuityRefused),
    /// It booted something that no admin allowed.
    #[error(transparent)]
    Boot(#[from] BootRefused),
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
    /// The end of a lease.
    LeaseEnd,
}

impl QuotedHost {
    /// Verifies the quote of `exchange` by what is known of `runner`, which claims `isolation`. `verifier` computes the
    /// signature.
    ///
    /// The caller must have parsed the claim out of `exchange`, checked the challenge and taken its nonce out of use.
    ///
    /// # Errors
    /// See [`HostRefused`]: the first thing wrong.
    pub fn verify(
        exchange: &Exchange<'_>,
        purpose: Purpose,
        isolation: Isolation,
        runner: &EnrolledRunner,
        verifier: &dyn SignatureVerifier,
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
            Purpose::LeaseEnd => lease_end_qualifying_data(&exchange.bound),
        };
        let quote = raw.parse()?.verify(&runner.key, &qualifying, exchange.challenge.selection, verifier)?;
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
            quote_digest: Sha256Digest::of(evidence.quote),
            key_digest: Sha256Digest::of(runner.key.bytes()),
            bound: exchange.bound,
        })
    }

    /// Judges what it booted, and that its TPM is where it was.
    ///
    /// The caller must have taken `evidence.last` from a record that only believed quotes change.
    ///
    /// # Errors
    /// See [`HostRefused`]: the first thing wrong.
    pub fn appraise(self, evidence: HostEvidence<'_>, now: UnixSeconds) -> Result<AppraisedHost, HostRefused> {
        if let Some(last) = evidence.last {
            last.followed_by(self.quote.clock())?;
        }
        let boot = evidence.event_log.map(|(_, log)| log.verify(self.quote.pcrs())).transpose()?;
        // What was measured in another boot says nothing of this one.
        let this_boot = BootCounts::of(self.quote.clock());
        let measurements = evidence.measurements.filter(|measured| measured.boot() == this_boot);
        let candidate = Candidate { runner: &self.runner, class: self.class, quote: &self.quote, boot, measurements };
        let approved = evidence.references.judge(candidate, now)?;
        Ok(AppraisedHost {
            boot: approved,
            secure_boot: boot
                .filter(|_| self.quote.pcrs().get(PcrIndex::SECURE_BOOT).is_some())
                .and_then(|boot| boot.facts().trusted_secure_boot()),
            event_log: evidence.event_log.map(|(digest, _)| digest),
            rebooted: evidence.last.map(|last| last.rebooted(self.quote.clock())),
            measurements: measurements.map(|all| MeasuredSoFar { quoted: all.quoted(), violations: all.violations() }),
            quoted: self,
        })
    }

    /// Which runner.
    pub const fn runner(&self) -> &RunnerName {
        &self.runner
    }

    /// Its quote.
    pub const fn quote(&self) -> &VerifiedQuote {
        &self.quote
    }

    /// SHA-256 of its quote, `TPMS_ATTEST`.
    pub const fn quote_digest(&self) -> &Sha256Digest {
        &self.quote_digest
    }

    /// SHA-256 of its attestation key, `TPMT_PUBLIC`.
    pub const fn key_digest(&self) -> &Sha256Digest {
        &self.key_digest
    }

    /// Digest of the `bound` that was quoted: the host is believed for this request alone.
    pub const fn bound(&self) -> &Sha256Digest {
        &self.bound
    }
}

impl AppraisedHost {
    /// Which runner.
    pub const fn runner(&self) -> &RunnerName {
        &self.quoted.runner
    }

    /// What its TPM is.
    pub const fn class(&self) -> TpmClass {
        self.quoted.class
    }

    /// The approved isolation, which it also claims.
    pub const fn isolation(&self) -> Isolation {
        self.quoted.isolation
    }

    /// Its quote.
    pub const fn quote(&self) -> &VerifiedQuote {
        &self.quoted.quote
    }

    /// Digest of the `bound` that was appraised: the host is believed for this request alone.
    pub const fn bound(&self) -> &Sha256Digest {
        &self.quoted.bound
    }

    /// The quote alone.
    pub const fn quoted(&self) -> &QuotedHost {
        &self.quoted
    }

    /// The reference values that what it booted fits. None where no admin has said anything about this runner.
    pub const fn boot(&self) -> Option<&ApprovedBoot> {
        self.boot.as_ref()
    }

    /// Whether Secure Boot was on. None where its event log says nothing of it that was measured.
    pub const fn secure_boot(&self) -> Option<bool> {
        self.secure_boot
    }

    /// Digest of the event log that leads to its quote.
    pub const fn event_log(&self) -> Option<&Sha256Digest> {
        self.event_log.as_ref()
    }
}

impl AppraisedHost {
    /// Whether it was booted, or its TPM restarted, since it was last believed: since its enrolment at the first time. None
    /// where nothing is known of before.
    pub const fn rebooted(&self) -> Option<bool> {
        self.rebooted
    }

    /// What its kernel measured. None where it sent nothing of that.
    pub const fn measurements(&self) -> Option<&MeasuredSoFar> {
        self.measurements.as_ref()
    }
}

impl HostRefused {
    /// Whether the quote had been verified when it was refused: then what the exchange asked for is the runner's own word.
    pub const fn after_quote(&self) -> bool {
        match self {
            Self::OtherKey | Self::Quote(_) | Self::State { .. } | Self::Isolation { .. } => false,
            Self::Log(_) | Self::Continuity(_) | Self::Boot(_) => true,
        }
    }
}

impl Explain for HostRefused {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Identity, self.to_string());
        match self {
            Self::Quote(quote) => quote.report(),
            Self::Log(refused) => refused.report(),
            Self::Continuity(refused) => refused.report(),
            Self::Boot(refused) => refused.report(),
            Self::State { state, .. } => report("AR-E301").hint(match state {
                RunnerState::Pending => "an admin has to approve it: `attest-broker runner approve NAME`",
                _ => "an admin stopped it; ask why before `attest-broker runner approve NAME`",
            }),
            Self::OtherKey => report("AR-E302"),
            Self::Isolation { claimed, approved, .. } => report("AR-E303")
                .fact("claimed", claimed)
                .fact("approved", approved)
                .hint("isolation is what an admin approved for this key at enrolment, not what a runner says"),
        }
    }
}
