//! `run`: a step with what it declares and is granted.

use crate::output::narrate;
use crate::page::Page;
use crate::{Global, ci, client, files, output};
use attest_evidence::name::{AuditId, DirectoryName, LeaseId, Stage};
use attest_evidence::report::{Escaped, Fault, Report};
use attest_wire::client::{End, Event, Request};
use attest_wire::worker::Annotation;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Run a step.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Give the step a directory that it declares; may be repeated
    #[arg(long = "dir", value_name = "NAME=PATH", value_parser = directory)]
    directories: Vec<(DirectoryName, PathBuf)>,
    /// The stage whose secrets and keys the step may ask for
    #[arg(long, default_value = "dev")]
    stage: Stage,
    /// The step's manifest. Default: the one in the component, else step.toml beside it
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// What the token of a CI job must be for: what the broker's admin gave to `issuer add`
    #[arg(long, value_name = "AUDIENCE", default_value = ci::AUDIENCE)]
    audience: String,
    /// Print every rule that was tried, and what each wanted
    #[arg(long)]
    explain: bool,
    /// Print where the time went
    #[arg(long)]
    timings: bool,
    /// The component
    #[arg(value_name = "STEP.wasm")]
    component: PathBuf,
    /// Arguments for the step
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

fn directory(text: &str) -> Result<(DirectoryName, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("NAME=PATH is wanted")?;
    Ok((name.parse().map_err(|error: attest_evidence::name::BadName| error.to_string())?, path.into()))
}

/// What a run came to, for `--json`.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    outcome: &'static str,
    exit_code: u8,
    lease: Option<LeaseId>,
    audit: Option<AuditId>,
    /// The rules that permitted it.
    rules: Vec<String>,
    policy_version: Option<i64>,
    /// Where people find the CI job.
    run_url: Option<String>,
    outputs: BTreeMap<String, String>,
    /// Markdown for the page of the job.
    summary: String,
    annotations: Vec<Annotation>,
    /// Secrets that stood in what the step wrote, and were masked.
    masked: Vec<Found>,
    /// What looks like a secret that nobody declared.
    undeclared: Vec<Found>,
    /// What was granted, and never used.
    unused: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    timings_us: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    counts: BTreeMap<String, u64>,
    error: Option<Report>,
}

/// Something, and where it was found.
#[derive(Debug, Serialize)]
struct Found {
    what: String,
    place: String,
}

impl Run {
    pub(crate) fn execute(self, global: &Global) -> ExitCode {
        let began = std::time::Instant::now();
        let (timings, explain) = (self.timings, self.explain);
        let page = match Page::open(global.json) {
            Ok(page) => page,
            Err(report) => {
                output::complain(global, &report);
                return ExitCode::from(ending(report.fault).1);
            }
        };
        let mut seen = Seen { explain, page, outcome: Outcome::default(), phases: Vec::new(), counts: Vec::new() };
        let result = self.ask(global, &mut seen);
        if timings {
            seen.print_timings(began.elapsed());
        }
        let mut outcome = seen.outcome;
        if !timings {
            outcome.timings_us.clear();
            outcome.counts.clear();
        }
        match result {
            Ok(End::Done) => outcome.outcome = "succeeded",
            Ok(End::StepFailed { code, message }) => {
                narrate!("step failed: {}", Escaped(&message));
                outcome.outcome = "failed";
                outcome.exit_code = code;
            }
            Ok(End::Failed { report, audit }) => {
                outcome.fail(report, explain);
                outcome.audit = audit.or(outcome.audit);
            }
            Err(report) => outcome.fail(report, explain),
        }
        let mut page = seen.page;
        page.finish(&outcome.summary);
        if outcome.outcome != "succeeded" && outcome.outcome != "failed" {
            // A step that was stopped, or blocked, has set nothing.
            outcome.outputs.clear();
        }
        if let Err(report) = page.set_outputs(outcome.outputs.iter()) {
            outcome.fail(report, explain);
        }
        let outputs = &outcome.outputs;
        output::print(global, "attest-run/run/v1", &outcome, || {
            let line = |(name, value): (&String, &String)| page.plain(&format!("{name}={}\n", Escaped(value)));
            outputs.iter().map(line).collect()
        });
        page.close(&outcome.annotations);
        ExitCode::from(outcome.exit_code)
    }

    fn ask(self, global: &Global, seen: &mut Seen) -> Result<End, Report> {
        let (component, inside) = files::open_component(&self.component)?;
        let manifest = files::find_manifest(self.manifest.as_deref(), &self.component, inside)?
            .ok_or_else(|| files::no_manifest(&self.component))?;
        let mut descriptors = vec![component.into(), files::in_memory("step.toml", &manifest.bytes)?];
        let mut names = Vec::with_capacity(self.directories.len());
        for (name, path) in self.directories {
            descriptors.push(open_directory(&name, &path)?);
            names.push(name);
        }
        let token = ci::token(&self.audience)?;
        let request = Request::Run { arguments: self.arguments, stage: self.stage, directories: names, token };
        client::ask(global, &request, &descriptors, |event| seen.hear(event))
    }
}

impl Outcome {
    fn fail(&mut self, report: Report, explain: bool) {
        output::narrate_error(&if explain { report.clone().in_full() } else { report.clone() });
        (self.outcome, self.exit_code) = ending(report.fault);
        self.error = Some(report);
    }
}

/// What a failure is called, and its exit status.
const fn ending(fault: Fault) -> (&'static str, u8) {
    let name = match fault {
        Fault::TimedOut => "timed-out",
        Fault::Refused | Fault::Identity => "refused",
        Fault::NotAComponent => "not-a-component",
        Fault::Trapped => "trapped",
        Fault::Usage | Fault::Environment | Fault::Unreachable | Fault::Bug => "host-failed",
    };
    (name, fault.step_status())
}

/// The one place where a step's reach into the file system is decided.
fn open_directory(name: &DirectoryName, path: &Path) -> Result<OwnedFd, Report> {
    Dir::open_ambient_dir(path, ambient_authority()).map(|directory| directory.into_std_file().into()).map_err(
        |error| {
            Report::new(
                "AR-S003",
                Fault::Environment,
                format!("can't open directory `{name}` at {}: {error}", path.display()),
            )
        },
    )
}

/// What has been heard of a run.
struct Seen {
    explain: bool,
    page: Page,
    outcome: Outcome,
    phases: Vec<(String, u64)>,
    counts: Vec<(String, u64)>,
}

impl Seen {
    fn hear(&mut self, event: Event) {
        match event {
            Event::Granted { lease, audit, seconds, handles, rules, policy_version, run_url } => {
                // What, for how long, and what to do with it.
                let nothing = "nothing: it asked for nothing".to_owned();
                let what = if handles.is_empty() { nothing } else { handles.join("; ") };
                narrate!("granted  {}", Escaped(&what));
                narrate!("until    this step ends, and for {seconds} s at most ({lease})");
                let of = if run_url.is_empty() { String::new() } else { format!(" of {}", Escaped(&run_url)) };
                narrate!("audit    {audit}{of}: `attest-broker lease show {audit}` has it all");
                if self.explain {
                    let rules =
                        if rules.is_empty() { "no rule: nothing was asked for".to_owned() } else { rules.join(", ") };
                    narrate!("allowed  by {}, in policy version {policy_version}", Escaped(&rules));
                }
                self.outcome.lease = Some(lease);
                self.outcome.audit = Some(audit);
                self.outcome.rules = rules;
                self.outcome.policy_version = Some(policy_version);
                self.outcome.run_url = Some(run_url).filter(|url| !url.is_empty());
            }
            Event::Log { level, message } => self.page.log(level, &message),
            Event::Stream { stream, bytes } => self.page.stream(stream, &bytes),
            Event::Summary(text) => {
                self.page.summary(&text);
                self.outcome.summary += &text;
            }
            Event::Annotation(annotation) => {
                self.page.annotation(&annotation);
                self.outcome.annotations.push(annotation);
            }
            Event::RequestRefused { request, reason } => {
                narrate!("refused  {}: {}", Escaped(&request), Escaped(&reason));
            }
            Event::Masked { secret, place } => {
                narrate!("masked   secret `{secret}` in what the step wrote: {}", Escaped(&place));
                self.outcome.masked.push(Found { what: secret.to_string(), place });
            }
            Event::Undeclared { pattern, place } => {
                let what = Escaped(&pattern);
                narrate!("warning: what looks like a secret ({what}) stands in {}", Escaped(&place));
                self.outcome.undeclared.push(Found { what: pattern, place });
            }
            Event::Unused(unused) => {
                narrate!("unused   {}: step.toml could do without", unused.join(", "));
                self.outcome.unused = unused;
            }
            Event::Output { name, value } => drop(self.outcome.outputs.insert(name.to_string(), value)),
            Event::Phase { name, micros } => {
                self.outcome.timings_us.insert(name.clone(), micros);
                self.phases.push((name, micros));
            }
            Event::Count { name, count } => {
                self.outcome.counts.insert(name.clone(), count);
                self.counts.push((name, count));
            }
            Event::Answer(_) | Event::End(_) => {}
        }
    }

    fn print_timings(&self, total: std::time::Duration) {
        let line = |name: &str, micros: u64| narrate!("  {name:18} {:>9.3} ms", micros as f64 / 1000.0);
        narrate!("timings");
        for (name, micros) in &self.phases {
            line(name, *micros);
        }
        line("whole command", u64::try_from(total.as_micros()).unwrap_or(u64::MAX));
        for (name, count) in &self.counts {
            narrate!("  {name:18} {count:>9}");
        }
    }
}
