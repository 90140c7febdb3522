//! Client and agent: the client asks once, the agent answers with events until [`Event::End`].

use crate::worker::{Annotation, Level, Stream};
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::{KeyFormat, RunnerState};
use attest_evidence::name::{
    AuditId, DirectoryName, JobSessionId, KeyName, LeaseId, OutputName, RunnerName, SecretName, Stage,
};
use attest_evidence::report::Report;
use attest_evidence::tpm::{PcrSelection, PcrState};
use serde::{Deserialize, Serialize};

/// What a client says first to an agent that it has started for itself: what else it has started. Descriptors: the TPM's
/// connection; the broker's standard input and output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Helpers {
    /// A TPM in software.
    pub tpm: bool,
    /// A broker.
    pub broker: bool,
}

/// What a client wants.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// Run a step. Descriptors: component, manifest, then a directory for each of `directories`.
    Run {
        /// Its arguments.
        arguments: Vec<String>,
        /// The stage whose secrets and keys it may ask for.
        stage: Stage,
        /// Names of the directories that come along.
        directories: Vec<DirectoryName>,
        /// The token of the CI job, if there is one.
        token: Option<CiToken>,
    },
    /// A CI job begins: redeem its token.
    StartJob {
        /// The token.
        token: CiToken,
    },
    /// The CI job of this process ends.
    EndJob,
    /// Quote, in the domain of users.
    Quote {
        /// What it shall be fresh for, 8 to 64 bytes.
        nonce: Vec<u8>,
        /// PCR indexes, as text.
        pcrs: String,
    },
    /// What is measured of this environment.
    Measure {
        /// What the client says of its own: a `Claimed`, as JSON.
        claimed: String,
    },
    /// List keys.
    ListKeys,
    /// Make a key. Needs an admin.
    CreateKey {
        /// Of which stage.
        stage: Stage,
        /// Its name.
        name: KeyName,
        /// Of which kind.
        kind: KeyKind,
    },
    /// Put another key of the same kind into the place of one. Needs an admin.
    RotateKey {
        /// Of which stage.
        stage: Stage,
        /// Its name.
        name: KeyName,
    },
    /// Have a key certified, for others to see what it is. Needs an admin.
    AttestKey {
        /// Of which stage.
        stage: Stage,
        /// Its name.
        name: KeyName,
    },
    /// Delete a key. Needs an admin.
    DeleteKey {
        /// Of which stage.
        stage: Stage,
        /// Its name.
        name: KeyName,
    },
    /// Sign a file by hand. Needs an admin. Descriptor: the file.
    Sign {
        /// Of which stage.
        stage: Stage,
        /// With which key.
        name: KeyName,
        /// In which format.
        format: KeyFormat,
    },
    /// Enrol with a broker. Needs an admin.
    Enrol {
        /// Its URL.
        broker: String,
        /// The token's text.
        token: String,
    },
    /// How the agent is.
    Status,
}

/// The token of a CI job: whoever has it may redeem it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CiToken(String);

impl CiToken {
    /// This token.
    pub const fn new(token: String) -> Self {
        Self(token)
    }

    /// Lets `look` see it.
    pub fn expose<T>(&self, look: impl FnOnce(&str) -> T) -> T {
        look(&self.0)
    }
}

impl std::fmt::Debug for CiToken {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "CiToken({} bytes)", self.0.len())
    }
}

impl Drop for CiToken {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// What the agent tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The step holds something now.
    Granted {
        /// Its lease.
        lease: LeaseId,
        /// Where the decision stands in the broker's log.
        audit: AuditId,
        /// Seconds for which it holds it at most.
        seconds: u64,
        /// What, in words.
        handles: Vec<String>,
        /// The rules that permitted it, and the version of the policy that has them.
        rules: Vec<String>,
        /// See `rules`.
        policy_version: i64,
        /// Where people find the CI job; empty outside of one.
        run_url: String,
    },
    /// The step writes to its log.
    Log {
        /// How important.
        level: Level,
        /// What.
        message: String,
    },
    /// A command writes to one of its streams.
    Stream {
        /// To which.
        stream: Stream,
        /// What: not necessarily text, nor whole lines.
        bytes: Vec<u8>,
    },
    /// The step sets an output.
    Output {
        /// Which.
        name: OutputName,
        /// To what.
        value: String,
    },
    /// The step adds to the job's page.
    Summary(String),
    /// The step makes a remark.
    Annotation(Annotation),
    /// A request of the step was not sent, or its answer not passed on.
    RequestRefused {
        /// Which.
        request: String,
        /// Why.
        reason: String,
    },
    /// A secret that the step was granted stood in what it wrote, and was masked.
    Masked {
        /// Which.
        secret: SecretName,
        /// Where, and in which form.
        place: String,
    },
    /// What looks like a secret that nobody declared stands in what the step wrote.
    Undeclared {
        /// The name of the pattern.
        pattern: String,
        /// Where.
        place: String,
    },
    /// What was granted, and never used: declarations that could be left out.
    Unused(Vec<String>),
    /// Time spent in a phase.
    Phase {
        /// Which.
        name: String,
        /// Microseconds.
        micros: u64,
    },
    /// How many commands the TPM was sent, and other counts.
    Count {
        /// Of what.
        name: String,
        /// How many.
        count: u64,
    },
    /// The answer to what was asked, other than running a step.
    Answer(Answer),
    /// The end. Nothing follows.
    End(End),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Well.
    Done,
    /// The step says that it failed.
    StepFailed {
        /// Its exit status, 1 to 123.
        code: u8,
        /// What it says.
        message: String,
    },
    /// Something was refused or went wrong.
    Failed {
        /// What.
        report: Report,
        /// Where it stands in the broker's log.
        audit: Option<AuditId>,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The session of the CI job; none if the broker believes no such tokens.
    Job(Option<JobSessionId>),
    /// Whether a CI job has ended.
    JobEnded(bool),
    /// A quote.
    Quote {
        /// `TPMS_ATTEST`.
        message: Vec<u8>,
        /// `TPMT_SIGNATURE`.
        signature: Vec<u8>,
        /// `TPMT_PUBLIC` of the attestation key.
        ak: Vec<u8>,
        /// Index and value of each quoted PCR.
        pcrs: Vec<(u8, [u8; 32])>,
        /// The qualifying data: the nonce in the domain of user quotes.
        qualifying_data: Sha256Digest,
    },
    /// An in-toto Statement, JSON.
    Statement(String),
    /// Keys.
    Keys(Vec<Key>),
    /// A `KeyAttestation`, JSON.
    KeyAttestation(String),
    /// A signature.
    Signature(Vec<u8>),
    /// An enrolment.
    Enrolled {
        /// The runner's name.
        runner: RunnerName,
        /// Whether it may ask.
        state: RunnerState,
        /// What its TPM is taken for.
        class: String,
    },
    /// How the agent is.
    Status(Status),
}

/// A key, as far as it may be known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its stage.
    pub stage: Stage,
    /// Its name.
    pub name: KeyName,
    /// Its algorithm.
    pub algorithm: KeyAlgorithm,
    /// What the TPM asks for before it uses it, beside the agent's word. Without one it signs by hand, and for steps.
    pub lease: Option<KeyLease>,
    /// Its public key, PEM.
    pub public_key: String,
    /// SHA-256 of its public key, DER.
    pub fingerprint: Sha256Digest,
    /// The public keys of those that had its name before, PEM, the last one first.
    pub former: Vec<String>,
}

/// A key that the TPM uses only while the broker has signed for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLease {
    /// The boot state in which it can be used, if not in every one.
    pub boot_state: Option<PcrState>,
}

impl Key {
    /// The kind of another in its place.
    pub fn kind(&self) -> KeyKind {
        match (self.algorithm, self.lease) {
            (KeyAlgorithm::Ed25519, _) => KeyKind::Ed25519,
            (KeyAlgorithm::P256, None) => KeyKind::ByHand,
            (KeyAlgorithm::P256, Some(lease)) => {
                KeyKind::Leased { pcrs: lease.boot_state.map(|state| state.selection) }
            }
        }
    }
}

/// Kinds of keys that can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyKind {
    /// P-256 in the TPM, which uses it only while the broker has signed for it.
    Leased {
        /// The PCRs that have to be as they are now, if any.
        pcrs: Option<PcrSelection>,
    },
    /// P-256 in the TPM, for whoever may ask the agent.
    ByHand,
    /// Ed25519, derived by the TPM.
    Ed25519,
}

/// Algorithms of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyAlgorithm {
    /// ECDSA over P-256, in the TPM.
    P256,
    /// Ed25519, derived from a key in the TPM and in memory for one signature.
    Ed25519,
}

impl KeyAlgorithm {
    /// As text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::Ed25519 => "ed25519",
        }
    }

    /// Where the private key is when it signs. Never call host memory hardware.
    pub const fn protection(self) -> &'static str {
        match self {
            Self::P256 => "tpm",
            Self::Ed25519 => "host-memory",
        }
    }
}

impl std::fmt::Display for KeyAlgorithm {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}

impl std::str::FromStr for KeyAlgorithm {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::P256, Self::Ed25519]
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or("an algorithm is `p256` or `ed25519`")
    }
}

/// In which form somebody wants a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicKeyFormat {
    /// `SubjectPublicKeyInfo`, PEM (RFC 7468 §13).
    Pem,
    /// minisign's file: `minisign -V -p` takes it. Of Ed25519 keys alone.
    Minisign,
    /// A line as in `id_ed25519.pub`. Behind a principal it is a line of an allowed-signers file.
    Ssh,
}

impl std::str::FromStr for PublicKeyFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "pem" => Ok(Self::Pem),
            "minisign" => Ok(Self::Minisign),
            "ssh" => Ok(Self::Ssh),
            _ => Err("a public key's format is `pem`, `minisign` or `ssh`"),
        }
    }
}

/// How an agent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the program.
    pub version: String,
    /// Where its TPM is.
    pub tpm: String,
    /// The runner it is, if it has enrolled.
    pub runner: Option<RunnerName>,
    /// The broker it asks.
    pub broker: Option<String>,
    /// `agent` or `direct`.
    pub isolation: String,
    /// Persistent, transient and session handles in the TPM.
    pub tpm_handles: String,
    /// Whether the broker answers; if not, why.
    pub broker_answers: Option<String>,
}
