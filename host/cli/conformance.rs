//! `conformance`: the protocol of Sigstore's conformance suite (`docs/cli_protocol.md` of sigstore-conformance).

use crate::verify::{SignerOptions, TrustOptions, verify_bundle};
use attest_evidence::report::Report;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What the conformance suite asks for.
#[derive(Debug, Subcommand)]
pub(crate) enum Conformance {
    /// Verify a bundle
    VerifyBundle(VerifyBundle),
}

/// Verify a bundle.
#[derive(Debug, Args)]
pub(crate) struct VerifyBundle {
    #[arg(long)]
    staging: bool,
    #[arg(long)]
    bundle: PathBuf,
    #[arg(long, requires = "certificate_oidc_issuer", required_unless_present = "key")]
    certificate_identity: Option<String>,
    #[arg(long)]
    certificate_oidc_issuer: Option<String>,
    #[arg(long, conflicts_with = "certificate_identity")]
    key: Option<PathBuf>,
    #[arg(long)]
    trusted_root: Option<PathBuf>,
    file_or_digest: PathBuf,
}

impl Conformance {
    pub(crate) fn execute(self) -> Result<(), Report> {
        match self {
            Self::VerifyBundle(asked) => {
                let signer = SignerOptions::of(asked.certificate_identity, asked.certificate_oidc_issuer, asked.key);
                let trust = TrustOptions::of(asked.staging, asked.trusted_root);
                verify_bundle(&asked.file_or_digest, &asked.bundle, &signer.expected()?, &trust.trust()?).map(drop)
            }
        }
    }
}
