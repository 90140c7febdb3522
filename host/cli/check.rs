//! `check`: what a step wants, what its manifest grants, and what is missing.

use crate::Global;
use crate::files::{self, Found, ManifestPlace};
use crate::output::{self, narrate, narrate_error};
use attest_evidence::name::StepName;
use attest_evidence::report::{Explain as _, Fault, Report};
use attest_step::{
    CheckedStep, Component, Coverage, Import, Manifest, Proposal, Section, StepKind, is_unfinished, least_manifest,
    manifest_schema,
};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Check a step.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The step's manifest. Default: the one in the component, else step.toml beside it
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Write what is missing into the manifest, or make one
    #[arg(long)]
    fix: bool,
    /// Print the JSON Schema of step.toml
    #[arg(long, conflicts_with_all = ["manifest", "fix", "component"])]
    schema: bool,
    /// The component
    #[arg(value_name = "STEP.wasm", required_unless_present = "schema")]
    component: Option<PathBuf>,
}

#[derive(Serialize)]
struct Listing {
    step: String,
    /// `step` or `command`; null if there is nothing to run.
    kind: Option<&'static str>,
    /// SHA-256.
    component: String,
    /// SHA-256.
    manifest: String,
    manifest_from: ManifestPlace,
    imports: Vec<Row>,
    /// Declarations that no import uses.
    unneeded: Vec<String>,
    /// What `--fix` has written.
    written: Option<Written>,
    /// Why the step would not start.
    error: Option<Report>,
}

#[derive(Serialize)]
struct Row {
    import: String,
    covered: bool,
    /// `nothing`, or what the manifest declares.
    by: String,
    /// What it does, and what it needs.
    explanation: String,
    /// The lines that would cover it.
    lines: Vec<String>,
}

#[derive(Serialize)]
struct Written {
    file: String,
    sections: Vec<String>,
}

impl Check {
    pub(crate) fn execute(self, global: &Global) -> Result<ExitCode, Report> {
        let Some(path) = &self.component else {
            output::print_text(&manifest_schema());
            return Ok(ExitCode::SUCCESS);
        };
        let component = Component::inspect(&files::read_component(path)?).map_err(|error| error.report())?;
        let (found, written) = self.manifest(path, &component)?;
        let manifest = Manifest::parse(&found.bytes).map_err(|error| error.report().fact("file", found.describe()))?;
        let unneeded = CheckedStep::unneeded(&manifest, &component);
        let mut listing = Listing {
            step: manifest.step.name.to_string(),
            kind: StepKind::of(&component).ok().map(StepKind::as_str),
            component: component.digest.to_string(),
            manifest: manifest.digest().to_string(),
            manifest_from: found.place,
            imports: CheckedStep::imports(&manifest, &component).into_iter().map(Row::of).collect(),
            unneeded,
            written,
            error: None,
        };
        let unfinished = is_unfinished(&manifest);
        listing.error = CheckedStep::check(manifest, component).err().map(|error| error.report());
        output::print(global, "attest-run/check/v1", &listing, || listing.in_words(&found.describe()));
        for declaration in &listing.unneeded {
            narrate!("warning: `{declaration}` is declared, and nothing that the component imports uses it");
        }
        if let Some(Written { file, sections }) = &listing.written {
            let sections = if sections.is_empty() { "the manifest".to_owned() } else { sections.join(", ") };
            narrate!("wrote {sections} into {file}");
        }
        if unfinished {
            narrate!("warning: names, hosts and each `why` that says TODO are to be filled in");
        }
        match &listing.error {
            Some(report) => {
                narrate_error(report);
                Ok(ExitCode::from(report.fault.exit_status()))
            }
            None => Ok(ExitCode::SUCCESS),
        }
    }

    /// The manifest, with what `--fix` has added to it.
    fn manifest(&self, path: &Path, component: &Component) -> Result<(Found, Option<Written>), Report> {
        let named = self.manifest.as_deref();
        if !self.fix {
            let found = files::find_manifest(named, path, component.manifest.clone())?;
            return Ok((found.ok_or_else(|| files::no_manifest(path))?, None));
        }
        let file = named.map_or_else(|| files::beside(path), Path::to_owned);
        // What lies in a file is what can be written to.
        let found = if file.exists() {
            files::find_manifest(Some(&file), path, None)?
        } else {
            files::find_manifest(None, path, component.manifest.clone())?
        };
        let is_new = !file.exists();
        let before = match found {
            Some(found) => found.bytes,
            None => least_manifest(&step_name(path)).into_bytes(),
        };
        // What is not text is no manifest, and is told as such.
        let text = String::from_utf8_lossy(&before);
        Manifest::parse(&before).map_err(|error| error.report().fact("file", file.display()))?;
        let proposal = Proposal::of(&text, component).map_err(|error| {
            Report::new("AR-S503", Fault::Refused, format!("what is missing can't be added to {}", file.display()))
                .fact("reason", &error)
                .hint("it has tables in one line, or all that a manifest may have: add by hand what `attest-run check` lists")
        })?;
        let place = if named.is_some() { ManifestPlace::Named } else { ManifestPlace::Beside };
        let bytes = proposal.text.into_bytes();
        let written = if is_new || !proposal.added.is_empty() {
            files::write_whole(&file, &bytes).map_err(|error| {
                Report::new("AR-S502", Fault::Environment, format!("can't write {}: {error}", file.display()))
            })?;
            if component.manifest.is_some() {
                narrate!("the component has a manifest inside: `attest-run pack` puts the new one there");
            }
            Some(Written { file: file.display().to_string(), sections: proposal.added })
        } else {
            None
        };
        Ok((Found { place, path: Some(file), bytes }, written))
    }
}

/// A name for a step of which only the file is known.
fn step_name(component: &Path) -> StepName {
    let stem = component.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_ascii_lowercase();
    let plain: String =
        stem.chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' }).collect();
    let plain: String = plain.trim_matches('-').chars().take(40).collect();
    let parsed = plain.trim_matches('-').parse().or_else(|_| "step".parse());
    parsed.unwrap_or_else(|_| unreachable!("`step` is a name"))
}

impl Row {
    fn of(import: Import) -> Self {
        let heads = |sections: &[Section]| sections.iter().map(|section| section.head()).collect::<Vec<_>>().join(", ");
        let (covered, by, lines) = match &import.coverage {
            Coverage::Always => (true, "always".to_owned(), Vec::new()),
            Coverage::Declared(sections) => (true, heads(sections), Vec::new()),
            Coverage::Undeclared(sections) => {
                (false, "nothing".to_owned(), sections.iter().map(|section| section.lines()).collect())
            }
            Coverage::Version { .. } | Coverage::Never(_) | Coverage::Unknown => {
                (false, "nothing".to_owned(), Vec::new())
            }
        };
        let explanation = match (&import.coverage, import.interface) {
            (Coverage::Version { package, built, served }, _) => {
                format!("is of {package} {built}; this host serves {served}")
            }
            (Coverage::Always, Some(interface)) => interface.gives.to_owned(),
            (_, Some(interface)) => interface.sentence(),
            (_, None) => "is nothing that this host has".to_owned(),
        };
        Self { import: import.name, covered, by, explanation, lines }
    }
}

impl Listing {
    fn in_words(&self, manifest: &str) -> String {
        let width = |of: fn(&Row) -> usize, least: usize| self.imports.iter().map(of).max().unwrap_or(0).max(least);
        let (wanted, granted) = (width(|row| row.import.len(), 6), width(|row| row.by.len(), 7));
        let kind = self.kind.unwrap_or("nothing to run");
        let mut text = format!(
            "step       {} ({kind})\ncomponent  sha256:{}\nmanifest   sha256:{} ({manifest})\n\n     {:wanted$}  {:granted$}\n",
            self.step, self.component, self.manifest, "wanted", "granted"
        );
        for row in &self.imports {
            let mark = if row.covered { "ok" } else { "NO" };
            text += &format!("  {mark} {:wanted$}  {:granted$}  {}\n", row.import, row.by, row.explanation);
        }
        let mut lines: Vec<&String> = self.imports.iter().flat_map(|row| &row.lines).collect();
        lines.sort();
        lines.dedup();
        if !lines.is_empty() {
            text += "\nto add to step.toml, if the step is meant to have it (`attest-run check --fix` does):\n";
            for section in lines {
                text += &format!("\n{section}\n");
            }
        }
        text
    }
}
