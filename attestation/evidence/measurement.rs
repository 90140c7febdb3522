//! The statement about a build environment: an in-toto Statement v1 (in-toto attestation framework, spec v1) with predicate
//! `measurement/v1`. Its schema is `docs/reference/measurement.schema.json`.
//!
//! Three parts, by whose word they are: what the agent found on its machine ([`Host`]), what the broker said of the CI job
//! ([`Job`]), and what the client says of itself ([`Claimed`]), which is the job's own and can be anything.
//!
//! Deterministic: members in the order of their declaration, lists in the order of their names, nothing of the time of day.

use crate::Sha256Digest;
use crate::exchange::Isolation;
use crate::json;
use crate::name::JobSessionId;
use crate::tpm::TpmName;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The statement's type.
pub const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// The predicate's type.
pub const PREDICATE: &str = "https://attest-run.dev/measurement/v1";
/// Most bytes of a statement.
pub const LONGEST_STATEMENT: usize = 256 * 1024;
/// The name of the subject whose digest is that of the boot state.
pub const BOOT_STATE: &str = "boot-state";

/// The statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// [`STATEMENT`].
    #[serde(rename = "_type")]
    pub kind: String,
    /// The boot state.
    pub subject: Vec<Resource>,
    /// [`PREDICATE`].
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// What was measured.
    pub predicate: Measurement,
}

/// A thing with its digest (in-toto `ResourceDescriptor`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// What it is called.
    pub name: String,
    /// By the name of the algorithm, here `sha256`.
    pub digest: BTreeMap<String, Sha256Digest>,
}

impl Resource {
    /// A thing of this name.
    pub fn new(name: impl Into<String>, sha256: Sha256Digest) -> Self {
        Self { name: name.into(), digest: BTreeMap::from([("sha256".to_owned(), sha256)]) }
    }
}

/// The predicate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// What the agent found.
    pub host: Host,
    /// The CI job, if the broker has redeemed its token.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job: Option<Job>,
    /// What the client says.
    pub claimed: Claimed,
}

/// A machine, as its agent found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// How the agent is separated from the jobs.
    pub isolation: Isolation,
    /// Its TPM.
    pub tpm: TpmIdentity,
    /// What it booted.
    pub boot_state: BootState,
    /// Its kernel.
    pub kernel: Kernel,
    /// Members of `os-release(5)` that say which system it is.
    pub os: BTreeMap<String, String>,
    /// The container that the agent runs in, if it runs in one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub container: Option<Container>,
    /// Its processors.
    pub cpu: Cpu,
    /// What it runs on, if that is no hardware.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hypervisor: Option<Hypervisor>,
    /// Files of the system that steer builds, by path.
    pub files: BTreeMap<String, Sha256Digest>,
    /// The agent's own programs.
    pub programs: Vec<Resource>,
    /// What the admin declared in the configuration, by path: compilers and the like.
    pub tools: Vec<Tool>,
}

/// The TPM whose quotes go with the statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmIdentity {
    /// The Name of its attestation key (TPM 2.0 Part 1 §16); none before the runner has enrolled.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attestation_key: Option<TpmName>,
}

/// The values of PCRs, SHA-256 bank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootState {
    /// The digest of the values in the order of their indexes, as a quote has it (TPM 2.0 Part 2 §10.12.1).
    pub pcr_digest: Sha256Digest,
    /// By index.
    pub pcrs: BTreeMap<u8, Sha256Digest>,
}

impl BootState {
    /// These values.
    pub fn new(pcrs: BTreeMap<u8, Sha256Digest>) -> Self {
        Self { pcr_digest: Sha256Digest::of_parts(pcrs.values().map(|value| value.as_bytes().as_slice())), pcrs }
    }
}

/// `uname(2)` and what the kernel was booted with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// `uname -v`.
    pub version: String,
    /// `uname -m`.
    pub machine: String,
    /// `/proc/cmdline`.
    pub command_line: String,
}

/// A container, as far as one can tell from inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// What made it: `docker`, `podman`, `kubernetes`, or what `container=` says.
    pub runtime: String,
    /// The name of its image, where it is told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub image: Option<String>,
    /// The image's id, where it is told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub image_id: Option<String>,
}

/// A machine's first processor, by `/proc/cpuinfo`: those members that are there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cpu {
    /// Of which kind.
    pub model: BTreeMap<String, String>,
    /// The version of its microcode.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub microcode: Option<String>,
}

/// What a virtual machine runs on, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hypervisor {
    /// Who made the machine, by its SMBIOS, where it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vendor: Option<String>,
    /// What it is called there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub product: Option<String>,
}

/// A program that builds use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// As the configuration has it.
    pub path: String,
    /// Where that leads, if it is a symbolic link.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub leads_to: Option<String>,
    /// Of its contents; none where nothing is there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<Sha256Digest>,
}

/// A CI job whose token the broker has redeemed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Its session with the broker.
    pub session: JobSessionId,
    /// What the broker calls it.
    pub job: String,
}

/// What a client says of what it was called in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claimed {
    /// Variables that steer builds, with the digests of their values: what they hold may be secret.
    pub variables: BTreeMap<String, Sha256Digest>,
    /// Files that steer builds, by path, `~` for the home directory.
    pub files: BTreeMap<String, Sha256Digest>,
    /// The working copy it was called in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub workspace: Option<Workspace>,
}

/// A working copy of git's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workspace {
    /// The commit that is checked out, 40 or 64 hexadecimal digits; none before the first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub commit: Option<String>,
    /// Whether a file that git knows differs from it, or one lies there that git neither knows nor ignores.
    pub dirty: bool,
}

/// Most bytes of a name in what a client says.
const LONGEST_NAME: usize = 256;
/// Most entries of each list of what a client says.
pub const MOST_CLAIMED: usize = 512;

impl Claimed {
    /// Whether it is in its bounds: what a client says is not believed, and not let grow without end either.
    pub fn is_in_bounds(&self) -> bool {
        let short = |names: &BTreeMap<String, Sha256Digest>| names.keys().all(|name| name.len() <= LONGEST_NAME);
        let commit = self.workspace.as_ref().and_then(|workspace| workspace.commit.as_ref());
        self.variables.len() <= MOST_CLAIMED
            && self.files.len() <= MOST_CLAIMED
            && short(&self.variables)
            && short(&self.files)
            && commit.is_none_or(|commit| {
                matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            })
    }
}

/// Why bytes are no such statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAStatement {
    /// Too long.
    #[error("a statement has at most {LONGEST_STATEMENT} bytes, this has {0}")]
    TooLong(usize),
    /// Not its form.
    #[error("it is no statement of a measurement: {0}")]
    Form(String),
    /// Of another type.
    #[error("it is of type `{0}`")]
    Type(String),
    /// The digest of its boot state is not that of the values.
    #[error("the digest of its boot state is not that of its PCRs")]
    BootState,
    /// Its subject is not its boot state.
    #[error("its subject is not the boot state that it tells of")]
    Subject,
    /// A list is not in the order of its names, or names something twice.
    #[error("`{0}` is not in order")]
    Order(&'static str),
    /// The client's part is out of its bounds.
    #[error("what the client claims is out of bounds")]
    Claimed,
}

impl Statement {
    /// The statement about a measurement.
    pub fn new(mut predicate: Measurement) -> Self {
        predicate.host.programs.sort();
        predicate.host.tools.sort();
        predicate.host.tools.dedup();
        Self {
            kind: STATEMENT.to_owned(),
            subject: vec![Resource::new(BOOT_STATE, predicate.host.boot_state.pcr_digest)],
            predicate_type: PREDICATE.to_owned(),
            predicate,
        }
    }

    /// Its one form as bytes: JSON without white space.
    ///
    /// # Errors
    /// [`NotAStatement::TooLong`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, NotAStatement> {
        let bytes = serde_json::to_vec(self).map_err(|error| NotAStatement::Form(error.to_string()))?;
        if bytes.len() > LONGEST_STATEMENT { Err(NotAStatement::TooLong(bytes.len())) } else { Ok(bytes) }
    }

    /// Reads one, strictly.
    ///
    /// # Errors
    /// See [`NotAStatement`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NotAStatement> {
        if bytes.len() > LONGEST_STATEMENT {
            return Err(NotAStatement::TooLong(bytes.len()));
        }
        let form = |error: serde_json::Error| NotAStatement::Form(error.to_string());
        let value = json::parse(bytes).map_err(form)?;
        for (member, wanted) in [("_type", STATEMENT), ("predicateType", PREDICATE)] {
            match value.get(member).and_then(|kind| kind.as_str()) {
                Some(kind) if kind == wanted => {}
                Some(other) => return Err(NotAStatement::Type(other.to_owned())),
                None => return Err(NotAStatement::Form(format!("it has no `{member}`"))),
            }
        }
        let statement: Self = serde_json::from_value(value).map_err(form)?;
        let Measurement { host, claimed, .. } = &statement.predicate;
        if host.boot_state != BootState::new(host.boot_state.pcrs.clone()) {
            return Err(NotAStatement::BootState);
        }
        if statement.subject != [Resource::new(BOOT_STATE, host.boot_state.pcr_digest)] {
            return Err(NotAStatement::Subject);
        }
        let in_order = |names: Vec<&str>| names.iter().collect::<BTreeSet<_>>().iter().copied().eq(names.iter());
        if !in_order(host.programs.iter().map(|program| program.name.as_str()).collect()) {
            return Err(NotAStatement::Order("programs"));
        }
        if !in_order(host.tools.iter().map(|tool| tool.path.as_str()).collect()) {
            return Err(NotAStatement::Order("tools"));
        }
        if claimed.is_in_bounds() { Ok(statement) } else { Err(NotAStatement::Claimed) }
    }
}
