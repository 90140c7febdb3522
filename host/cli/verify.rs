//! `verify`: evidence of others, checked on this machine, without a broker and without a TPM.

mod bundle;
mod ear;
mod ek;
mod key;
mod quote;

pub(crate) use bundle::{SignerOptions, TrustOptions, verify as verify_bundle};

use crate::Global;
use attest_evidence::report::Report;
use clap::Subcommand;

/// Check evidence in files.
#[derive(Debug, Subcommand)]
pub(crate) enum Verify {
    /// Whether a Sigstore bundle is a signature over a file, by whom it was wanted
    Bundle(bundle::Bundle),
    /// Whether an attestation result is a broker's, and what it concludes
    Ear(ear::Ear),
    /// Whether a certificate of an endorsement key leads to a TPM's maker, and what it says of the TPM
    Ek(ek::Ek),
    /// Whether a key was made in a TPM and can't leave it, by a broker's word for the TPM
    Key(key::Key),
    /// Whether a quote is a key's, and what it covers
    Quote(quote::Quote),
}

impl Verify {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        match self {
            Self::Bundle(bundle) => bundle.execute(global),
            Self::Ear(ear) => ear.execute(global),
            Self::Ek(ek) => ek.execute(global),
            Self::Key(key) => key.execute(global),
            Self::Quote(quote) => quote.execute(global),
        }
    }
}
