//! `measure`: the statement about this build environment.

use crate::{Global, client, output};
use attest_evidence::report::Report;
use attest_wire::client::{Answer, Request};
use clap::Args;

/// Print an in-toto Statement v1, predicate measurement/v1. The same environment gives the same bytes.
#[derive(Debug, Args)]
pub(crate) struct Measure;

impl Measure {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        match client::ask_one(global, Request::Measure, Vec::new())? {
            Answer::Statement(statement) => output::print_text(&statement),
            _ => return Err(client::unexpected()),
        }
        Ok(())
    }
}
