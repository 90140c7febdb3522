//! `root`: who vouches for TPMs.

use super::Global;
use super::state::{State, admin_act};
use crate::store::AddRoot;
use attest_appraisal::TpmClass;
use attest_evidence::Sha256Digest;
use attest_evidence::report::{Explain as _, Fault, Report};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;
use x509_parser::prelude::{FromDer as _, X509Certificate};

#[derive(Debug, Subcommand)]
pub(super) enum Root {
    /// Trust a certificate to vouch for TPMs of a class, or make an intermediate known
    Add {
        #[command(flatten)]
        role: Role,
        /// Certificate, PEM or DER
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Role {
    /// What TPMs under it are: `discrete`, `firmware`, `virtual` or `software`
    #[arg(long)]
    class: Option<TpmClass>,
    /// It lies between a root and TPMs
    #[arg(long)]
    intermediate: bool,
}

impl Root {
    pub(super) async fn run(self, global: &Global) -> Result<(), Report> {
        let Self::Add { role, file } = self;
        let unreadable =
            |reason: String| Report::new("AR-B007", Fault::Usage, format!("can't read {}: {reason}", file.display()));
        let certificate = super::issuer::certificate(&file)?;
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|error| unreadable(error.to_string()))?;
        if !parsed.is_ca() {
            return Err(Report::new("AR-B008", Fault::Refused, "the certificate is not an authority's")
                .fact("subject", parsed.subject()));
        }
        let subject = parsed.subject().to_string();
        let fingerprint = Sha256Digest::of(&certificate);
        let store = State::of(global)?.store().await?;
        let audit = admin_act(&store, "root add", &(fingerprint, &subject, role.class.map(TpmClass::as_str))).await?;
        let add = AddRoot { class: role.class, certificate, audit };
        store.commit(add).await.map_err(|error| error.report())?;
        match role.class {
            Some(class) => narrate!("`{subject}` vouches for TPMs of class {class}"),
            None => narrate!("`{subject}` is known as an intermediate"),
        }
        let added = json!({ "subject": subject, "sha256": fingerprint, "class": role.class.map(TpmClass::as_str) });
        super::print(global, "attest-run/root-added/v1", &added, String::new);
        Ok(())
    }
}
