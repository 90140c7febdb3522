//! Agent and worker.
//!
//! The agent speaks first, with [`Start`]. From then on the worker speaks, and the agent answers what asks for
//! an answer. Nothing the worker says is believed beyond what the step was granted.

use crate::Revealed;
use attest_evidence::exchange::{DirectoryMode, KeyFormat};
use attest_evidence::name::{DirectoryName, KeyName, OutputName, SecretName};
use serde::{Deserialize, Serialize};

/// Most bytes of a message that is to be signed, in one [`FromWorker::SignChunk`].
pub const CHUNK: usize = 256 * 1024;

/// What the worker shall run, and with what. Comes with descriptors: the component, then a directory for each
/// of `directories`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Start {
    /// The step's arguments.
    pub arguments: Vec<String>,
    /// What it was granted.
    pub secrets: Vec<GrantedSecret>,
    /// What it was granted.
    pub keys: Vec<GrantedKey>,
    /// What it gets.
    pub directories: Vec<GrantedDirectory>,
    /// What it may set.
    pub outputs: Vec<OutputName>,
    /// What it may consume.
    pub limits: WorkerLimits,
}

/// A secret that the step may have.
#[derive(Debug, Serialize, Deserialize)]
pub struct GrantedSecret {
    /// Its name.
    pub name: SecretName,
    /// Its value, where the step may see it.
    pub revealed: Option<Revealed>,
}

/// A key that the step may use.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GrantedKey {
    /// Its name.
    pub name: KeyName,
    /// Its public key, PEM.
    pub public_key: String,
    /// The formats it may sign in.
    pub formats: Vec<KeyFormat>,
    /// Most bytes of a message, if the key can't take any length.
    pub longest_message: Option<u64>,
}

/// A directory that the step gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GrantedDirectory {
    /// Its name.
    pub name: DirectoryName,
    /// What the step may do in it.
    pub mode: DirectoryMode,
}

/// What a worker may consume. The agent keeps the time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct WorkerLimits {
    /// Bytes of linear memory.
    pub memory: u64,
    /// Bytes of log and outputs.
    pub output: u64,
}

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromWorker {
    /// The component is compiled and about to run.
    Compiled {
        /// Microseconds from the start of the process.
        started: u64,
        /// Microseconds for compiling.
        compiling: u64,
    },
    /// The step writes to its log.
    Log {
        /// How important.
        level: Level,
        /// What.
        message: String,
    },
    /// The step sets an output.
    Output {
        /// Which.
        name: OutputName,
        /// To what.
        value: String,
    },
    /// The step wants a signature; chunks of the message follow.
    SignBegin {
        /// With which key.
        key: KeyName,
        /// In which format.
        format: KeyFormat,
    },
    /// A part of that message.
    SignChunk(#[serde(with = "bytes")] Vec<u8>),
    /// The message is whole. A [`Signed`] is awaited.
    SignEnd,
    /// The step has ended. Nothing follows.
    Done(Outcome),
}

/// The answer to a signature asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signed {
    /// Here it is.
    Signature(#[serde(with = "bytes")] Vec<u8>),
    /// There is none, because.
    Failed(String),
}

/// How important a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For whoever looks for a defect.
    Debug,
    /// For whoever reads the log.
    Info,
    /// Something may be wrong.
    Warn,
    /// Something is wrong.
    Error,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Well.
    Succeeded {
        /// Microseconds that it ran.
        ran: u64,
    },
    /// The step says that it failed.
    Failed {
        /// Its exit status, 1 to 123.
        code: u8,
        /// What it says.
        message: String,
    },
    /// It trapped: a defect in it, or a limit.
    Trapped {
        /// What happened.
        reason: String,
    },
    /// It went over a limit of the host.
    OverLimit {
        /// Which, and what it is.
        limit: String,
    },
    /// It could not be started: not a component, or one that wants what is not there.
    NotStarted {
        /// Why.
        reason: String,
    },
    /// The walls around it could not be raised, so nothing was run.
    NoWalls {
        /// Which, and why.
        reason: String,
    },
}

mod bytes {
    use serde::de::{Deserializer, Visitor};
    use serde::ser::Serializer;
    use std::fmt;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}
