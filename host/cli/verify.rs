//! `verify`: whether evidence is what it says.

mod quote;

use crate::Global;
use attest_evidence::report::Report;
use clap::Subcommand;

/// Check evidence in files.
#[derive(Debug, Subcommand)]
pub(crate) enum Verify {
    /// Check a quote, and what was quoted
    Quote(quote::Quote),
}

impl Verify {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        match self {
            Self::Quote(quote) => quote.execute(global),
        }
    }
}
