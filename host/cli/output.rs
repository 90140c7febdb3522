//! What is printed: data on standard output, narration on standard error.

use crate::Global;
use attest_evidence::eventlog::{EventLog, EventLogRefused, LARGEST_LOG};
use attest_evidence::ima::{ImaRefused, LONGEST_LIST};
use attest_evidence::report::{Document, Explain as _, Fault, Report};
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

/// Reads a file of at most `largest` bytes. What is `too_large` gets that report, by its size.
pub(crate) fn read_file(
    path: &Path,
    largest: usize,
    too_large: impl FnOnce(usize) -> Report,
) -> Result<Vec<u8>, Report> {
    let limit = u64::try_from(largest).unwrap_or(u64::MAX).saturating_add(1);
    let (mut bytes, mut size) = (Vec::new(), 0);
    let read = std::fs::File::open(path).and_then(|file| {
        size = file.metadata()?.len();
        file.take(limit).read_to_end(&mut bytes)
    });
    let read = read.map_err(|error| {
        Report::new("AR-C703", Fault::Environment, format!("can't read {}: {error}", path.display()))
    })?;
    if read > largest {
        // What is no file on a disk has no size, and is as large as was read at least.
        let size = usize::try_from(size).unwrap_or(usize::MAX).max(read);
        return Err(in_file(too_large(size), path));
    }
    Ok(bytes)
}

/// Reads what is small: a key, a certificate, a quote.
pub(crate) fn read_small(path: &Path, largest: usize) -> Result<Vec<u8>, Report> {
    read_file(path, largest, |size| {
        Report::new("AR-C705", Fault::Usage, format!("a file of {size} bytes; at most {largest} are read"))
            .hint("is it the right file?")
    })
}

/// An event log.
pub(crate) fn read_log(path: &Path) -> Result<Vec<u8>, Report> {
    read_file(path, LARGEST_LOG, |size| answer_is_no(EventLogRefused::TooLarge { size }.report()))
}

/// An event log whose form is right.
pub(crate) fn parse_log<'a>(bytes: &'a [u8], file: &Path) -> Result<EventLog<'a>, Report> {
    EventLog::parse(bytes).map_err(|refused| in_file(answer_is_no(refused.report()), file))
}

/// A measurement list of the kernel.
pub(crate) fn read_list(path: &Path) -> Result<Vec<u8>, Report> {
    read_file(path, LONGEST_LIST, |bytes| answer_is_no(ImaRefused::TooLong { bytes }.report()))
}

/// The report, with the file that it is about.
pub(crate) fn in_file(report: Report, path: &Path) -> Report {
    report.fact("file", path.display())
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
