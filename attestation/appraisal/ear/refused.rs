//! Why an attestation result is not believed, or can't be made.

use super::vector::TrustTier;
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::time::UnixSeconds;

/// Why an attestation result is not believed, or can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EarRefused {
    /// Not a compact JWS with two JSON objects, or an object with a member twice.
    #[error("the attestation result can't be read: {0}")]
    Malformed(String),
    /// The header says another algorithm than the key's.
    #[error("the attestation result is signed by `{found}`, and the verifier's key signs by {wanted}")]
    Algorithm {
        /// What its header says.
        found: String,
        /// What the key signs by.
        wanted: &'static str,
    },
    /// Not signed by this key.
    #[error("the attestation result's signature is not that of the verifier's key")]
    Signature,
    /// Of a profile that nobody here knows.
    #[error("the attestation result is of profile `{0}`, which is not known here")]
    Profile(String),
    /// A claim is not what it must be.
    #[error("the attestation result's claim `{at}` {problem}")]
    Claim {
        /// Which, from the outermost object on.
        at: String,
        /// What is wrong.
        problem: Problem,
    },
    /// A status says more trust than what it is the status of.
    #[error("the attestation result's `{at}` is `{stated}`, and its claims bear no better status than `{borne}`")]
    Status {
        /// Which.
        at: String,
        /// What it says.
        stated: TrustTier,
        /// What follows from the claims.
        borne: TrustTier,
    },
    /// Not yet, or not any more.
    #[error("the attestation result is {what}")]
    Time {
        /// What is wrong.
        what: &'static str,
        /// What it says.
        claim: UnixSeconds,
        /// The reader's clock.
        now: UnixSeconds,
    },
    /// The verifier's key is none that attestation results are verified with here.
    #[error("the verifier's key {0}")]
    Key(&'static str),
    /// A token for something else.
    #[error("the token is of type `{0}`, and that is no attestation result's")]
    Type(String),
}

/// What is wrong with a claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It must be there.
    #[error("is missing")]
    Missing,
    /// It must have something in it.
    #[error("is empty")]
    Empty,
    /// It is of another type.
    #[error("is not {0}")]
    WrongType(&'static str),
    /// It is of the right type and of no value that it may have.
    #[error("is out of range: {0} is wanted")]
    OutOfRange(&'static str),
    /// It is not defined here, or is defined by an edition of the format that this result does not follow.
    #[error("is no claim of this profile in this place")]
    Undefined,
    /// Only some may read it, and the reader has not said that it is one of them.
    #[error("names an audience, and is read here for none")]
    Audience,
}

impl EarRefused {
    pub(super) fn claim(at: impl Into<String>, problem: Problem) -> Self {
        Self::Claim { at: at.into(), problem }
    }
}

impl Explain for EarRefused {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Identity, self.to_string());
        match self {
            Self::Malformed(_) => report("AR-E701"),
            Self::Algorithm { found, wanted } => report("AR-E702").fact("wanted", wanted).fact("got", found),
            Self::Signature => report("AR-E703").hint("is this the key of the verifier that made it?"),
            Self::Profile(profile) => report("AR-E704").fact("got", profile),
            Self::Claim { at, problem } => report("AR-E705").fact("claim", at).fact("it", problem),
            Self::Status { at, stated, borne } => {
                report("AR-E706").fact("claim", at).fact("stated", stated).fact("borne", borne)
            }
            Self::Time { claim, now, .. } => report("AR-E707").fact("result", claim).fact("own clock", now),
            Self::Key(_) => report("AR-E708").hint("a P-256 or Ed25519 public key as a JWK is wanted"),
            Self::Type(found) => report("AR-E709").fact("wanted", "`eat+jwt` or `JWT`").fact("got", found),
        }
    }
}
