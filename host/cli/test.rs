//! `test`: a step in the cases of its fixture, without a broker and without a TPM.

use crate::client::{OnInterrupt, OwnAgent};
use crate::output::{self, narrate};
use crate::{Global, files};
use attest_agent::{LONGEST_FIXTURE, RehearsalError, installed};
use attest_evidence::report::{Escaped, Explain as _, Fault, Report};
use attest_step::Component;
use attest_wire::rehearsal::{CaseResult, FromRehearsal, Rehearse, Unmet};
use clap::Args;
use serde::Serialize;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What a fixture is called where none is named.
const FIXTURE: &str = "test.toml";

/// Test a step.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// The cases. Default: test.toml beside the component, else beside its manifest
    #[arg(long, value_name = "FILE")]
    fixture: Option<PathBuf>,
    /// The step's manifest. Default: the one in the component, else step.toml beside it
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Only the case of this name; may be repeated
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// The component
    #[arg(value_name = "STEP.wasm")]
    component: PathBuf,
}

/// What came of it, for `--json`.
#[derive(Serialize)]
struct Outcome {
    step: String,
    fixture: String,
    passed: usize,
    failed: usize,
    cases: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    passed: bool,
    took_us: u64,
    unmet: Vec<UnmetRow>,
    /// What people should know in any case.
    notes: Vec<String>,
    /// What ended the step, if it did not end by itself.
    error: Option<Report>,
}

#[derive(Serialize)]
struct UnmetRow {
    expectation: String,
    wanted: String,
    got: String,
}

impl Test {
    pub(crate) fn execute(self, global: &Global) -> Result<ExitCode, Report> {
        let component = files::read_component(&self.component)?;
        let inside = Component::inspect(&component).map_err(|error| error.report())?.manifest;
        let manifest = files::find_manifest(self.manifest.as_deref(), &self.component, inside)?
            .ok_or_else(|| files::no_manifest(&self.component))?;
        let path = self.fixture_path(manifest.path.as_deref());
        let fixture = read_fixture(&path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let mut command = Command::new(installed::beside("attest-agent"));
        command.arg("rehearse").arg("--").arg(folder);
        let files = [
            files::in_memory("component", &component)?,
            files::in_memory("step.toml", &manifest.bytes)?,
            files::in_memory("test.toml", &fixture)?,
        ];
        let fixture = path.display().to_string();
        let mut outcome = Outcome { step: String::new(), fixture, passed: 0, failed: 0, cases: Vec::new() };
        let asked = Rehearse { cases: self.cases };
        let end = OwnAgent::start(command)?.ask(&asked, &files, OnInterrupt::LetGo, |told| {
            match told {
                FromRehearsal::Step(step) => outcome.step = step.to_string(),
                FromRehearsal::Case(result) => outcome.add(global, result),
                FromRehearsal::End(end) => return ControlFlow::Break(end),
            }
            ControlFlow::Continue(())
        })?;
        end.map_err(|report| in_fixture(report, &path))?;
        output::print(global, "attest-run/test/v1", &outcome, || outcome.in_words());
        Ok(if outcome.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The named one, else the one beside the component, else the one beside the manifest.
    fn fixture_path(&self, manifest: Option<&Path>) -> PathBuf {
        let beside = |file: &Path| file.with_file_name(FIXTURE);
        let own = beside(&self.component);
        match (&self.fixture, manifest.map(beside)) {
            (Some(named), _) => named.clone(),
            (None, Some(other)) if !own.exists() && other.exists() => other,
            (None, _) => own,
        }
    }
}

fn read_fixture(path: &Path) -> Result<Vec<u8>, Report> {
    let read = output::read_file(path, LONGEST_FIXTURE, |size| RehearsalError::TooLong(size).report());
    read.map_err(|report| match report.fault {
        // There is none, or somebody else's.
        Fault::Environment => Report::new("AR-S701", Fault::Usage, report.what)
            .hint("`test.toml` lies beside the component or its step.toml, or `--fixture FILE` names it"),
        _ => report,
    })
}

/// The report, with the file that it is about, if it is about one.
fn in_fixture(report: Report, path: &Path) -> Report {
    match report.fault {
        Fault::Usage => output::in_file(report, path),
        _ => report,
    }
}

impl Outcome {
    fn add(&mut self, global: &Global, result: CaseResult) {
        let row = Row::of(result);
        if row.passed {
            self.passed += 1
        } else {
            self.failed += 1
        }
        if !global.json {
            output::print_text(&row.in_words());
        }
        for note in &row.notes {
            narrate!("{}: {}", Escaped(&row.name), Escaped(note));
        }
        self.cases.push(row);
    }

    fn in_words(&self) -> String {
        let cases = self.passed + self.failed;
        let s = if cases == 1 { "" } else { "s" };
        match self.failed {
            0 => format!("{}: {cases} case{s}, all ok", self.step),
            failed => format!("{}: {cases} case{s}, {failed} FAILED", self.step),
        }
    }
}

impl Row {
    fn of(result: CaseResult) -> Self {
        let CaseResult { name, took_us, unmet, notes, error } = result;
        let passed = unmet.is_empty();
        let unmet = unmet.into_iter().map(|Unmet { expectation, wanted, got }| UnmetRow { expectation, wanted, got });
        Self { name, passed, took_us, unmet: unmet.collect(), notes, error }
    }

    fn in_words(&self) -> String {
        let word = if self.passed { "ok" } else { "FAILED" };
        let mut text = format!("{word} {} ({} ms)\n", Escaped(&self.name), self.took_us.div_ceil(1000));
        for unmet in &self.unmet {
            let _ = writeln!(text, "  {}", Escaped(&unmet.expectation));
            for (name, value) in [("wanted", &unmet.wanted), ("got", &unmet.got)] {
                let mut lines = value.lines();
                let _ = writeln!(text, "    {name:6}  {}", Escaped(lines.next().unwrap_or_default()));
                for line in lines {
                    let _ = writeln!(text, "            {}", Escaped(line));
                }
            }
        }
        text
    }
}
