//! What a step has, and who serves it.

use attest_evidence::SecretBytes;
use attest_evidence::exchange::{DirectoryMode, KeyFormat};
use attest_evidence::name::{DirectoryName, KeyName, OutputName, SecretName};
use attest_wire::worker::{Annotation, Level, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::net::UnixStream;

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
    /// The connection to egress, if requests may be sent: HTTP/2 (see `attest_wire::egress`). It has to be one that does
    /// not block.
    pub http: Option<UnixStream>,
    /// Whether the job's page may be written to.
    pub summary: bool,
    /// Whether remarks about files may be made.
    pub annotations: bool,
    /// The environment of a command.
    pub environment: Vec<(String, SecretBytes)>,
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
pub enum Key {
    /// One that signs.
    Signs(SigningKey),
    /// One that others are derived from.
    Derives,
}

/// A key that signs.
#[derive(Debug)]
pub struct SigningKey {
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
    /// Where a command finds it.
    pub place: String,
}

/// Who serves a step's handles. Each call returns when the host has been told; those that ask wait for the answer.
///
/// # Errors
/// All of them: the host is gone.
pub trait Host: Send + Sync {
    /// The step writes to its log: a message, or a part of one, of which the last is said to be it.
    fn log(&self, level: Level, message: String, last: bool) -> Result<(), HostStopped>;

    /// A command writes to one of its streams.
    fn stream(&self, stream: Stream, bytes: &[u8]) -> Result<(), HostStopped>;

    /// The step sets an output that it declared, for the first time.
    fn output(&self, name: &OutputName, value: String) -> Result<(), HostStopped>;

    /// The step adds to the job's page.
    fn summary(&self, markdown: String) -> Result<(), HostStopped>;

    /// The step makes a remark.
    fn annotate(&self, annotation: Annotation) -> Result<(), HostStopped>;

    /// The step has been shown a secret that it may see.
    fn revealed(&self, name: &SecretName) -> Result<(), HostStopped>;

    /// The step wants a key derived for a purpose or, given a message, that message's code with it.
    fn derive(
        &self,
        key: &KeyName,
        purpose: String,
        message: Option<Vec<u8>>,
    ) -> Result<Result<SecretBytes, Failed>, HostStopped>;

    /// The step wants a message signed with a key that it was granted, in a format that it was granted.
    fn sign(&self, key: &KeyName, format: KeyFormat) -> Result<Box<dyn Signer + '_>, HostStopped>;
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
    fn finish(self: Box<Self>) -> Result<Result<Vec<u8>, Failed>, HostStopped>;
}

/// The host could not sign or derive: what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed(pub String);

/// The host is gone; the step ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host is gone")]
pub struct HostStopped;
