//! Whether a manifest covers what a component imports.

use crate::component::Component;
use crate::manifest::Manifest;
use attest_evidence::exchange::SecretUse;
use attest_evidence::report::{Explain, Fault, Report};

/// A step whose imports are all covered by its manifest.
///
/// Its one constructor is [`CheckedStep::check`].
#[derive(Debug, Clone)]
pub struct CheckedStep {
    manifest: Manifest,
    component: Component,
}

/// An import and what covers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Its name.
    pub name: String,
    /// What covers it.
    pub coverage: Coverage,
}

/// What covers an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coverage {
    /// It needs no declaration.
    Always,
    /// The manifest declares what it is for.
    Declared(&'static str),
    /// The manifest doesn't, and could: the lines to add.
    Undeclared(&'static str),
    /// No declaration covers it.
    Unknown,
}

/// A component that imports more than its manifest declares, or exports nothing to run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Uncovered {
    /// An import that could be declared and isn't.
    #[error("the component imports `{import}`, and the manifest declares nothing for it")]
    Undeclared {
        /// Which.
        import: String,
        /// The lines to add.
        lines: &'static str,
    },
    /// An import that this host doesn't have.
    #[error("the component imports `{import}`, which this host does not have")]
    Unknown {
        /// Which.
        import: String,
    },
    /// Nothing to run.
    #[error("the component does not export `run`")]
    NothingToRun,
}

const SECRETS: &str = "[secrets.\"NAME\"]\nuse = \"reveal\"\nwhy = \"…\"";
const KEYS: &str = "[keys.NAME]\nuse = \"sign\"\nformats = [\"raw\"]\nwhy = \"…\"";
const DIRS: &str = "[dirs.NAME]\nmode = \"read\"\nwhy = \"…\"";
const OUTPUTS: &str = "[outputs.NAME]\nwhy = \"…\"";

impl CheckedStep {
    /// Holds a component against its manifest.
    ///
    /// # Errors
    /// The first import that is not covered.
    pub fn check(manifest: Manifest, component: Component) -> Result<Self, Uncovered> {
        for import in Self::imports(&manifest, &component) {
            match import.coverage {
                Coverage::Always | Coverage::Declared(_) => {}
                Coverage::Undeclared(lines) => return Err(Uncovered::Undeclared { import: import.name, lines }),
                Coverage::Unknown => return Err(Uncovered::Unknown { import: import.name }),
            }
        }
        if !component.exports.iter().any(|export| export == "run") {
            return Err(Uncovered::NothingToRun);
        }
        Ok(Self { manifest, component })
    }

    /// Each import of a component with what covers it.
    pub fn imports(manifest: &Manifest, component: &Component) -> Vec<Import> {
        component.imports.iter().map(|name| Import { name: name.clone(), coverage: coverage(manifest, name) }).collect()
    }

    /// What it declares.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it is.
    pub const fn component(&self) -> &Component {
        &self.component
    }
}

fn coverage(manifest: &Manifest, import: &str) -> Coverage {
    let declared = |is: bool, section: &'static str, lines: &'static str| {
        if is { Coverage::Declared(section) } else { Coverage::Undeclared(lines) }
    };
    let dirs = || declared(!manifest.dirs.is_empty(), "dirs", DIRS);
    // Files and streams come with directories, and with the keys that sign files.
    let files = || declared(!manifest.dirs.is_empty() || !manifest.keys.is_empty(), "dirs", DIRS);
    let Some((interface, version)) = import.split_once('@') else { return Coverage::Unknown };
    match (interface, version) {
        ("attest:step/log" | "attest:step/types", "0.1.0") => Coverage::Always,
        ("attest:step/secrets", "0.1.0") => declared(!manifest.secrets.is_empty(), "secrets", SECRETS),
        ("attest:step/reveal", "0.1.0") => {
            let reveals = manifest.secrets.values().any(|secret| secret.usage == SecretUse::Reveal);
            declared(reveals, "secrets", SECRETS)
        }
        ("attest:step/signing", "0.1.0") => declared(!manifest.keys.is_empty(), "keys", KEYS),
        ("attest:step/directories", "0.1.0") => dirs(),
        ("attest:step/outputs", "0.1.0") => declared(!manifest.outputs.is_empty(), "outputs", OUTPUTS),
        (
            "wasi:filesystem/types" | "wasi:io/error" | "wasi:io/poll" | "wasi:io/streams" | "wasi:clocks/wall-clock",
            version,
        ) if version.starts_with("0.2.") => files(),
        _ => Coverage::Unknown,
    }
}

impl Explain for Uncovered {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Refused, self.to_string());
        match self {
            Self::Undeclared { import, lines } => report("AR-S301")
                .fact("import", import)
                .hint(format!("the step did not start. If it is meant to have it, add to step.toml:\n{lines}")),
            Self::Unknown { import } => report("AR-S302").fact("import", import).hint(
                "the step did not start. It may be built against another version of the contract, or for a host with \
                 a network or an environment of its own",
            ),
            Self::NothingToRun => report("AR-S303").hint("a step exports `run` of the world `attest:step/step@0.1.0`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(manifest: &str, imports: &[&str]) -> Result<CheckedStep, Uncovered> {
        let manifest = format!("[step]\nname = \"s\"\n{manifest}");
        let component = Component {
            imports: imports.iter().map(ToString::to_string).collect(),
            exports: vec!["run".into()],
            digest: attest_evidence::Sha256Digest::of(b""),
        };
        CheckedStep::check(Manifest::parse(manifest.as_bytes()).unwrap(), component)
    }

    #[test]
    fn an_import_needs_its_declaration() {
        let declarations = [
            ("attest:step/secrets@0.1.0", "[secrets.a]\nuse = \"reveal\"\nwhy = \"w\""),
            ("attest:step/reveal@0.1.0", "[secrets.a]\nuse = \"reveal\"\nwhy = \"w\""),
            ("attest:step/signing@0.1.0", "[keys.a]\nuse = \"sign\"\nformats = [\"raw\"]\nwhy = \"w\""),
            ("attest:step/directories@0.1.0", "[dirs.a]\nmode = \"read\"\nwhy = \"w\""),
            ("wasi:filesystem/types@0.2.12", "[dirs.a]\nmode = \"read\"\nwhy = \"w\""),
            ("attest:step/outputs@0.1.0", "[outputs.a]\nwhy = \"w\""),
        ];
        for (import, declaration) in declarations {
            assert!(check(declaration, &[import]).is_ok(), "{import}");
            let Err(Uncovered::Undeclared { import: named, .. }) = check("", &[import]) else { panic!("{import}") };
            assert_eq!(named, import);
        }
        assert!(check("", &["attest:step/log@0.1.0"]).is_ok());
    }

    #[test]
    fn what_the_host_does_not_have_no_declaration_covers() {
        let everything = "[dirs.a]\nmode = \"read\"\nwhy = \"w\"";
        for import in
            ["wasi:sockets/tcp@0.2.12", "wasi:cli/environment@0.2.12", "attest:step/log@0.2.0", "env", "evil:x/y"]
        {
            assert_eq!(check(everything, &[import]).map(drop), Err(Uncovered::Unknown { import: import.into() }));
        }
    }
}
