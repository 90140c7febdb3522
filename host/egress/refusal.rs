//! Why a request is not sent, or its answer not passed on.

use attest_evidence::exchange::{BadDestination, Method, Origin, Place};
use attest_evidence::name::SecretName;
use attest_wire::egress::{Failure, MOST_SECRETS};
use std::net::IpAddr;

/// What may not be. The job's log is told in these words; the step is told [`Failure::Denied`].
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A method that is never sent.
    #[error("method `{0}` is never sent: {methods} are", methods = listed(&Method::ALL.map(Method::as_str)))]
    Method(String),
    /// No URI with scheme, authority and path.
    #[error("`{0}` is no whole URI with a path")]
    Target(String),
    /// An authority that is none, or could be read in two ways.
    #[error(transparent)]
    Destination(#[from] BadDestination),
    /// An origin that the step was not granted.
    #[error("`{asked}` is not granted: {} granted", are(granted))]
    Origin {
        /// For whom the request was.
        asked: Origin,
        /// What is granted.
        granted: Vec<String>,
    },
    /// A `host` that is not the request's authority.
    #[error("header `host` says `{host}`, and the request is for `{asked}`")]
    Host {
        /// What the header says.
        host: String,
        /// For whom the request was.
        asked: Origin,
    },
    /// An address that names may not lead to.
    #[error("`{host}` lies at {address}, {what}: {wanted}")]
    Address {
        /// For whom the request was.
        host: String,
        /// Where that is.
        address: IpAddr,
        /// What kind of address it is.
        what: &'static str,
        /// What would let it through.
        wanted: &'static str,
    },
    /// More names than a step can need.
    #[error("a step sends requests to at most {0} different hosts")]
    Hosts(usize),
    /// A part of what may hold a secret.
    #[error(
        "header `{field}` asks for a part of an answer, and secrets go to `{origin}`: a part of one is not recognized"
    )]
    Range {
        /// The header.
        field: &'static str,
        /// For whom the request was.
        origin: Origin,
    },
    /// Another method or path than the request's own, beside a secret.
    #[error("header `{field}` makes another request of it, for some servers, and it carries a secret")]
    Override {
        /// The header.
        field: &'static str,
    },
    /// More secrets than fit.
    #[error("a request carries at most {MOST_SECRETS} secrets")]
    Secrets,
    /// A worker that does not speak as it should.
    #[error("the worker names a secret in a way that is none")]
    SecretField,
    /// A secret that this lease does not have.
    #[error("secret `{0}` is not granted for requests")]
    NoSecret(SecretName),
    /// A secret that may not go there.
    #[error("secret `{name}` {may_not}. Where it may go: {}", destinations.join("; "))]
    Secret {
        /// Which.
        name: SecretName,
        /// What it may not.
        may_not: MayNot,
        /// Where it may go.
        destinations: Vec<String>,
    },
    /// A secret that does not fit its place.
    #[error("secret `{name}` can't stand in `{place}`: {why}")]
    Place {
        /// Which.
        name: SecretName,
        /// Where.
        place: Place,
        /// Why.
        why: &'static str,
    },
    /// A part of what may hold a secret, unasked or asked for otherwise.
    #[error(
        "its answer is a part of something (status {status}), and secrets go to `{origin}`: a part of one is not recognized"
    )]
    Part {
        /// That of the answer.
        status: u16,
        /// Who answered.
        origin: Origin,
    },
    /// An answer of which what is in it can't be seen.
    #[error("its answer is encoded (`{field}: {value}`), and secrets go to `{origin}`: what is in it can't be seen")]
    Encoded {
        /// The header that says so.
        field: &'static str,
        /// What it says.
        value: String,
        /// Who answered.
        origin: Origin,
    },
    /// A secret came back in this answer.
    #[error("secret `{0}` came back in its answer")]
    Leaked(SecretName),
    /// A secret came back in another answer.
    #[error("nothing is sent any more: a secret came back in an answer")]
    Over,
}

/// Which condition of a secret a request does not meet.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MayNot {
    /// To whom.
    #[error("may not go to `{0}`")]
    Origin(Origin),
    /// Below which path.
    #[error("may not go to path `{0}` there")]
    Path(String),
    /// With which method.
    #[error("may not go there with {}", .0.as_str())]
    Method(Method),
    /// Where in the request.
    #[error("may not stand in `{0}` there")]
    Place(Place),
    /// Into a private network.
    #[error("may not go to {0}, {1}")]
    Private(IpAddr, &'static str),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// It may not be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It did not work.
    #[error("`{to}`: {why}")]
    Failed {
        /// How.
        failure: Failure,
        /// For whom the request was.
        to: Origin,
        /// What happened.
        why: String,
    },
}

impl NoAnswer {
    /// What the step is told.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Refused(_) => Failure::Denied,
            Self::Failed { failure, .. } => *failure,
        }
    }
}

/// What others wrote, for people: nothing in it but what can be seen.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='~' => shown.push(c),
            other => shown.extend(other.escape_unicode()),
        }
    }
    shown
}

fn listed(words: &[&str]) -> String {
    words.join(", ")
}

fn are(granted: &[String]) -> String {
    match granted {
        [] => "nothing is".to_owned(),
        [one] => format!("`{one}` is"),
        more => format!("{} are", more.iter().map(|origin| format!("`{origin}`")).collect::<Vec<_>>().join(", ")),
    }
}
