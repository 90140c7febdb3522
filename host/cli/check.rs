//! `check`: what a step imports, and what covers it.

use crate::{Global, output};
use attest_evidence::report::{Explain as _, Fault, Report};
use attest_step::{CheckedStep, Component, Coverage, LONGEST_COMPONENT, LONGEST_MANIFEST, Manifest};
use clap::Args;
use serde::Serialize;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Check a step.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The step's manifest. Default: step.toml beside the component
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// The component
    #[arg(value_name = "STEP.wasm")]
    component: PathBuf,
}

#[derive(Serialize)]
struct Listing {
    step: String,
    component: String,
    manifest: String,
    imports: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    import: String,
    covered: bool,
    by: String,
}

impl Check {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        let manifest_path =
            self.manifest.unwrap_or_else(|| self.component.parent().unwrap_or_else(|| Path::new("")).join("step.toml"));
        let manifest = Manifest::parse(&read(&manifest_path, LONGEST_MANIFEST)?).map_err(|error| error.report())?;
        let component =
            Component::inspect(&read(&self.component, LONGEST_COMPONENT)?).map_err(|error| error.report())?;
        let imports = CheckedStep::imports(&manifest, &component)
            .into_iter()
            .map(|import| {
                let (covered, by) = match import.coverage {
                    Coverage::Always => (true, "always there".to_owned()),
                    Coverage::Declared(section) => (true, format!("[{section}]")),
                    Coverage::Undeclared(lines) => (false, format!("nothing; add {}", lines.replace('\n', " "))),
                    Coverage::Unknown => (false, "nothing; this host does not have it".to_owned()),
                };
                Row { import: import.name, covered, by }
            })
            .collect();
        let listing = Listing {
            step: manifest.step.name.to_string(),
            component: component.digest.to_string(),
            manifest: manifest.digest().to_string(),
            imports,
        };
        output::print(global, "attest-run/check/v1", &listing, || {
            let width = listing.imports.iter().map(|row| row.import.len()).max().unwrap_or(0);
            let rows: String = listing
                .imports
                .iter()
                .map(|row| format!("  {} {:width$}  {}\n", if row.covered { "ok " } else { "NO " }, row.import, row.by))
                .collect();
            format!(
                "step       {}\ncomponent  sha256:{}\nmanifest   sha256:{}\nimports\n{rows}",
                listing.step, listing.component, listing.manifest
            )
        });
        CheckedStep::check(manifest, component).map(drop).map_err(|error| error.report())
    }
}

pub(crate) fn read(path: &Path, longest: usize) -> Result<Vec<u8>, Report> {
    let limit = u64::try_from(longest).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(|error| {
        Report::new("AR-S002", Fault::Environment, format!("can't open {}: {error}", path.display()))
    })?;
    Ok(bytes)
}
