//! Job sessions: a CI token, redeemed once.
//!
//! A redemption is framed as an exchange, with its own words in the place of the request and a quote of a domain of its
//! own ([`session_qualifying_data`]): the token is bound to the attestation key that redeems it.

use super::Isolation;
use crate::bytes::{Malformed, read_json};
use crate::digest::Sha256Digest;
use crate::name::JobSessionId;
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::{Zeroize as _, ZeroizeOnDrop};

/// What is redeemed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    /// What the agent says of the walls around it.
    pub isolation: Isolation,
    /// The session that the same processes have already: a job may come with a fresh token, and is then answered with its
    /// own session. Anybody else who comes with one is not of the job.
    pub held: Option<JobSessionId>,
    /// The token, as its CI system wrote it.
    pub token: String,
}

/// The token is a bearer token: it is in no log and in no panic's message.
impl fmt::Debug for SessionRequest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SessionRequest {{ isolation: {:?}, token: {} bytes }}", self.isolation, self.token.len())
    }
}

impl Drop for SessionRequest {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}

impl ZeroizeOnDrop for SessionRequest {}

impl SessionRequest {
    /// Reads the part of `bound` that follows the challenge.
    ///
    /// # Errors
    /// Refuses what is not exactly one of these.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        read_json("session request", bytes, "not the words of a redemption")
    }

    /// The part of `bound` that follows the challenge.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// A session that has been opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionOpened {
    /// By which exchanges name it. It is good for the attestation key that redeemed, and for no other.
    pub session: JobSessionId,
    /// The CI system's ids for the job.
    pub job: String,
    /// Seconds for which it is good. A duration: the two clocks need not agree.
    pub seconds: u64,
    /// Where people find the job; empty if that can't be told.
    pub run_url: String,
}

/// The end of a job: its session is good no more, and whatever its steps still hold is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionEnd {
    /// What the agent says of the walls around it.
    pub isolation: Isolation,
    /// Which.
    pub session: JobSessionId,
}

impl SessionEnd {
    /// Reads the part of `bound` that follows the challenge.
    ///
    /// # Errors
    /// Refuses what is not exactly one of these.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        read_json("end of a session", bytes, "not the words of a job's end")
    }

    /// The part of `bound` that follows the challenge.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// `SHA-256("attest-run/session-end/v1" ‖ SHA-256(bound))`.
pub fn session_end_qualifying_data(bound: &Sha256Digest) -> Sha256Digest {
    Sha256Digest::of_parts([b"attest-run/session-end/v1".as_slice(), bound.as_bytes()])
}

/// `SHA-256("attest-run/session/v1" ‖ SHA-256(bound))`.
pub fn session_qualifying_data(bound: &Sha256Digest) -> Sha256Digest {
    Sha256Digest::of_parts([b"attest-run/session/v1".as_slice(), bound.as_bytes()])
}
