//! What a step has, and who serves it.

use attest_evidence::SecretBytes;
use attest_evidence::exchange::{DirectoryMode, KeyFormat};
use attest_evidence::name::{DirectoryName, KeyName, OutputName, SecretName};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

/// Everything that a step was granted. An interface for which there is nothing here is not linked.
#[derive(Debug, Default)]
pub struct Handles {
    /// Secrets, by name.
    pub secrets: BTreeMap<SecretName, Secret>,
    /// Keys, by name.
    pub keys: BTreeMap<KeyName, Key>,
    /// Directories, by name.
    pub directories: BTreeMap<DirectoryName, Directory>,
    /// Outputs that may be set.
    pub outputs: BTreeSet<OutputName>,
}

/// A secret.
#[derive(Debug)]
pub enum Secret {
    /// Its value is elsewhere; the step may have it used.
    Opaque,
    /// The step may see it, once.
    Revealable(SecretBytes),
    /// The step has seen it.
    Revealed,
}

/// A key.
#[derive(Debug)]
pub struct Key {
    /// Its public key, PEM.
    pub public_key: String,
    /// The formats it may sign in.
    pub formats: BTreeSet<KeyFormat>,
    /// Most bytes of a message, if the key can't take any length.
    pub longest_message: Option<u64>,
}

/// A directory.
#[derive(Debug)]
pub struct Directory {
    /// An open directory. What can be done through it is the operating system's to say, too.
    pub directory: File,
    /// What the step may do in it.
    pub mode: DirectoryMode,
}

/// How important a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// Who serves a step's handles.
pub trait Host: Send {
    /// The step writes to its log.
    ///
    /// # Errors
    /// The host is gone.
    fn log(&mut self, level: Level, message: String) -> Result<(), HostStopped>;

    /// The step sets an output that it declared, for the first time.
    ///
    /// # Errors
    /// The host is gone.
    fn output(&mut self, name: &OutputName, value: String) -> Result<(), HostStopped>;

    /// The step wants a message signed with a key that it was granted, in a format that it was granted.
    ///
    /// # Errors
    /// The host is gone.
    fn sign(&mut self, key: &KeyName, format: KeyFormat) -> Result<Box<dyn Signer + '_>, HostStopped>;
}

/// Takes a message and gives its signature.
pub trait Signer: Send {
    /// Takes the next part of the message.
    ///
    /// # Errors
    /// The host is gone.
    fn update(&mut self, part: &[u8]) -> Result<(), HostStopped>;

    /// Gives the signature of the whole.
    ///
    /// # Errors
    /// The host is gone, or could not sign.
    fn finish(self: Box<Self>) -> Result<Result<Vec<u8>, SignFailed>, HostStopped>;
}

/// The host could not sign: what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignFailed(pub String);

/// The host is gone; the step ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host is gone")]
pub struct HostStopped;

/// Most bytes of one message to the log: longer ones are cut into several.
#[derive(Debug, Clone, Copy)]
pub struct LogLimit;

impl LogLimit {
    /// The bound.
    pub const BYTES: usize = 64 * 1024;
}
