//! `reference`: what machines may have booted.

use super::state::{State, admin_act};
use super::{Global, print, who};
use crate::store::{ApplyReferences, Store};
use attest_appraisal::boot::{ReferenceError, References};
use attest_evidence::Sha256Digest;
use attest_evidence::report::{Explain as _, Fault, Report};
use clap::Subcommand;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum Reference {
    /// Print the reference values in force, or another version
    Show {
        /// Its version
        version: Option<i64>,
    },
    /// Check a file of reference values
    Check {
        /// The file, TOML
        file: PathBuf,
    },
    /// Put reference values in force, instead of all that were. `-`: standard input
    Apply {
        /// The file, TOML
        file: PathBuf,
    },
}

impl Reference {
    pub(super) async fn run(self, global: &Global) -> Result<(), Report> {
        match self {
            Self::Show { version } => show(global, version).await,
            Self::Check { file } => {
                let (references, _) = read(&file)?;
                narrate!("{} blocks", references.boots.len());
                print(
                    global,
                    "attest-run/references-checked/v1",
                    &json!({ "blocks": references.boots.len() }),
                    String::new,
                );
                Ok(())
            }
            Self::Apply { file } => {
                let (references, text) = read(&file)?;
                let store = State::of(global)?.store().await?;
                let instead_of = store.references_version().await.map_err(|error| error.report())?;
                let version = apply(&store, text, instead_of, &file.display().to_string()).await?;
                narrate!("version {version} of the reference values is in force: {} blocks", references.boots.len());
                print(global, "attest-run/references-applied/v1", &json!({ "version": version }), String::new);
                Ok(())
            }
        }
    }
}

async fn show(global: &Global, version: Option<i64>) -> Result<(), Report> {
    let store = State::of(global)?.store().await?;
    let newest = store.references_version().await.map_err(|error| error.report())?;
    let version = version.unwrap_or(newest);
    let text = store.references(version).await.map_err(|error| error.report())?;
    if text.is_none() && version != 0 {
        return Err(Report::new(
            "AR-B305",
            Fault::Refused,
            format!("there are no reference values of version {version}"),
        ));
    }
    let text = text.unwrap_or_default();
    if version == 0 {
        narrate!("there are no reference values: runners may boot anything");
    }
    let shown = json!({ "version": version, "text": text });
    print(global, "attest-run/references/v1", &shown, || text.clone());
    Ok(())
}

/// The reference values in force, with their version.
pub(super) async fn in_force(store: &Store) -> Result<(References, i64), Report> {
    let version = store.references_version().await.map_err(|error| error.report())?;
    let text = store.references(version).await.map_err(|error| error.report())?.unwrap_or_default();
    Ok((References::parse(&text).map_err(|error| unusable(&error))?, version))
}

/// Puts reference values in force, if those they were made from still are.
pub(super) async fn apply(store: &Store, text: String, instead_of: i64, from: &str) -> Result<i64, Report> {
    let audit = admin_act(store, "reference apply", &(from, Sha256Digest::of(text.as_bytes()))).await?;
    let change = ApplyReferences { text, instead_of, by: who::admin(), audit };
    store.commit(change).await.map_err(|error| error.report())
}

pub(super) fn unusable(error: &ReferenceError) -> Report {
    Report::new("AR-P131", Fault::Refused, error.to_string())
}

fn read(file: &Path) -> Result<(References, String), Report> {
    let text =
        if file == Path::new("-") { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(file) };
    let text = text.map_err(|error| {
        Report::new("AR-P132", Fault::Environment, format!("can't read {}: {error}", file.display()))
    })?;
    Ok((References::parse(&text).map_err(|error| unusable(&error))?, text))
}
