//! A policy's files: its rules, and the entities that it groups.

use crate::policy::{LONGEST_ENTITIES, LONGEST_POLICY, Policy};
use attest_evidence::report::{Explain as _, Fault, Report};
use clap::Args;
use std::io::Read as _;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(in crate::admin) struct PolicyFiles {
    /// The rules, Cedar
    pub(super) policy: PathBuf,
    /// Groups of runners, repositories, secrets and keys: Cedar's JSON for entities
    #[arg(long, value_name = "FILE")]
    pub(super) entities: Option<PathBuf>,
}

/// The text of the files.
pub(super) struct Texts {
    pub(super) policy: String,
    pub(super) entities: String,
}

impl PolicyFiles {
    /// Reads and checks them.
    pub(super) fn compile(&self) -> Result<(Policy, Texts), Report> {
        let policy = read(&self.policy, LONGEST_POLICY)?;
        let entities =
            self.entities.as_deref().map(|file| read(file, LONGEST_ENTITIES)).transpose()?.unwrap_or_default();
        let compiled = Policy::compile(0, &policy, &entities).map_err(|error| {
            let mut report = error.report();
            report.what = format!("{}: {}", self.policy.display(), report.what);
            report
        })?;
        Ok((compiled, Texts { policy, entities }))
    }
}

/// A file's text. One that is too long is read as far as it takes to know that.
pub(super) fn read(file: &Path, longest: usize) -> Result<String, Report> {
    let limit = u64::try_from(longest).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|file| file.take(limit).read_to_string(&mut text))
        .map_err(|error| Report::new("AR-P106", Fault::Usage, format!("can't read {}: {error}", file.display())))?;
    Ok(text)
}
