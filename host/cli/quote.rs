//! `quote`: PCRs, signed by the attestation key, in the domain of users.

use crate::{Global, client, output};
use attest_evidence::digest::to_hex;
use attest_evidence::report::{Fault, Report};
use attest_evidence::tpm::Public;
use attest_wire::client::{Answer, Request};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Quote PCRs.
#[derive(Debug, Args)]
pub(crate) struct Quote {
    /// What the quote shall be fresh for: 8 to 64 bytes, hexadecimal
    #[arg(long, value_name = "HEX")]
    nonce: String,
    /// The PCRs of the SHA-256 bank
    #[arg(long, value_name = "LIST", default_value = "0,1,2,3,4,5,6,7,8,9,14")]
    pcrs: String,
    /// Where quote.msg, quote.sig, ak.pem, ak.tpmt and pcrs.json go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Written {
    directory: PathBuf,
    qualifying_data: String,
    ak_name: String,
}

impl Quote {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        let usage = |what: String| Report::new("AR-C102", Fault::Usage, what);
        let nonce = data_encoding::HEXLOWER_PERMISSIVE
            .decode(self.nonce.as_bytes())
            .map_err(|error| usage(format!("the nonce is not hexadecimal: {error}")))?;
        let request = Request::Quote { nonce, pcrs: self.pcrs };
        let Answer::Quote { message, signature, ak, pcrs, qualifying_data } =
            client::ask_one(global, request, Vec::new())?
        else {
            return Err(client::unexpected());
        };
        let public = Public::parse(&ak).map_err(|_| client::unexpected())?;
        let bank: BTreeMap<String, String> =
            pcrs.iter().map(|(index, value)| (index.to_string(), to_hex(value))).collect();
        let pcrs = serde_json::json!({ "sha256": bank }).to_string();
        let files = [
            ("quote.msg", message),
            ("quote.sig", signature),
            ("ak.tpmt", ak),
            ("ak.pem", public.key.to_pem().ok_or_else(client::unexpected)?.into_bytes()),
            ("pcrs.json", pcrs.into_bytes()),
        ];
        std::fs::create_dir_all(&self.out).map_err(|error| cannot_write(&self.out, &error))?;
        for (name, contents) in files {
            let path = self.out.join(name);
            std::fs::write(&path, contents).map_err(|error| cannot_write(&path, &error))?;
        }
        let written = Written {
            directory: self.out,
            qualifying_data: qualifying_data.to_string(),
            ak_name: public.tpm_name().ok_or_else(client::unexpected)?.to_string(),
        };
        output::print(global, "attest-run/quote/v1", &written, || {
            format!(
                "wrote a quote to {}\nqualifying data  {}\nattestation key  {}",
                written.directory.display(),
                written.qualifying_data,
                written.ak_name
            )
        });
        Ok(())
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Report {
    Report::new("AR-C505", Fault::Environment, format!("can't write {}: {error}", path.display()))
}
