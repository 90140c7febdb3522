//! `attest-run`: parses the command line and does what it says. One file per subcommand.

mod agent;
mod check;
mod ci;
mod client;
mod config;
mod conformance;
mod doctor;
mod enroll;
mod eventlog;
mod files;
mod ima;
mod job;
mod keys;
mod measure;
mod new;
mod output;
mod pack;
mod page;
mod quote;
mod run;
mod sign;
mod test;
mod verify;

use attest_evidence::report::Report;
use attest_help::Question;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Secrets and signatures for one attested pipeline step.
///
/// Runs a WebAssembly component with the handles that its step.toml declares and that policy grants to this
/// machine, this job and this step, for as long as it runs.
#[derive(Debug, Parser)]
#[command(
    name = "attest-run",
    version,
    max_term_width = 100,
    override_usage = "attest-run [OPTIONS] STEP.wasm [-- ARGS]\n       attest-run [OPTIONS] COMMAND",
    after_help = "`attest-run help CODE` explains an error code, such as AR-E207"
)]
struct CommandLine {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    action: Action,
}

/// What every subcommand takes. Where an admin has configured the runner, only the output options count.
#[derive(Debug, Clone, Default, Args)]
struct Global {
    /// The agent's socket, where an agent runs without an admin's configuration
    #[arg(long, value_name = "PATH", global = true, help_heading = "Runner")]
    socket: Option<PathBuf>,
    /// Direct mode: where state and keys lie. Default: ~/.local/state/attest-run
    #[arg(long, value_name = "DIR", global = true, help_heading = "Runner")]
    state: Option<PathBuf>,
    /// Direct mode: the TPM: embedded:DIR, device:/dev/tpmrm0 or swtpm:SOCKET
    #[arg(long, value_name = "TPM", global = true, help_heading = "Runner")]
    tpm: Option<String>,
    /// Print data as JSON, with a `schema` member
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run a step: the same as STEP.wasm without a command
    Run(run::Run),
    /// Show what a step wants against what its manifest grants, and what is missing. Needs no TPM and no network
    Check(check::Check),
    /// Test a step in the cases of its test.toml. Needs no TPM, no broker and no network
    Test(test::Test),
    /// Make a project of a new step, which builds and runs as it is
    New(new::New),
    /// Make a component of a core module that was built against the contract, with its manifest inside
    Pack(pack::Pack),
    /// Enrol this runner with a broker
    Enroll(enroll::Enroll),
    /// Print the statement about this build environment
    Measure(measure::Measure),
    /// Quote PCRs, for your own use
    Quote(quote::Quote),
    /// Check evidence, on this machine alone
    #[command(subcommand)]
    Verify(verify::Verify),
    /// Speak the protocol of Sigstore's conformance suite
    #[command(subcommand, hide = true)]
    Conformance(conformance::Conformance),
    /// List, make and delete keys
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Sign a file by hand
    Sign(sign::Sign),
    /// Read event logs: what a machine booted
    #[command(subcommand, name = "eventlog")]
    EventLog(eventlog::EventLogCommand),
    /// Read the kernel's measurement lists
    #[command(subcommand)]
    Ima(ima::Ima),
    /// Begin and end a CI job: what the runner's hooks call
    #[command(subcommand)]
    Job(job::Job),
    /// Serve the jobs of this machine, as a daemon
    Agent(agent::AgentCommand),
    /// Check everything a step needs, and say what is missing
    Doctor(doctor::Doctor),
    /// Print the version
    Version(output::Version),
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(question) = Question::of(&CommandLine::command(), &arguments) {
        let global = Global { json: question.json, ..Global::default() };
        return end(&global, question.answer().map(|answer| output::print_text(&answer)));
    }
    let arguments = with_run(arguments);
    let CommandLine { global, action } = match CommandLine::try_parse_from(&arguments) {
        Ok(command) => command,
        Err(error) => return unparsed(&error, &arguments),
    };
    let end = |result| end(&global, result);
    let answer = |result: Result<ExitCode, Report>| result.unwrap_or_else(|report| end(Err(report)));
    match action {
        Action::Run(run) => run.execute(&global),
        Action::Check(check) => answer(check.execute(&global)),
        Action::Test(test) => answer(test.execute(&global)),
        Action::New(new) => end(new.execute(&global)),
        Action::Pack(pack) => end(pack.execute(&global)),
        Action::Enroll(enroll) => end(enroll.execute(&global)),
        Action::Measure(measure) => end(measure.execute(&global)),
        Action::Quote(quote) => end(quote.execute(&global)),
        Action::Verify(verify) => end(verify.execute(&global)),
        Action::Conformance(conformance) => end(conformance.execute()),
        Action::Keys(keys) => end(keys.execute(&global)),
        Action::Sign(sign) => end(sign.execute(&global)),
        Action::EventLog(command) => answer(command.execute(&global)),
        Action::Ima(ima) => end(ima.execute(&global)),
        Action::Job(job) => end(job.execute(&global)),
        Action::Agent(agent) => end(agent.execute()),
        Action::Doctor(doctor) => doctor.execute(&global),
        Action::Version(version) => end(version.execute(&global)),
    }
}

/// `attest-run … STEP.wasm …` is `attest-run … run STEP.wasm …`: what comes first and is neither an option of
/// every command nor a command belongs to `run`. A file with the name of a command is `./NAME`.
fn with_run(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let command = CommandLine::command();
    let mut at = 1;
    while let Some(argument) = arguments.get(at).and_then(|argument| argument.to_str()) {
        let (flag, value) = argument.split_once('=').map_or((argument, None), |(flag, value)| (flag, Some(value)));
        let global = command
            .get_arguments()
            .find(|known| flag.strip_prefix("--").is_some_and(|flag| known.get_long() == Some(flag)));
        match global {
            Some(known) if known.get_action().takes_values() && value.is_none() => at += 2,
            Some(_) => at += 1,
            None => break,
        }
    }
    let own = |argument: &str| {
        ["-h", "--help", "-V", "--version", "help"].contains(&argument) || command.find_subcommand(argument).is_some()
    };
    if arguments.get(at).is_some_and(|argument| !argument.to_str().is_some_and(own)) {
        arguments.insert(at, "run".into());
    }
    arguments
}

/// Help, or what is wrong with the command line. What a step ends with is the step's own: `run` has another status.
fn unparsed(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let _ = error.print();
    match error.exit_code() {
        0 => ExitCode::SUCCESS,
        _ if arguments.iter().any(|argument| argument == "run") => ExitCode::from(125),
        _ => ExitCode::from(2),
    }
}

fn end(global: &Global, result: Result<(), Report>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(report) => {
            output::complain(global, &report);
            ExitCode::from(report.fault.exit_status())
        }
    }
}
