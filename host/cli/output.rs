//! What is printed: data on standard output, narration on standard error.

use crate::Global;
use attest_evidence::report::Report;
use clap::Args;
use serde::Serialize;

/// Prints data: as JSON with its schema, or as text.
pub(crate) fn print(global: &Global, schema: &'static str, data: &impl Serialize, text: impl FnOnce() -> String) {
    #[derive(Serialize)]
    struct Document<'a, T> {
        schema: &'static str,
        #[serde(flatten)]
        data: &'a T,
    }
    if global.json {
        match serde_json::to_string(&Document { schema, data }) {
            Ok(json) => println!("{json}"),
            Err(error) => eprintln!("{error}"),
        }
    } else {
        let text = text();
        print!("{text}{}", if text.is_empty() || text.ends_with('\n') { "" } else { "\n" });
    }
}

/// Sends the program's own log to standard error.
pub(crate) fn start_log(default: &'static str) {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("ATTEST_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default)),
        )
        .with_ansi(false)
        .init();
}

/// `version`.
#[derive(Debug, Args)]
pub(crate) struct Version;

#[derive(Serialize)]
struct Versions {
    version: &'static str,
    contract: &'static str,
    exchange: u16,
}

impl Version {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        let versions = Versions {
            version: env!("CARGO_PKG_VERSION"),
            contract: "attest:step@0.1.0",
            exchange: attest_evidence::exchange::VERSION,
        };
        print(global, "attest-run/version/v1", &versions, || {
            format!(
                "attest-run {}\ncontract {}\nexchange version {}",
                versions.version, versions.contract, versions.exchange
            )
        });
        Ok(())
    }
}
