//! The ledger of a step: what it declared, what it was granted, and what it did with it.
//!
//! The agent writes it while the step runs, and it goes along with the lease's end: its bytes are in the `bound` that the
//! closing quote covers, so that the runner's attestation key vouches for it. It says what the agent saw. What a process saw
//! that a step runs in (which files it opened) is marked as such: it is true as long as nobody broke out of WebAssembly.

use super::{Audience, DirectoryMode, KeyFormat, KeyUse, Method, Origin, SecretUse};
use crate::bytes::{Malformed, read_json};
use crate::digest::Sha256Digest;
use crate::name::{DirectoryName, KeyName, LeaseId, OutputName, SecretName};
use serde::{Deserialize, Serialize};
use std::ops::Not;

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// The lease that it did it with.
    pub lease: LeaseId,
    /// SHA-256 of the component that ran.
    pub component: Sha256Digest,
    /// SHA-256 of its manifest.
    pub manifest: Sha256Digest,
    /// Each secret that it was granted.
    pub secrets: Vec<SecretLedger>,
    /// Each token that it was granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<TokenLedger>,
    /// Each key that it was granted.
    pub keys: Vec<KeyLedger>,
    /// Each destination that it was granted.
    pub destinations: Vec<OriginLedger>,
    /// The first [`Ledger::MOST_REQUESTS`] of its requests, in the order in which they were answered.
    pub requests: Vec<LedgerRequest>,
    /// Requests beyond those.
    pub more_requests: u64,
    /// Whether nobody can tell of all of them: whoever sent them died. Secrets may have gone out more often than is counted.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub requests_lost: bool,
    /// Each directory that it was given. As the process saw it that the step ran in.
    pub files: Vec<FilesSeen>,
    /// Each output that it declared.
    pub outputs: Vec<OutputLedger>,
    /// What looked like a secret that nobody declared, in what it wrote.
    pub undeclared: Vec<UndeclaredFinding>,
}

/// What became of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretLedger {
    /// Which.
    pub name: SecretName,
    /// Which version of it.
    pub version: u64,
    /// How it could be used.
    #[serde(rename = "use")]
    pub usage: SecretUse,
    /// How often it was: requests that carried it, or times that it was revealed.
    pub used: u64,
    /// Where it came to light, and in which form, if it did: it has to be replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposed: Option<String>,
}

/// What became of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenLedger {
    /// Which.
    pub name: SecretName,
    /// Whom it was for.
    pub audience: Audience,
    /// Requests that carried it.
    pub used: u64,
    /// Where it came to light, and in which form, if it did: it is good until it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposed: Option<String>,
}

/// What became of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyLedger {
    /// Which.
    pub name: KeyName,
    /// How it could be used.
    #[serde(rename = "use")]
    pub usage: KeyUse,
    /// The formats that it could sign in.
    pub formats: Vec<KeyFormat>,
    /// How often it was.
    pub used: u64,
}

/// What became of a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginLedger {
    /// Which.
    pub origin: Origin,
    /// Requests that went there.
    pub used: u64,
}

/// What became of an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputLedger {
    /// Which.
    pub name: OutputName,
    /// Whether it was set.
    pub set: bool,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerRequest {
    /// With which method; none if it was one that is never sent.
    pub method: Option<Method>,
    /// To whom; as the step wrote it, if that is nobody.
    pub to: String,
    /// The path, without the query.
    pub path: String,
    /// The status of the answer (RFC 9110 §15), if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it was not sent, or its answer not passed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Whether it was broken off, before its answer came or before that ended: by the step, which need not wait, or by whatever
    /// ended the step.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub cut: bool,
    /// The secrets that it carried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<LedgerSecretUse>,
    /// Bytes of its body.
    pub sent: u64,
    /// Bytes of the answer's body.
    pub received: u64,
}

/// A secret in a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerSecretUse {
    /// Which.
    pub name: SecretName,
    /// Where in the request.
    pub place: super::Place,
}

/// Files of a directory, as the process saw them that the step ran in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesSeen {
    /// Which directory.
    pub name: DirectoryName,
    /// What the step could do in it.
    pub mode: DirectoryMode,
    /// Files that it opened for reading: what it read of each from beginning to end, more than once if the file was changed
    /// meanwhile; of others what was in them when it ended.
    pub read: Vec<FileDigest>,
    /// Files that it opened for writing, as they were when it ended.
    pub written: Vec<FileDigest>,
    /// Files beyond the first [`Ledger::MOST_FILES`].
    pub more: u64,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    /// Its path in the directory.
    pub path: String,
    /// SHA-256 of its contents; none if it was gone or could not be read.
    pub sha256: Option<Sha256Digest>,
}

/// What looked like a secret that nobody declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndeclaredFinding {
    /// The pattern's name, such as `github-token`.
    pub pattern: String,
    /// Where: `log`, `output NAME`, `dirs.NAME PATH:LINE`.
    pub place: String,
}

impl Ledger {
    /// Most requests that are listed one by one.
    pub const MOST_REQUESTS: usize = 256;
    /// Most files of a directory that are listed one by one.
    pub const MOST_FILES: usize = 128;
    /// Most findings that are listed.
    pub const MOST_FINDINGS: usize = 64;
    /// Most bytes of a ledger as JSON: as a text in the JSON of [`LeaseClose`](super::LeaseClose) it has to fit `bound`.
    pub const LONGEST: usize = 80 * 1024;

    /// Reads a ledger.
    ///
    /// # Errors
    /// Refuses what is not exactly this structure.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        read_json("ledger", bytes, "not the JSON of a ledger")
    }

    /// What was granted and never used, in the words of the manifest: declarations that could be left out. Of what goes into
    /// requests nothing is said if requests were lost.
    pub fn unused(&self) -> Vec<String> {
        let told = |used: u64| used == 0 && !self.requests_lost;
        let secret = |secret: &&SecretLedger| match secret.usage {
            SecretUse::Http => told(secret.used),
            SecretUse::Reveal | SecretUse::Env => secret.used == 0,
        };
        let secrets = self.secrets.iter().filter(secret).map(|secret| format!("secrets.{}", secret.name));
        let tokens = self.tokens.iter().filter(|token| told(token.used)).map(|token| format!("tokens.{}", token.name));
        let keys = self.keys.iter().filter(|key| key.used == 0).map(|key| format!("keys.{}", key.name));
        let http = self.destinations.iter().filter(|to| told(to.used)).map(|to| format!("http.allow {}", to.origin));
        let dirs = self.files.iter().filter_map(|files| {
            let used = !files.read.is_empty() || !files.written.is_empty() || files.more > 0;
            match files.mode {
                _ if !used => Some(format!("dirs.{}", files.name)),
                DirectoryMode::Write if files.written.is_empty() => {
                    Some(format!("dirs.{} mode = \"write\" (it was only read)", files.name))
                }
                _ => None,
            }
        });
        let outputs = self.outputs.iter().filter(|output| !output.set).map(|output| format!("outputs.{}", output.name));
        secrets.chain(tokens).chain(keys).chain(http).chain(dirs).chain(outputs).collect()
    }
}
