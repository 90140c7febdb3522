//! `sign`: a file, by hand.

use crate::output::narrate;
use crate::{Global, client, output};
use attest_evidence::exchange::KeyFormat;
use attest_evidence::name::{KeyName, Stage};
use attest_evidence::report::{Fault, Report};
use attest_wire::client::{Answer, Request};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Sign a file with a key of this runner. The host hashes and frames it.
#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The key's name
    #[arg(long, value_name = "NAME")]
    key: KeyName,
    /// The key's stage
    #[arg(long, default_value = "dev")]
    stage: Stage,
    /// What the signature looks like: `raw` for openssl, `minisign` (Ed25519 keys alone), `ssh` for ssh-keygen, or `sigstore`
    /// (P-256 keys alone), a bundle with the broker's timestamp
    #[arg(long, default_value = "raw", value_name = "FORMAT")]
    format: KeyFormat,
    /// Where the signature goes. Default: FILE.sig, of minisign FILE.minisig, of Sigstore FILE.sigstore.json
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What to sign
    file: PathBuf,
}

#[derive(Serialize)]
struct Signed {
    /// The file that holds it.
    signature: String,
}

impl Sign {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        let file = std::fs::File::open(&self.file).map_err(|error| {
            Report::new("AR-K201", Fault::Environment, format!("can't open {}: {error}", self.file.display()))
        })?;
        let request = Request::Sign { stage: self.stage, name: self.key, format: self.format };
        let Answer::Signature(signature) = client::ask_one(global, request, vec![file.into()])? else {
            return Err(client::unexpected());
        };
        let path = self.output.unwrap_or_else(|| {
            let mut name = self.file.clone().into_os_string();
            name.push(match self.format {
                KeyFormat::Minisign => ".minisig",
                KeyFormat::Sigstore => ".sigstore.json",
                KeyFormat::Raw | KeyFormat::Ssh => ".sig",
            });
            PathBuf::from(name)
        });
        std::fs::write(&path, signature).map_err(|error| {
            Report::new("AR-C505", Fault::Environment, format!("can't write {}: {error}", path.display()))
        })?;
        narrate!("wrote {}", path.display());
        let signed = Signed { signature: path.to_string_lossy().into_owned() };
        output::print(global, "attest-run/signed/v1", &signed, String::new);
        Ok(())
    }
}
