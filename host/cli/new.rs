//! `new`: a project of a step that builds and runs as it is, from nothing but this program.

use crate::output::narrate;
use crate::{Global, output};
use attest_evidence::name::StepName;
use attest_evidence::report::{Fault, Report};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::Path;

mod vendored {
    include!(concat!(env!("OUT_DIR"), "/vendored.rs"));
}

/// The workspace that the SDK is built in: what its dependencies, lints and profile are.
const WORKSPACE: &str = include_str!("../../plugins/Cargo.toml");
/// The versions that the SDK was built with.
const LOCK: &str = include_str!("../../plugins/Cargo.lock");

/// Files of a new step, in which `NAME` and `CRATE` are replaced.
const TEMPLATE: [(&str, &str); 6] = [
    ("src/lib.rs", include_str!("template/lib.rs")),
    ("step.toml", include_str!("template/step.toml")),
    ("test.toml", include_str!("template/test.toml")),
    ("README.md", include_str!("template/README.md")),
    (".gitignore", "/target\n/*.wasm\n"),
    (".cargo/config.toml", "[build]\ntarget = \"wasm32-unknown-unknown\"\n"),
];

/// Make a project.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// The language
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    lang: Language,
    /// The step's name, and the directory's
    #[arg(value_name = "NAME")]
    name: String,
}

/// A language that steps are written in.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Language {
    /// Rust, with the SDK.
    Rust,
}

#[derive(Serialize)]
struct Made {
    directory: String,
    language: &'static str,
    files: usize,
    /// What to do next, in the directory.
    next: Vec<String>,
}

impl New {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        let name = package_name(&self.name)?;
        let crate_name = name.as_str().replace('-', "_");
        let files = match self.lang {
            Language::Rust => files(&name, &crate_name),
        };
        let directory = Path::new(name.as_str());
        std::fs::create_dir(directory).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Report::new("AR-S505", Fault::Refused, format!("{name} exists already, and is left as it is"))
                    .hint("take another name, or another directory to make it in")
            }
            _ => unwritten(directory, &error),
        })?;
        for (path, contents) in &files {
            let path = directory.join(path);
            let written = std::fs::create_dir_all(path.parent().unwrap_or(directory))
                .and_then(|()| std::fs::write(&path, contents));
            if let Err(error) = written {
                // Half of a project is none.
                let _ = std::fs::remove_dir_all(directory);
                return Err(unwritten(&path, &error));
            }
        }
        let next = vec![
            "cargo build --release".to_owned(),
            format!("attest-run pack target/wasm32-unknown-unknown/release/{crate_name}.wasm -o {name}.wasm"),
            format!("attest-run test {name}.wasm"),
            format!("attest-run {name}.wasm"),
        ];
        narrate!("made {name}. Next:\n  cd {name}\n  {}", next.join("\n  "));
        let made = Made { directory: name.to_string(), language: "rust", files: files.len(), next };
        output::print(global, "attest-run/new/v1", &made, String::new);
        Ok(())
    }
}

fn unwritten(path: &Path, error: &std::io::Error) -> Report {
    Report::new("AR-S502", Fault::Environment, format!("can't write {}: {error}", path.display()))
}

/// All files of a new step.
fn files(name: &StepName, crate_name: &str) -> Vec<(String, String)> {
    let filled = |text: &str| text.replace("NAME", name.as_str()).replace("CRATE", crate_name);
    let shared = WORKSPACE.find("[workspace.package]").and_then(|at| WORKSPACE.get(at..)).unwrap_or_default();
    let shared = shared.replace("path = \"sdk", "path = \"vendor/sdk");
    let package = format!("{}{shared}", filled(include_str!("template/package.toml")));
    let template = TEMPLATE.iter().map(|(path, text)| ((*path).to_owned(), filled(text)));
    let vendored = vendored::VENDORED.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    template
        .chain(vendored)
        .chain([("Cargo.toml".to_owned(), package), ("Cargo.lock".to_owned(), LOCK.to_owned())])
        .collect()
}

/// Words of the language, and crates that every program has.
const RESERVED: [&str; 59] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "union",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "wasm32",
    "where",
    "while",
    "yield",
];

/// A name of a step that a package of Rust can have too.
fn package_name(text: &str) -> Result<StepName, Report> {
    let bad = |why: String| {
        Err(Report::new("AR-S504", Fault::Usage, format!("a new step can't be called that: {why}"))
            .hint("a-z, 0-9 and `-`, beginning with a letter: `attest-run new publish-npm`"))
    };
    match text.parse::<StepName>() {
        Err(error) => bad(error.to_string()),
        Ok(name) if !text.starts_with(|first: char| first.is_ascii_lowercase()) || text.contains('.') => {
            bad(format!("no package of Rust is called `{name}`"))
        }
        Ok(name) if RESERVED.contains(&text) => bad(format!("`{name}` means something in Rust")),
        Ok(name) if text.starts_with("attest-sdk") => bad(format!("`{name}` is the SDK's")),
        Ok(name) => Ok(name),
    }
}
