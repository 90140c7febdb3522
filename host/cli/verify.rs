//! `verify`: evidence of others, checked on this machine, without a broker and without a TPM.

mod ek;

use crate::Global;
use attest_evidence::report::{Fault, Report};
use clap::Subcommand;
use std::path::Path;

/// Check evidence.
#[derive(Debug, Subcommand)]
pub(crate) enum Verify {
    /// Whether a certificate of an endorsement key leads to a TPM's maker, and what it says of the TPM
    Ek(ek::Ek),
}

impl Verify {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        match self {
            Self::Ek(ek) => ek.execute(global),
        }
    }
}

/// The contents of a file of evidence.
fn read(file: &Path) -> Result<Vec<u8>, Report> {
    std::fs::read(file)
        .map_err(|error| Report::new("AR-C701", Fault::Environment, format!("can't read {}: {error}", file.display())))
}
