//! `step.toml`: what a step asks for, and why.

mod guest_path;
mod network;
mod refused;
mod rules;
mod schema;

pub use guest_path::{BadGuestPath, GuestPath};
pub use network::HttpDeclaration;
pub use refused::BadManifest;
pub use schema::manifest_schema;

use crate::suggestion::parse_toml;
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::{Audience, Destination, DirectoryMode, KeyFormat, KeyUse, SecretUse};
use attest_evidence::name::{DirectoryName, KeyName, OutputName, SecretName, StepName};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Most bytes of a manifest: some hundred declarations.
pub const LONGEST_MANIFEST: usize = 64 * 1024;
/// Most characters of a `why`, and of a description: a sentence.
const LONGEST_WHY: usize = 300;
/// Most declarations of one kind: each costs a question to policy.
const MOST_DECLARATIONS: usize = 64;

/// What a step of attest-run declares: a `step.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What the step is.
    pub step: About,
    /// Secrets, by name.
    #[serde(default)]
    #[schemars(schema_with = "schema::secrets")]
    pub secrets: BTreeMap<SecretName, SecretDeclaration>,
    /// Tokens that the broker mints for this one run, by name. No secret has the same name.
    #[serde(default)]
    #[schemars(schema_with = "schema::tokens")]
    pub tokens: BTreeMap<SecretName, TokenDeclaration>,
    /// Keys, by name.
    #[serde(default)]
    #[schemars(schema_with = "schema::keys")]
    pub keys: BTreeMap<KeyName, KeyDeclaration>,
    /// Directories, by name.
    #[serde(default)]
    #[schemars(schema_with = "schema::dirs")]
    pub dirs: BTreeMap<DirectoryName, DirectoryDeclaration>,
    /// Where it sends requests.
    #[serde(default)]
    #[schemars(schema_with = "schema::http")]
    pub http: HttpDeclaration,
    /// Outputs, by name.
    #[serde(default)]
    #[schemars(schema_with = "schema::outputs")]
    pub outputs: BTreeMap<OutputName, Reason>,
    /// Text for the page of the job.
    #[serde(default)]
    #[schemars(schema_with = "schema::reason")]
    pub summary: Option<Reason>,
    /// Remarks about lines of files.
    #[serde(default)]
    #[schemars(schema_with = "schema::reason")]
    pub annotations: Option<Reason>,
    /// What it may consume.
    #[serde(default)]
    pub limits: Limits,
    #[serde(skip)]
    digest: Option<Sha256Digest>,
}

/// What a step is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Its name.
    #[schemars(schema_with = "schema::name")]
    pub name: StepName,
    /// What it does, in a sentence.
    #[serde(default)]
    #[schemars(schema_with = "schema::description")]
    pub description: String,
}

/// A declared secret.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretDeclaration {
    /// How it will be used: `http`, the host puts it into requests to its destinations, and the step never sees it;
    /// `reveal`, the step gets the bytes, once; `env`, a program finds it in its environment.
    #[serde(rename = "use", default = "http")]
    #[schemars(schema_with = "schema::secret_use")]
    pub usage: SecretUse,
    /// With `http`: of the secret's own destinations, which its broker keeps, only those below these: `https://HOST/PATH`.
    /// Origin and path count; empty, all of its own.
    #[serde(default, deserialize_with = "network::destinations")]
    #[schemars(schema_with = "schema::destinations")]
    pub to: Vec<Destination>,
    /// With `env`: the name of the variable.
    #[serde(default)]
    #[schemars(schema_with = "schema::variable")]
    pub variable: Option<String>,
    /// Why, in a sentence for admins and auditors.
    #[schemars(schema_with = "schema::why")]
    pub why: String,
}

const fn http() -> SecretUse {
    SecretUse::Http
}

/// A declared token: the host puts it into requests to its destinations, and the step never sees it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenDeclaration {
    /// Whom it is for: what it says in `aud`. An admin of the broker has registered this very audience under the name.
    #[schemars(schema_with = "schema::audience")]
    pub audience: Audience,
    /// Of the audience's own destinations, which its broker keeps, only those below these: `https://HOST/PATH`. Origin and
    /// path count; empty, all of its own.
    #[serde(default, deserialize_with = "network::destinations")]
    #[schemars(schema_with = "schema::destinations")]
    pub to: Vec<Destination>,
    /// Why, in a sentence for admins and auditors.
    #[schemars(schema_with = "schema::why")]
    pub why: String,
}

/// A declared key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyDeclaration {
    /// How it will be used: `sign`, the host signs what it has hashed and framed; `derive`, symmetric keys come of it.
    #[serde(rename = "use")]
    #[schemars(schema_with = "schema::key_use")]
    pub usage: KeyUse,
    /// With `sign`: the formats it will sign in.
    #[serde(default)]
    #[schemars(schema_with = "schema::formats")]
    pub formats: Vec<KeyFormat>,
    /// Why, in a sentence for admins and auditors.
    #[schemars(schema_with = "schema::why")]
    pub why: String,
}

/// A declared directory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DirectoryDeclaration {
    /// What the step does in it: `read`, or `write`: read, create, change and remove.
    #[schemars(schema_with = "schema::directory_mode")]
    pub mode: DirectoryMode,
    /// Where a program of `wasi:cli` finds it: an absolute path, or `.`. By default `/NAME`.
    #[serde(default)]
    #[schemars(schema_with = "schema::guest_path")]
    pub at: Option<GuestPath>,
    /// Why, in a sentence for admins and auditors.
    #[schemars(schema_with = "schema::why")]
    pub why: String,
}

impl DirectoryDeclaration {
    /// Where a program of `wasi:cli` finds it.
    pub fn place(&self, name: &DirectoryName) -> GuestPath {
        self.at.clone().unwrap_or_else(|| GuestPath::of(name))
    }
}

/// A declaration of which nothing is to be said but why.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Why, in a sentence for admins and auditors.
    #[schemars(schema_with = "schema::why")]
    pub why: String,
}

/// What a step may consume. A manifest may lower these and raise them up to the host's own bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// MiB of linear memory in all. 256 by default: a compiler fits, a memory bomb doesn't. At most 2048.
    #[schemars(range(min = 1, max = 2048))]
    pub memory_mib: u32,
    /// Seconds of wall-clock time. 600 by default. At most 3600.
    #[schemars(range(min = 1, max = 3600))]
    pub seconds: u32,
    /// MiB of log and outputs in all. 16 by default: what a job log can take. At most 64.
    #[schemars(range(min = 1, max = 64))]
    pub output_mib: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_mib: 256, seconds: 600, output_mib: 16 }
    }
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// See [`BadManifest`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BadManifest> {
        if bytes.len() > LONGEST_MANIFEST {
            return Err(BadManifest::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| BadManifest::NotText)?;
        let mut manifest: Self = parse_toml(text).map_err(BadManifest::Toml)?;
        manifest.check()?;
        manifest.digest = Some(Sha256Digest::of(bytes));
        Ok(manifest)
    }

    /// Where a secret, or a token, of this name shall go at most; empty: wherever it may.
    pub fn narrowed_to(&self, name: &SecretName) -> &[Destination] {
        let secret = self.secrets.get(name).map(|declared| &declared.to);
        let to = secret.or_else(|| self.tokens.get(name).map(|declared| &declared.to));
        to.map(Vec::as_slice).unwrap_or_default()
    }

    /// SHA-256 of the bytes it was read from.
    pub fn digest(&self) -> Sha256Digest {
        self.digest.unwrap_or_else(|| Sha256Digest::of(b""))
    }
}

#[cfg(test)]
mod conforms;
#[cfg(test)]
mod tests;
