//! Whether a manifest covers what a component imports.

use crate::component::{Component, NotAComponent};
use crate::interfaces::{INTERFACES, Interface, Known, Need, Section, imports, known};
use crate::manifest::{BadManifest, Manifest};
use attest_evidence::exchange::{KeyUse, SecretUse};
use attest_evidence::report::{Explain, Fault, Report};

/// A step whose imports are all covered by its manifest.
///
/// Its constructors are [`CheckedStep::read`] and [`CheckedStep::check`].
#[derive(Debug, Clone)]
pub struct CheckedStep {
    manifest: Manifest,
    component: Component,
    kind: StepKind,
}

/// How a component is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// It exports `run` of the world `attest:step/step`.
    Step,
    /// It exports `wasi:cli/run`: a program of any toolchain.
    Command,
}

impl StepKind {
    /// As text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Command => "command",
        }
    }

    /// How a component is run.
    ///
    /// # Errors
    /// [`Uncovered::NothingToRun`], or [`Uncovered::Version`] of a program for another host.
    pub fn of(component: &Component) -> Result<Self, Uncovered> {
        if component.exports.iter().any(|export| export == "run") {
            return Ok(Self::Step);
        }
        let Some(run) = component.exports.iter().find(|export| export.split('@').next() == Some("wasi:cli/run")) else {
            return Err(Uncovered::NothingToRun);
        };
        match known(run) {
            Known::Version { package, built, served } => {
                Err(Uncovered::Version { name: run.clone(), package, built, served })
            }
            Known::Interface(_) | Known::Nothing => Ok(Self::Command),
        }
    }
}

/// An import and what covers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Its name.
    pub name: String,
    /// The interface, if this host knows it.
    pub interface: Option<&'static Interface>,
    /// What covers it.
    pub coverage: Coverage,
}

/// What covers an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coverage {
    /// It needs no declaration.
    Always,
    /// The manifest declares what it is for, in these sections.
    Declared(Vec<Section>),
    /// The manifest doesn't, and could: the sections to add.
    Undeclared(Vec<Section>),
    /// It is of a package whose version is another than the host's.
    Version {
        /// `attest:step`.
        package: &'static str,
        /// The version that the component was built against.
        built: String,
        /// The version that the host serves.
        served: &'static str,
    },
    /// The host knows it, and does not give it: why.
    Never(&'static str),
    /// The host does not know it.
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
        /// The sections to add.
        sections: Vec<Section>,
    },
    /// An import that this host knows and does not give.
    #[error("the component imports `{import}`: {why}")]
    Never {
        /// Which.
        import: String,
        /// Why not.
        why: &'static str,
    },
    /// An import that this host doesn't have.
    #[error("the component imports `{import}`, which this host does not have")]
    Unknown {
        /// Which.
        import: String,
    },
    /// An import, or an export to run, in a version that this host doesn't serve.
    #[error("the component was built against {package} {built}; this host serves {served}")]
    Version {
        /// The import or export.
        name: String,
        /// Its package.
        package: &'static str,
        /// Its version.
        built: String,
        /// The version that the host serves.
        served: &'static str,
    },
    /// Nothing to run.
    #[error("the component exports neither `run` nor `wasi:cli/run`")]
    NothingToRun,
}

/// Why two files are no step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadStep {
    /// The one is no manifest.
    #[error(transparent)]
    Manifest(#[from] BadManifest),
    /// The other is no component.
    #[error(transparent)]
    Component(#[from] NotAComponent),
    /// It imports more than the manifest declares.
    #[error(transparent)]
    Uncovered(#[from] Uncovered),
}

impl CheckedStep {
    /// Reads a manifest and a component, and holds one against the other.
    ///
    /// # Errors
    /// See [`BadStep`].
    pub fn read(manifest: &[u8], component: &[u8]) -> Result<Self, BadStep> {
        Ok(Self::check(Manifest::parse(manifest)?, Component::inspect(component)?)?)
    }

    /// Holds a component against its manifest.
    ///
    /// # Errors
    /// The first import that is not covered.
    pub fn check(manifest: Manifest, component: Component) -> Result<Self, Uncovered> {
        for Import { name: import, coverage, .. } in Self::imports(&manifest, &component) {
            match coverage {
                Coverage::Always | Coverage::Declared(_) => {}
                Coverage::Undeclared(sections) => return Err(Uncovered::Undeclared { import, sections }),
                Coverage::Version { package, built, served } => {
                    return Err(Uncovered::Version { name: import, package, built, served });
                }
                Coverage::Never(why) => return Err(Uncovered::Never { import, why }),
                Coverage::Unknown => return Err(Uncovered::Unknown { import }),
            }
        }
        let kind = StepKind::of(&component)?;
        Ok(Self { manifest, component, kind })
    }

    /// Each import of a component with what covers it.
    pub fn imports(manifest: &Manifest, component: &Component) -> Vec<Import> {
        let kind = StepKind::of(component).unwrap_or(StepKind::Step);
        let import = |name: &String| {
            let (interface, coverage) = match known(name) {
                Known::Interface(interface) => (Some(interface), coverage(interface, kind, manifest, component)),
                Known::Version { package, built, served } => (None, Coverage::Version { package, built, served }),
                Known::Nothing => (None, Coverage::Unknown),
            };
            Import { name: name.clone(), interface, coverage }
        };
        component.imports.iter().map(import).collect()
    }

    /// The declarations that no import uses, such as `secrets.release/npm-token`.
    pub fn unneeded(manifest: &Manifest, component: &Component) -> Vec<String> {
        let command = StepKind::of(component) == Ok(StepKind::Command);
        let uses = |interfaces: &[&str]| interfaces.iter().any(|interface| imports(component, interface));
        let secret = |usage| match usage {
            SecretUse::Http => uses(&["attest:step/http"]),
            SecretUse::Reveal => uses(&["attest:step/reveal"]),
            SecretUse::Env => command && uses(&["wasi:cli/environment"]),
        };
        let key = |usage| match usage {
            KeyUse::Sign => uses(&["attest:step/signing"]),
            KeyUse::Derive => uses(&["attest:step/derive"]),
        };
        let directories = uses(&["attest:step/directories"]) || command && uses(&["wasi:filesystem/preopens"]);
        let one = |name: &str, declared: bool, used: bool| (declared && !used).then(|| name.to_owned());
        let secrets = manifest.secrets.iter().filter(|(_, declared)| !secret(declared.usage));
        let tokens = manifest.tokens.keys().filter(|_| !secret(SecretUse::Http));
        let keys = manifest.keys.iter().filter(|(_, declared)| !key(declared.usage));
        let dirs = manifest.dirs.keys().filter(|_| !directories);
        let outputs = manifest.outputs.keys().filter(|_| !uses(&["attest:step/outputs"]));
        secrets
            .map(|(name, _)| format!("secrets.{name}"))
            .chain(tokens.map(|name| format!("tokens.{name}")))
            .chain(keys.map(|(name, _)| format!("keys.{name}")))
            .chain(dirs.map(|name| format!("dirs.{name}")))
            .chain(one("http", !manifest.http.is_empty(), uses(&["wasi:http/outgoing-handler", "attest:step/http"])))
            .chain(outputs.map(|name| format!("outputs.{name}")))
            .chain(one("summary", manifest.summary.is_some(), uses(&["attest:step/summary"])))
            .chain(one("annotations", manifest.annotations.is_some(), uses(&["attest:step/annotations"])))
            .collect()
    }

    /// What it declares.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it is.
    pub const fn component(&self) -> &Component {
        &self.component
    }

    /// How it is run.
    pub const fn kind(&self) -> StepKind {
        self.kind
    }
}

fn coverage(interface: &Interface, kind: StepKind, manifest: &Manifest, component: &Component) -> Coverage {
    if interface.in_commands && kind == StepKind::Command {
        return Coverage::Always;
    }
    match interface.need {
        Need::Nothing => Coverage::Always,
        Need::Never(why) => Coverage::Never(why),
        Need::All(_) | Need::Any(_) | Need::AllAndAny(..) => {
            let (all, any) = interface.need.sections();
            let (mut declared, mut missing): (Vec<Section>, Vec<Section>) =
                all.iter().copied().partition(|section| section.is_in(manifest));
            let one: Vec<Section> = any.iter().copied().filter(|section| section.is_in(manifest)).collect();
            if one.is_empty() && !any.is_empty() {
                missing.push(proposed(any, component));
            }
            declared.extend(one);
            if missing.is_empty() { Coverage::Declared(declared) } else { Coverage::Undeclared(missing) }
        }
    }
}

/// Of sections any of which would do: the one that another import needs.
fn proposed(sections: &[Section], component: &Component) -> Section {
    let needed = |section: &Section| {
        INTERFACES.iter().any(|other| {
            let wants = match other.need {
                Need::All(all) => all.contains(section),
                Need::AllAndAny(all, any) => all.contains(section) || any.contains(section),
                Need::Nothing | Need::Any(_) | Need::Never(_) => false,
            };
            wants && imports(component, other.name)
        })
    };
    // Of an empty list nothing can be proposed; there is none in the table.
    sections.iter().copied().find(needed).or_else(|| sections.first().copied()).unwrap_or(Section::Http)
}

impl Explain for BadStep {
    fn report(&self) -> Report {
        match self {
            Self::Manifest(error) => error.report(),
            Self::Component(error) => error.report(),
            Self::Uncovered(error) => error.report(),
        }
    }
}

impl Explain for Uncovered {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Refused, self.to_string());
        match self {
            Self::Undeclared { import, sections } => {
                let lines: Vec<_> = sections.iter().map(|section| section.lines()).collect();
                let report = report("AR-S301").fact("import", import);
                match known(import) {
                    Known::Interface(interface) => report.fact("what it does", interface.gives),
                    Known::Version { .. } | Known::Nothing => report,
                }
                .hint(format!(
                    "the step did not start. If it is meant to have it, add to step.toml (`attest-run check --fix` does):\n{}",
                    lines.join("\n\n")
                ))
            }
            Self::Never { import, why } => report("AR-S302")
                .fact("import", import)
                .hint(format!("the step did not start. No declaration would change that: {why}")),
            Self::Unknown { import } => report("AR-S302").fact("import", import).hint(
                "the step did not start. It may be built for another host: `attest-run check` lists what it imports",
            ),
            Self::Version { name, .. } => report("AR-S304").fact("interface", name).hint(
                "the step did not start. Build it against the version that this host serves, or install a host that serves its own",
            ),
            Self::NothingToRun => report("AR-S303").hint(
                "a step exports `run` of the world `attest:step/step@0.1.0`, and a program `wasi:cli/run@0.2`",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(imports: &[&str], exports: &[&str]) -> Component {
        Component {
            imports: imports.iter().map(ToString::to_string).collect(),
            exports: exports.iter().map(ToString::to_string).collect(),
            manifest: None,
            digest: attest_evidence::Sha256Digest::of(b""),
        }
    }

    fn manifest(sections: &str) -> Manifest {
        Manifest::parse(format!("[step]\nname = \"s\"\n{sections}").as_bytes()).unwrap()
    }

    fn check(sections: &str, imports: &[&str]) -> Result<CheckedStep, Uncovered> {
        CheckedStep::check(manifest(sections), component(imports, &["run"]))
    }

    const HTTP: &str = "[http]\nallow = [\"https://example.com\"]\nwhy = \"w\"\n";
    const HTTP_SECRET: &str = "[http]\nallow = [\"https://example.com\"]\nwhy = \"w\"\n[secrets.a]\nwhy = \"w\"";
    const TOKEN: &str =
        "[http]\nallow = [\"https://example.com\"]\nwhy = \"w\"\n[tokens.a]\naudience = \"sts\"\nwhy = \"w\"";
    const REVEAL: &str = "[secrets.a]\nuse = \"reveal\"\nwhy = \"w\"";
    const SIGN: &str = "[keys.a]\nuse = \"sign\"\nformats = [\"raw\"]\nwhy = \"w\"";
    const DERIVE: &str = "[keys.a]\nuse = \"derive\"\nwhy = \"w\"";
    const DIRS: &str = "[dirs.a]\nmode = \"read\"\nwhy = \"w\"";
    const EVERYTHING: &str = "[dirs.a]\nmode = \"read\"\nwhy = \"w\"\n[summary]\nwhy = \"w\"\n[annotations]\nwhy = \"w\"\n\
        [outputs.a]\nwhy = \"w\"\n[keys.s]\nuse = \"sign\"\nformats = [\"raw\"]\nwhy = \"w\"\n[keys.d]\nuse = \"derive\"\nwhy = \"w\"\n\
        [http]\nallow = [\"https://example.com\"]\nwhy = \"w\"\n[secrets.h]\nwhy = \"w\"\n[secrets.r]\nuse = \"reveal\"\nwhy = \"w\"\n\
        [secrets.e]\nuse = \"env\"\nvariable = \"A\"\nwhy = \"w\"\n[tokens.t]\naudience = \"sts\"\nwhy = \"w\"\n";

    #[test]
    fn an_import_needs_its_declaration() {
        let declarations = [
            ("attest:step/secrets@0.1.0", REVEAL),
            ("attest:step/secrets@0.1.0", HTTP_SECRET),
            ("attest:step/secrets@0.1.0", TOKEN),
            ("attest:step/http@0.1.0", TOKEN),
            ("attest:step/reveal@0.1.0", REVEAL),
            ("attest:step/http@0.1.0", HTTP_SECRET),
            ("attest:step/signing@0.1.0", SIGN),
            ("attest:step/derive@0.1.0", DERIVE),
            ("attest:step/directories@0.1.0", DIRS),
            ("wasi:filesystem/types@0.2.12", DIRS),
            ("wasi:filesystem/types@0.2.3", SIGN),
            ("attest:step/outputs@0.1.0", "[outputs.a]\nwhy = \"w\""),
            ("attest:step/summary@0.1.0", "[summary]\nwhy = \"w\""),
            ("attest:step/annotations@0.1.0", "[annotations]\nwhy = \"w\""),
            ("wasi:http/types@0.2.0", HTTP),
            ("wasi:http/outgoing-handler@0.2.12", HTTP),
        ];
        for (import, declaration) in declarations {
            assert_eq!(check(declaration, &[import]).map(|step| step.kind()), Ok(StepKind::Step), "{import}");
            let Err(Uncovered::Undeclared { import: named, .. }) = check("", &[import]) else { panic!("{import}") };
            assert_eq!(named, import);
        }
        for (import, another) in [
            ("attest:step/signing@0.1.0", DERIVE),
            ("attest:step/derive@0.1.0", SIGN),
            ("wasi:filesystem/types@0.2.0", DERIVE),
            ("attest:step/reveal@0.1.0", HTTP_SECRET),
            ("attest:step/reveal@0.1.0", TOKEN),
            ("attest:step/http@0.1.0", HTTP),
            ("attest:step/http@0.1.0", REVEAL),
        ] {
            assert!(matches!(check(another, &[import]), Err(Uncovered::Undeclared { .. })), "{import}");
        }
        for import in ["attest:step/log@0.1.0", "wasi:io/streams@0.2.6", "wasi:random/random@0.2.0"] {
            assert!(check("", &[import]).is_ok(), "{import}");
        }
    }

    #[test]
    fn what_covers_an_import_is_named() {
        let by = |sections: &str, import: &str| {
            let imports = CheckedStep::imports(&manifest(sections), &component(&[import], &["run"]));
            imports.into_iter().next().map(|import| import.coverage)
        };
        let http = "attest:step/http@0.1.0";
        assert_eq!(by(TOKEN, http), Some(Coverage::Declared(vec![Section::Http, Section::Token])));
        assert_eq!(by(HTTP_SECRET, http), Some(Coverage::Declared(vec![Section::Http, Section::HttpSecret])));
        assert_eq!(by(HTTP, http), Some(Coverage::Undeclared(vec![Section::HttpSecret])));
        assert_eq!(by(REVEAL, http), Some(Coverage::Undeclared(vec![Section::Http, Section::HttpSecret])));
        assert_eq!(by(TOKEN, "attest:step/secrets@0.1.0"), Some(Coverage::Declared(vec![Section::Token])));
    }

    #[test]
    fn each_need_alone_is_met_by_the_lines_that_are_proposed() {
        for interface in INTERFACES {
            let version = if interface.name.starts_with("attest") { "0.1.0" } else { "0.2.0" };
            let import = format!("{}@{version}", interface.name);
            if let Err(Uncovered::Undeclared { sections, .. }) = check("", &[&import]) {
                let named = |section: &Section| section.lines().replace("NAME", "a").replace("HOST", "example.com");
                let mut lines: Vec<String> = sections.iter().map(named).collect();
                if sections == [Section::HttpSecret] {
                    lines.push(HTTP.into());
                }
                assert!(check(&lines.join("\n"), &[&import]).is_ok(), "{import}: {lines:?}");
            }
        }
    }

    #[test]
    fn what_the_host_does_not_have_no_declaration_covers() {
        for import in
            ["attest:step/later@0.1.0", "env", "evil:x/y", "wasi:keyvalue/store@0.2.0", "wasi:cli/command@0.2.0"]
        {
            assert_eq!(check(EVERYTHING, &[import]).map(drop), Err(Uncovered::Unknown { import: import.into() }));
        }
        for import in ["wasi:sockets/tcp@0.2.12", "wasi:cli/environment@0.2.12", "wasi:filesystem/preopens@0.2.12"] {
            let refused = check(EVERYTHING, &[import]).map(drop);
            assert!(matches!(&refused, Err(Uncovered::Never { .. })), "{refused:?}");
        }
        let refused = check(EVERYTHING, &["attest:step/log@0.2.0"]).unwrap_err();
        assert_eq!(refused.to_string(), "the component was built against attest:step 0.2.0; this host serves 0.1.0");
        assert_eq!(refused.report().code.as_str(), "AR-S304");
    }

    #[test]
    fn programs_of_any_toolchain_have_what_they_can_not_do_without() {
        let imports = [
            "wasi:cli/environment@0.2.3",
            "wasi:cli/exit@0.2.3",
            "wasi:cli/stdout@0.2.3",
            "wasi:cli/terminal-stdin@0.2.3",
            "wasi:filesystem/types@0.2.3",
            "wasi:filesystem/preopens@0.2.3",
            "wasi:clocks/wall-clock@0.2.3",
        ];
        let run = |sections: &str, more: &[&str], export: &str| {
            CheckedStep::check(manifest(sections), component(&[&imports[..], more].concat(), &[export]))
        };
        assert_eq!(run("", &[], "wasi:cli/run@0.2.3").map(|step| step.kind()), Ok(StepKind::Command));
        assert!(run(HTTP, &["wasi:http/outgoing-handler@0.2.3"], "wasi:cli/run@0.2.0").is_ok());
        let refused = run("", &["wasi:http/outgoing-handler@0.2.3"], "wasi:cli/run@0.2.0").unwrap_err();
        assert!(matches!(refused, Uncovered::Undeclared { .. }));
        let refused = run(EVERYTHING, &["wasi:sockets/tcp@0.2.3"], "wasi:cli/run@0.2.0").unwrap_err();
        assert!(refused.to_string().contains("no sockets"), "{refused}");
        let newer = CheckedStep::check(manifest(""), component(&[], &["wasi:cli/run@0.3.0"])).unwrap_err();
        assert!(matches!(newer, Uncovered::Version { .. }));
        let none = CheckedStep::check(manifest(""), component(&[], &["wasi:http/incoming-handler@0.2.0"])).unwrap_err();
        assert_eq!(none, Uncovered::NothingToRun);
    }

    #[test]
    fn what_nobody_uses_is_told() {
        let all = manifest(EVERYTHING);
        let unneeded = |imports: &[&str], export: &str| CheckedStep::unneeded(&all, &component(imports, &[export]));
        let everything = [
            "secrets.e",
            "secrets.h",
            "secrets.r",
            "tokens.t",
            "keys.d",
            "keys.s",
            "dirs.a",
            "http",
            "outputs.a",
            "summary",
            "annotations",
        ];
        assert_eq!(unneeded(&[], "run"), everything);
        let imports = [
            "attest:step/http@0.1.0",
            "attest:step/reveal@0.1.0",
            "attest:step/signing@0.1.0",
            "attest:step/derive@0.1.0",
            "attest:step/directories@0.1.0",
            "attest:step/outputs@0.1.0",
            "attest:step/summary@0.1.0",
            "attest:step/annotations@0.1.0",
        ];
        // A step has no environment.
        assert_eq!(unneeded(&imports, "run"), ["secrets.e"]);
        let command = unneeded(&["wasi:cli/environment@0.2.0", "wasi:filesystem/preopens@0.2.0"], "wasi:cli/run@0.2.0");
        assert!(!command.contains(&"secrets.e".to_owned()) && !command.contains(&"dirs.a".to_owned()), "{command:?}");
    }
}
