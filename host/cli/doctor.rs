//! `doctor`: everything a step needs, tried one by one.

use crate::config::{self, Mode};
use crate::{Global, client, output};
use attest_evidence::report::Report;
use attest_wire::client::{Answer, Request, Status};
use clap::Args;
use serde::Serialize;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// Check everything a step needs.
#[derive(Debug, Args)]
pub(crate) struct Doctor;

#[derive(Serialize)]
struct Findings {
    healthy: bool,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    what: &'static str,
    ok: bool,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Finding {
    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, ok: true, found: found.into(), hint: None }
    }

    fn wrong(what: &'static str, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what, ok: false, found: found.into(), hint: Some(hint.into()) }
    }

    fn of(what: &'static str, report: Report) -> Self {
        Self { what, ok: false, found: format!("[{}] {}", report.code, report.what), hint: report.hint }
    }
}

impl Doctor {
    pub(crate) fn execute(self, global: &Global) -> ExitCode {
        let mut findings = Vec::new();
        match config::mode(global) {
            Ok(Mode::Agent(socket)) => findings.push(Finding::ok("mode", format!("agent at {}", socket.display()))),
            Ok(Mode::Direct(direct)) => findings.push(Finding::ok(
                "mode",
                format!(
                    "direct: every process of this user can do what this one can. State in {}",
                    direct.state.display()
                ),
            )),
            Err(report) => findings.push(Finding::of("configuration", report)),
        }
        let programs = attest_agent::installed::spawned();
        findings.push(walls("walls", &programs.worker));
        findings.push(walls("egress", &programs.egress));
        match client::ask_one(global, Request::Status, Vec::new()) {
            Ok(Answer::Status(status)) => findings.extend(of_status(status)),
            Ok(_) => findings.push(Finding::of("agent", client::unexpected())),
            Err(report) => findings.push(Finding::of("TPM or agent", report)),
        }
        let findings = Findings { healthy: findings.iter().all(|finding| finding.ok), findings };
        output::print(global, "attest-run/doctor/v1", &findings, || {
            findings
                .findings
                .iter()
                .map(|finding| {
                    let mark = if finding.ok { "ok  " } else { "FAIL" };
                    let hint = finding.hint.as_ref().map(|hint| format!("       hint: {hint}\n")).unwrap_or_default();
                    format!("{mark}  {:12} {}\n{hint}", finding.what, finding.found)
                })
                .collect()
        });
        if findings.healthy { ExitCode::SUCCESS } else { ExitCode::from(1) }
    }
}

/// Has the program of workers, or of egress, raise all its walls around nothing.
fn walls(what: &'static str, program: &Path) -> Finding {
    let hint = "the kernel has to have landlock and seccomp (Linux 5.13 or later)";
    match Command::new(program).arg("--check-walls").stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Finding::ok(what, "landlock, seccomp, limits and identity stand"),
        Ok(output) => Finding::wrong(what, String::from_utf8_lossy(&output.stderr).trim().to_owned(), hint),
        Err(error) => Finding::wrong(
            what,
            format!("{} can't be run: {error}", program.display()),
            "attest-worker and attest-egress belong beside attest-run: install them together",
        ),
    }
}

fn of_status(status: Status) -> Vec<Finding> {
    let mut findings = vec![
        Finding::ok("version", status.version),
        Finding::ok("TPM", format!("{}, {}", status.tpm, status.tpm_handles)),
    ];
    match (status.runner, status.broker) {
        (Some(runner), Some(broker)) => {
            findings
                .push(Finding::ok("enrolment", format!("`{runner}`, isolation {}, with {broker}", status.isolation)));
            findings.push(match status.broker_answers {
                Some(answer) if answer == "yes" => Finding::ok("broker", "answers"),
                answer => Finding::wrong(
                    "broker",
                    answer.unwrap_or_else(|| "was not asked".to_owned()),
                    "without its broker a step gets nothing",
                ),
            });
        }
        _ if status.isolation == "direct" => {
            findings.push(Finding::ok("enrolment", "none yet: the first step enrols with a broker on this machine"));
        }
        _ => findings.push(Finding::wrong(
            "enrolment",
            "none",
            "get a token from the broker's admin and run `attest-run enroll --broker URL --token -`",
        )),
    }
    findings
}
