//! Agent, worker and egress.
//!
//! The agent speaks first, with [`Start`] and a descriptor: egress's end of its connection to the worker. From then on
//! egress speaks, of what it did.
//!
//! Worker and egress speak HTTP/2 (RFC 9113) over a connection of their own. A request's target is a whole URI; a field
//! [`SECRET`] of it, which no step can write, names a secret and its place; a field [`FAILURE`] of an answer says that it
//! is none.

use crate::Revealed;
use attest_evidence::exchange::{Destination, GrantedOrigin, Method, Place};
use attest_evidence::name::SecretName;
use serde::{Deserialize, Serialize};

/// Fields that begin with this are between worker and egress: what a step or a server writes by such a name is dropped.
pub const OWN_FIELDS: &str = "attest-";
/// The field of a request that names a secret in it: the JSON of a [`SecretInRequest`]. There can be several.
pub const SECRET: &str = "attest-secret";
/// The field of an answer that says that it is none: the name of a [`Failure`].
pub const FAILURE: &str = "attest-failure";
/// Most secrets in one request.
pub const MOST_SECRETS: usize = 8;
/// Requests of one step at once.
pub const MOST_REQUESTS: u32 = 32;

/// What a step may send, and with what.
#[derive(Debug, Serialize, Deserialize)]
pub struct Start {
    /// Where it may send requests.
    pub origins: Vec<GrantedOrigin>,
    /// The secrets that may be put into them.
    pub secrets: Vec<HttpSecret>,
    /// Certificates of roots beside those of the system, PEM.
    pub roots: String,
}

/// A secret for requests.
#[derive(Debug, Serialize, Deserialize)]
pub struct HttpSecret {
    /// Its name.
    pub name: SecretName,
    /// Its value.
    pub value: Revealed,
    /// Where it may go.
    pub destinations: Vec<Destination>,
}

/// A secret in a request, as the worker asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretInRequest {
    /// Which.
    pub name: SecretName,
    /// Where.
    pub place: Place,
    /// With [`Place::Header`], what stands in front of it; with [`Place::Basic`], the user. Empty otherwise.
    pub with: String,
}

/// Why there is no answer. What a step is told of it; the job's log is told more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// It may not be sent.
    Denied,
    /// Nobody has that name.
    NoSuchHost,
    /// Nobody answers there.
    Unreachable,
    /// Nothing was heard in time.
    TimedOut,
    /// Whoever answers is not who it should be, or speaks no TLS.
    Tls,
    /// What was sent back is no HTTP, or ended too early.
    Protocol,
    /// The body that was sent is not what was announced.
    Body,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Denied, Self::NoSuchHost, Self::Unreachable, Self::TimedOut, Self::Tls, Self::Protocol, Self::Body];

    /// As text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::NoSuchHost => "no-such-host",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed-out",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
            Self::Body => "body",
        }
    }

    /// The failure of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|failure| failure.as_str() == name)
    }
}

/// What egress says to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromEgress {
    /// The walls stand; requests may come.
    Ready,
    /// It can't work. Nothing follows.
    NotStarted {
        /// Why.
        reason: String,
    },
    /// A request has been answered, or has not.
    Sent(Sent),
    /// A secret came back in an answer. The answer was cut off before it, and nothing is sent any more.
    Leaked {
        /// Which.
        secret: SecretName,
        /// How it was written, such as `base64`.
        encoding: String,
        /// Who sent it back.
        from: String,
    },
}

/// A request, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// With which method; none if it was one that is never sent.
    pub method: Option<Method>,
    /// To whom; as the step wrote it, if that is nobody.
    pub to: String,
    /// The path, without the query.
    pub path: String,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// Why it was not sent, or its answer not passed on; for people.
    pub refused: Option<String>,
    /// Whether it was broken off, before its answer came or before that ended: by the step, which need not wait, or by whatever
    /// ended the step.
    pub cut: bool,
    /// The secrets that it carried.
    pub secrets: Vec<(SecretName, Place)>,
    /// Bytes of its body.
    pub sent: u64,
    /// Bytes of the answer's body.
    pub received: u64,
}
