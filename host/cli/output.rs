//! What is printed: data on standard output, narration on standard error.

use crate::Global;
use attest_evidence::report::{Document, Fault, Report};
use clap::Args;
use serde::Serialize;
use std::io::{Read as _, Write as _};
use std::path::Path;

/// Writes a line for people to standard error. When nobody reads it any more, the work goes on.
macro_rules! narrate {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{}\n", format_args!($($text)*)));
    }};
}
pub(crate) use narrate;

/// Prints data: as JSON with its schema, or as text. Whoever has stopped reading wants no more.
pub(crate) fn print(global: &Global, schema: &'static str, data: &impl Serialize, text: impl FnOnce() -> String) {
    print_text(&if global.json { Document { schema, data }.to_line() } else { text() });
}

/// Prints text, with a line's end behind it.
pub(crate) fn print_text(text: &str) {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(std::io::stdout().lock(), "{text}{end}");
}

/// The report of a command whose answer is no: it ends with status 1, whatever the reason.
pub(crate) fn answer_is_no(report: Report) -> Report {
    Report { fault: Fault::Refused, ..report }
}

/// Reads a file of at most `largest` bytes, or one byte more, so that what is too large is seen to be.
pub(crate) fn read_file(path: &Path, largest: usize) -> Result<Vec<u8>, Report> {
    let limit = u64::try_from(largest).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(|error| {
        Report::new("AR-C703", Fault::Environment, format!("can't read {}: {error}", path.display()))
    })?;
    Ok(bytes)
}

/// Says what went wrong: to people, and with `--json` to programs.
pub(crate) fn complain(global: &Global, report: &Report) {
    #[derive(Serialize)]
    struct Failure<'a> {
        error: &'a Report,
    }
    narrate_error(report);
    if global.json {
        print_text(&Document { schema: "attest-run/error/v1", data: &Failure { error: report } }.to_line());
    }
}

/// An error for people, and where more about it is.
pub(crate) fn narrate_error(report: &Report) {
    narrate!("{}", report.to_string().trim_end());
    if let Some(pointer) = attest_help::pointer("attest-run", &report.code) {
        narrate!("{pointer}");
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
