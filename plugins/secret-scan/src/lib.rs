//! Finds keys and tokens in sources.
//!
//! It reads every file below `source`, writes `secret-scan.sarif` into `report`, and remarks on each line that holds what looks
//! like a secret. What it says of one is its place and a fingerprint, never what it is. Fingerprints that `.secret-scan-allow`
//! lists are reported as suppressed, and fail nothing.

mod allow;
mod file;
mod report;
mod sarif;
mod tree;

use allow::AllowList;
use attest_leaks::Patterns;
use attest_sdk::{Annotation, Directory, Error, Result, info, warn};
use report::{Leak, Report};

/// The list, at the top of `source`.
const ALLOW_LIST: &str = ".secret-scan-allow";
const REPORT: &str = "secret-scan.sarif";
/// The contract stops a step that makes more.
const MOST_ANNOTATIONS: usize = 1000;
/// What was not searched is told by name up to this; all of it is in the report.
const MOST_WARNINGS: usize = 20;

/// Exit status: secrets were found.
const FOUND: u8 = 1;
/// Exit status: not all was searched, or the step was not called as it must be.
const FAILED: u8 = 2;

#[attest_sdk::step]
fn run(args: Vec<String>) -> Result {
    if !args.is_empty() {
        return Err(Error::new("usage: secret-scan.wasm, without arguments").with_code(FAILED));
    }
    let failed = |error: Error| error.with_code(FAILED);
    let patterns = Patterns::new();
    let source = Directory::open("source").map_err(failed)?;
    let folder = Directory::open("report").map_err(failed)?;
    let allowed = allow_list(&source).map_err(failed)?;
    let mut report = Report::new(allowed);
    tree::search(&source, &patterns, &mut report);
    folder.write(REPORT, sarif::write(&report).as_bytes()).map_err(failed)?;
    tell(&report);
    verdict(&report)
}

/// The list, empty where there is none.
fn allow_list(source: &Directory) -> Result<AllowList> {
    if !source.entries()?.iter().any(|entry| entry.name == ALLOW_LIST && entry.is_file) {
        return Ok(AllowList::default());
    }
    let text = source.read_up_to(ALLOW_LIST, allow::MOST_BYTES)?;
    AllowList::read(&text).map_err(|error| Error::new(format!("`{ALLOW_LIST}`: {error}")))
}

/// Makes remarks, and says what was left out.
fn tell(report: &Report) {
    for leak in report.open().take(MOST_ANNOTATIONS) {
        annotation(leak).make();
    }
    let remarks = report.open().count();
    if remarks > MOST_ANNOTATIONS {
        warn(&format!(
            "{} more are in {REPORT} alone: a step makes at most {MOST_ANNOTATIONS} remarks",
            remarks - MOST_ANNOTATIONS
        ));
    }
    for path in report.skipped.iter().take(MOST_WARNINGS) {
        info(&format!("{}: left out, a binary file of more than {} bytes", path.escape_debug(), file::MOST_OF_BINARY));
    }
    for problem in report.problems.iter().take(MOST_WARNINGS) {
        warn(problem);
    }
    for fingerprint in report.unused().take(MOST_WARNINGS) {
        warn(&format!("`{ALLOW_LIST}` allows {fingerprint}, and nothing has it: take it out"));
    }
}

fn annotation(leak: &Leak) -> Annotation {
    let finding = &leak.finding;
    let annotation = Annotation::error(format!(
        "{} If it is none, or worth nothing, put its fingerprint {} into {ALLOW_LIST}.",
        report::message(finding.pattern),
        finding.fingerprint
    ))
    .title(format!("In the sources: {}", finding.pattern.what))
    .file(leak.path.clone());
    match (u32::try_from(finding.start.line), u32::try_from(finding.end.line)) {
        (Ok(first), Ok(last)) if !leak.binary => annotation.lines(first, last),
        _ => annotation,
    }
}

fn verdict(report: &Report) -> Result {
    let open = report.open().count();
    let rest =
        format!("{} files searched, {} allowed, {} left out", report.searched, report.allowed(), report.skipped.len());
    if !report.problems.is_empty() {
        return Err(
            Error::new(format!("not all was searched; secrets found so far: {open} ({rest})")).with_code(FAILED)
        );
    }
    if open > 0 {
        return Err(Error::new(format!("secrets found: {open}, see {REPORT} ({rest})")).with_code(FOUND));
    }
    info(&format!("no secrets found ({rest})"));
    Ok(())
}
