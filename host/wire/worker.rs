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

/// What the worker shall run, and with what. Comes with descriptors: the compiled component, then a directory for each
/// of `directories`, then the connection to egress if `http`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Start {
    /// The step's arguments. A command's first is its name.
    pub arguments: Vec<String>,
    /// A command's environment, secrets among it.
    pub environment: Vec<Variable>,
    /// What it was granted.
    pub secrets: Vec<GrantedSecret>,
    /// What it was granted.
    pub keys: Vec<GrantedKey>,
    /// What it gets.
    pub directories: Vec<GrantedDirectory>,
    /// What it may set.
    pub outputs: Vec<OutputName>,
    /// Whether it may send requests.
    pub http: bool,
    /// Whether it may write to the job's page.
    pub summary: bool,
    /// Whether it may make remarks.
    pub annotations: bool,
    /// What it may consume.
    pub limits: WorkerLimits,
}

/// A variable of a command's environment.
#[derive(Debug, Serialize, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Revealed,
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
    /// For what.
    pub usage: GrantedKeyUse,
}

/// What a key may be used for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum GrantedKeyUse {
    /// To sign.
    Sign {
        /// Its public key, PEM.
        public_key: String,
        /// The formats it may sign in.
        formats: Vec<KeyFormat>,
        /// Most bytes of a message that is signed as it is, if the key can't take any length.
        longest_message: Option<u64>,
    },
    /// To derive others from.
    Derive,
}

/// A directory that the step gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GrantedDirectory {
    /// Its name.
    pub name: DirectoryName,
    /// What the step may do in it.
    pub mode: DirectoryMode,
    /// Where a command finds it.
    pub place: String,
}

/// What a worker may consume. The agent keeps the time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct WorkerLimits {
    /// Bytes of linear memory.
    pub memory: u64,
    /// Bytes of log, streams, outputs, summary and annotations.
    pub output: u64,
}

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromWorker {
    /// The component is loaded and about to run.
    Loaded {
        /// Microseconds for loading.
        loading: u64,
    },
    /// The step writes to its log.
    Log {
        /// How important.
        level: Level,
        /// What, or a part of it.
        message: String,
        /// Whether no part follows.
        last: bool,
    },
    /// A command writes to one of its streams.
    Stream {
        /// To which.
        stream: Stream,
        /// What: not necessarily text, nor whole lines.
        #[serde(with = "bytes")]
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
    /// The step was shown a secret.
    Revealed(SecretName),
    /// The step wants a key derived, or a message authenticated with one. A [`Derived`] is awaited.
    Derive {
        /// From which key.
        key: KeyName,
        /// For what.
        purpose: String,
        /// What is to be authenticated; none if the key itself is wanted.
        message: Option<Vec<u8>>,
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
    Done {
        /// How.
        outcome: Outcome,
        /// What it did to files, for each of the directories.
        files: Vec<Files>,
    },
}

/// A stream of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// A remark about lines of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotation {
    /// How important.
    pub level: AnnotationLevel,
    /// What is remarked.
    pub message: String,
    /// Its title.
    pub title: Option<String>,
    /// The file's path in the repository.
    pub file: Option<String>,
    /// The first line that it is about, counted from 1.
    pub line: Option<u32>,
    /// The last.
    pub end_line: Option<u32>,
}

/// How important a remark is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnnotationLevel {
    /// To be read.
    Notice,
    /// Something may be wrong.
    Warning,
    /// Something is wrong.
    Error,
}

/// What a step did to the files of a directory, as far as its worker saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Files that it opened for reading.
    pub read: Vec<FileSeen>,
    /// Files that it opened for writing.
    pub written: Vec<FileSeen>,
    /// Files beyond those that are listed.
    pub more: u64,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSeen {
    /// Its path in the directory.
    pub path: String,
    /// SHA-256 of what was read of it, or of what it holds at the end; none if it can't be read.
    pub sha256: Option<[u8; 32]>,
}

/// The answer to what was to be derived.
#[derive(Debug, Serialize, Deserialize)]
pub enum Derived {
    /// The key, or the message's code: 32 bytes.
    Bytes(Revealed),
    /// There is none, because.
    Failed(String),
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
    /// What was to be loaded is no code of this engine: another version's, or another machine's.
    NotOurs {
        /// What is wrong with it.
        reason: String,
    },
    /// It could not be started: it wants what is not there.
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
