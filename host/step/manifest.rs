//! `step.toml`: what a step asks for, and why.

use crate::suggestion::{TomlError, parse_toml};
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::{DirectoryMode, KeyFormat, KeyUse, SecretUse};
use attest_evidence::name::{DirectoryName, KeyName, OutputName, SecretName, StepName};
use attest_evidence::report::{Explain, Fault, Report};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Most bytes of a manifest: some hundred declarations.
pub const LONGEST_MANIFEST: usize = 64 * 1024;
/// Most characters of a `why`: a sentence.
const LONGEST_WHY: usize = 300;
/// Most declarations of one kind: each costs a question to policy.
const MOST_DECLARATIONS: usize = 64;

/// What a step declares.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What the step is.
    pub step: About,
    /// Secrets, by name.
    #[serde(default)]
    pub secrets: BTreeMap<SecretName, SecretDeclaration>,
    /// Keys, by name.
    #[serde(default)]
    pub keys: BTreeMap<KeyName, KeyDeclaration>,
    /// Directories, by name.
    #[serde(default)]
    pub dirs: BTreeMap<DirectoryName, DirectoryDeclaration>,
    /// Outputs, by name.
    #[serde(default)]
    pub outputs: BTreeMap<OutputName, OutputDeclaration>,
    /// What it may consume.
    #[serde(default)]
    pub limits: Limits,
    #[serde(skip)]
    digest: Option<Sha256Digest>,
}

/// What a step is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Its name.
    pub name: StepName,
    /// What it does, in a sentence.
    #[serde(default)]
    pub description: String,
}

/// A declared secret.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretDeclaration {
    /// How it will be used.
    #[serde(rename = "use", default = "http")]
    pub usage: SecretUse,
    /// Why.
    pub why: String,
}

const fn http() -> SecretUse {
    SecretUse::Http
}

/// A declared key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyDeclaration {
    /// How it will be used.
    #[serde(rename = "use")]
    pub usage: KeyUse,
    /// The formats it will sign in.
    pub formats: Vec<KeyFormat>,
    /// Why.
    pub why: String,
}

/// A declared directory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryDeclaration {
    /// What the step does in it.
    pub mode: DirectoryMode,
    /// Why.
    pub why: String,
}

/// A declared output.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputDeclaration {
    /// Why.
    pub why: String,
}

/// What a step may consume. A manifest may lower these and raise them up to the host's own bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// MiB of linear memory in all. 256 by default: a compiler fits, a memory bomb doesn't. At most 2048.
    pub memory_mib: u32,
    /// Seconds of wall-clock time. 600 by default. At most 3600.
    pub seconds: u32,
    /// MiB of log and outputs in all. 16 by default: what a job log can take. At most 64.
    pub output_mib: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_mib: 256, seconds: 600, output_mib: 16 }
    }
}

/// Text that is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadManifest {
    /// Longer than any manifest.
    #[error("a manifest has at most {LONGEST_MANIFEST} bytes, this has {0}")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("the manifest is not UTF-8 text")]
    NotText,
    /// Not TOML of this form.
    #[error("the manifest is wrong in {0}")]
    Toml(TomlError),
    /// More declarations than can be asked for at once.
    #[error("a manifest declares at most {MOST_DECLARATIONS} {kind}, this declares {count}")]
    TooMany {
        /// Of which kind.
        kind: &'static str,
        /// How many.
        count: usize,
    },
    /// No reason, or one that nobody would read.
    #[error("`{declaration}` needs a `why` of 1 to {LONGEST_WHY} characters on one line")]
    Why {
        /// Which.
        declaration: String,
    },
    /// A key that may sign in no format.
    #[error("`{declaration}` lists no format, or one twice")]
    Formats {
        /// Which.
        declaration: String,
    },
    /// A limit above the host's.
    #[error("`limits.{limit}` is {value}, and 1 to {most} is allowed")]
    Limit {
        /// Which.
        limit: &'static str,
        /// What the manifest says.
        value: u32,
        /// The host's bound.
        most: u32,
    },
    /// A use that this version can't serve.
    #[error("`{declaration}` has `use = \"http\"`, which this version does not serve: it has no egress process")]
    NoEgress {
        /// Which.
        declaration: String,
    },
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

    /// SHA-256 of the bytes it was read from.
    pub fn digest(&self) -> Sha256Digest {
        self.digest.unwrap_or_else(|| Sha256Digest::of(b""))
    }

    fn check(&self) -> Result<(), BadManifest> {
        let counts = [
            ("secrets", self.secrets.len()),
            ("keys", self.keys.len()),
            ("dirs", self.dirs.len()),
            ("outputs", self.outputs.len()),
        ];
        if let Some((kind, count)) = counts.into_iter().find(|(_, count)| *count > MOST_DECLARATIONS) {
            return Err(BadManifest::TooMany { kind, count });
        }
        let secrets = self.secrets.iter().map(|(name, declared)| (format!("secrets.{name}"), &declared.why));
        let keys = self.keys.iter().map(|(name, declared)| (format!("keys.{name}"), &declared.why));
        let dirs = self.dirs.iter().map(|(name, declared)| (format!("dirs.{name}"), &declared.why));
        let outputs = self.outputs.iter().map(|(name, declared)| (format!("outputs.{name}"), &declared.why));
        for (declaration, why) in secrets.chain(keys).chain(dirs).chain(outputs) {
            let length = why.trim().chars().count();
            if length == 0 || length > LONGEST_WHY || why.chars().any(char::is_control) {
                return Err(BadManifest::Why { declaration });
            }
        }
        for (name, key) in &self.keys {
            let mut formats = key.formats.clone();
            formats.sort_unstable();
            formats.dedup();
            if formats.is_empty() || formats.len() != key.formats.len() {
                return Err(BadManifest::Formats { declaration: format!("keys.{name}") });
            }
        }
        if let Some((name, _)) = self.secrets.iter().find(|(_, secret)| secret.usage == SecretUse::Http) {
            return Err(BadManifest::NoEgress { declaration: format!("secrets.{name}") });
        }
        let limits = [
            ("memory_mib", self.limits.memory_mib, 2048),
            ("seconds", self.limits.seconds, 3600),
            ("output_mib", self.limits.output_mib, 64),
        ];
        match limits.into_iter().find(|(_, value, most)| *value == 0 || value > most) {
            Some((limit, value, most)) => Err(BadManifest::Limit { limit, value, most }),
            None => Ok(()),
        }
    }
}

impl Explain for BadManifest {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Refused, self.to_string());
        match self {
            Self::TooLong(_) => report("AR-S101"),
            Self::NotText => report("AR-S102"),
            Self::Toml(error) => {
                let report = report("AR-S103").fact("line", error.line);
                match &error.meant {
                    Some(meant) => report.hint(format!("was `{meant}` meant?")),
                    None => report,
                }
            }
            Self::TooMany { .. } => report("AR-S104").hint("split the step"),
            Self::Why { .. } => {
                report("AR-S105").hint("say in a sentence what the step does with it: admins and auditors read it")
            }
            Self::Formats { .. } => report("AR-S106").hint("`formats = [\"raw\"]`"),
            Self::Limit { .. } => report("AR-S107"),
            Self::NoEgress { .. } => {
                report("AR-S108").hint("`use = \"reveal\"` gives the step the bytes, where policy allows it")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[step]
name = "release-sign"

[keys.release]
use = "sign"
formats = ["raw"]
why = "signs the release"

[dirs.dist]
mode = "write"
why = "holds the release"

[secrets."release/npm-token"]
use = "reveal"
why = "publishes"
"#;

    #[test]
    fn a_manifest_is_read_and_known_by_its_bytes() {
        let manifest = Manifest::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(manifest.step.name.as_str(), "release-sign");
        assert_eq!(manifest.limits, Limits { memory_mib: 256, seconds: 600, output_mib: 16 });
        assert_eq!(manifest.digest(), Sha256Digest::of(GOOD.as_bytes()));
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_reason() {
        let refused = |from: &str, to: &str| Manifest::parse(GOOD.replacen(from, to, 1).as_bytes()).unwrap_err();
        let BadManifest::Toml(error) = refused("[dirs.dist]", "[dir.dist]") else { panic!() };
        assert_eq!((error.line, error.meant.as_deref()), (10, Some("dirs")));
        let BadManifest::Toml(error) = refused("mode = \"write\"", "mode = \"wirte\"") else { panic!() };
        assert_eq!((error.line, error.meant.as_deref()), (11, Some("write")));
        assert!(matches!(refused("[dirs.dist]", "[dirs.\"../x\"]"), BadManifest::Toml(_)));
        assert!(matches!(refused("[keys.release]", "[keys.release]\nraw_digest = true"), BadManifest::Toml(_)));
        assert_eq!(
            refused("why = \"publishes\"", "why = \" \""),
            BadManifest::Why { declaration: "secrets.release/npm-token".into() }
        );
        assert_eq!(refused("[\"raw\"]", "[]"), BadManifest::Formats { declaration: "keys.release".into() });
        assert_eq!(
            refused("use = \"reveal\"\n", ""),
            BadManifest::NoEgress { declaration: "secrets.release/npm-token".into() }
        );
        assert_eq!(
            refused("[step]", "[limits]\nseconds = 3601\n[step]"),
            BadManifest::Limit { limit: "seconds", value: 3601, most: 3600 }
        );
        assert_eq!(Manifest::parse(&[0xff]), Err(BadManifest::NotText));
        assert_eq!(Manifest::parse(&vec![b'#'; 70_000]), Err(BadManifest::TooLong(70_000)));
    }
}
