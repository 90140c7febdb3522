//! `measure`: the statement about this build environment.

use crate::{Global, client};
use attest_evidence::report::Report;
use attest_wire::client::{Answer, Request};
use clap::Args;

/// Print an in-toto Statement v1, predicate measurement/v1. The same environment gives the same bytes.
#[derive(Debug, Args)]
pub(crate) struct Measure {
    #[command(flatten)]
    global: Global,
}

impl Measure {
    pub(crate) fn execute(self) -> Result<(), Report> {
        match client::ask_one(&self.global, Request::Measure, Vec::new())? {
            Answer::Statement(statement) => println!("{statement}"),
            _ => return Err(client::unexpected()),
        }
        Ok(())
    }
}
