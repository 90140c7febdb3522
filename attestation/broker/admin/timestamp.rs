//! `timestamp`: by what the broker's timestamps are known.

use super::Global;
use super::state::State;
use crate::broker::Settings;
use attest_evidence::report::{Explain as _, Report};
use clap::Subcommand;
use serde_json::json;

#[derive(Debug, Subcommand)]
pub(super) enum Timestamp {
    /// Print the certificates of the timestamp authority: that of its key, then its root's
    Certificates,
    /// Print a trusted root in Sigstore's form, for verifiers of bundles with this broker's timestamps
    TrustedRoot,
}

impl Timestamp {
    pub(super) async fn run(self, global: &Global) -> Result<(), Report> {
        let broker = State::of(global)?.broker(Settings::default()).await?;
        let authority = broker.timestamps().await.map_err(|error| error.report())?;
        match self {
            Self::Certificates => {
                let certificates = authority.certificates();
                let data = json!({ "certificates": certificates });
                super::print(global, "attest-run/timestamp-certificates/v1", &data, || certificates.concat());
            }
            // A form of somebody else's: the same with and without `--json`.
            Self::TrustedRoot => super::print_text(&authority.trusted_root(broker.keys().id()).to_string()),
        }
        Ok(())
    }
}
