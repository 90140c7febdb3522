//! `measure`: the statement about this build environment.

mod claimed;

use crate::{Global, client, output};
use attest_evidence::report::{Fault, Report};
use attest_wire::client::{Answer, Request};
use clap::Args;
use std::path::PathBuf;

/// The schema of what is printed.
const SCHEMA: &str = include_str!("../../docs/reference/measurement.schema.json");

/// Print an in-toto Statement v1, predicate measurement/v1. The same environment gives the same bytes.
#[derive(Debug, Args)]
pub(crate) struct Measure {
    /// The working copy that is built. Default: what the CI system says, else this directory
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,
    /// Print the JSON Schema of what is printed otherwise
    #[arg(long, conflicts_with = "workspace")]
    schema: bool,
}

impl Measure {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        if self.schema {
            output::print_text(SCHEMA);
            return Ok(());
        }
        let claimed = claimed::gather(&self.workspace())?;
        let claimed =
            serde_json::to_string(&claimed).map_err(|error| Report::new("AR-C302", Fault::Bug, error.to_string()))?;
        match client::ask_one(global, Request::Measure { claimed }, Vec::new())? {
            Answer::Statement(statement) => output::print_text(&statement),
            _ => return Err(client::unexpected()),
        }
        Ok(())
    }

    fn workspace(&self) -> PathBuf {
        let of_ci = || ["GITHUB_WORKSPACE", "CI_PROJECT_DIR"].iter().find_map(std::env::var_os).map(PathBuf::from);
        self.workspace.clone().or_else(of_ci).unwrap_or_else(|| PathBuf::from("."))
    }
}
