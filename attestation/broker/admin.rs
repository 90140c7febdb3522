//! The command line of the broker: serving, and what admins do beside it.

/// Writes a line for people to standard error. When nobody reads it any more, the work goes on.
macro_rules! narrate {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{}\n", format_args!($($text)*)));
    }};
}

mod alarm;
mod audience;
mod authority;
mod issuer;
mod lease;
mod policy;
mod reference;
mod root;
mod runner;
mod secret;
mod serve;
mod state;
mod timestamp;
mod who;

use attest_appraisal::boot::moment_text;
use attest_evidence::UnixSeconds;
use attest_evidence::report::{Document, Fault, Report};
use attest_help::Question;
use clap::{Parser, Subcommand};
use serde::Serialize;
use std::io::Write as _;
use std::process::ExitCode;

/// Verifies attested exchanges and grants secrets and keys to one pipeline step.
#[derive(Debug, Parser)]
#[command(
    name = "attest-broker",
    version,
    max_term_width = 100,
    after_help = "`attest-broker help CODE` explains an error code, such as AR-B301"
)]
pub struct Command {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    action: Action,
}

/// What every subcommand takes.
#[derive(Debug, clap::Args)]
struct Global {
    /// Where database and root key lie. Default: /var/lib/attest-broker for root, else
    /// ~/.local/state/attest-broker
    #[arg(long, value_name = "DIR", global = true, env = "ATTEST_BROKER_STATE")]
    state: Option<std::path::PathBuf>,
    /// The root key: 64 hexadecimal digits. Default: the systemd credential `root-key`, else root.key in the
    /// state directory
    #[arg(long, value_name = "FILE", global = true)]
    root_key: Option<std::path::PathBuf>,
    /// Print data as JSON, with a `schema` member
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Serve agents. Makes a broker for development first if there is none
    Serve(serve::Serve),
    /// Make a broker: its database, its keys, a policy for development
    Init,
    /// Let runners in, and keep them out
    #[command(subcommand)]
    Runner(runner::Runner),
    /// Say what machines may have booted
    #[command(subcommand)]
    Reference(reference::Reference),
    /// Say who may vouch for TPMs
    #[command(subcommand)]
    Root(root::Root),
    /// Say whose CI tokens are believed
    #[command(subcommand)]
    Issuer(issuer::Issuer),
    /// List what steps hold, and take it away
    #[command(subcommand)]
    Lease(lease::Lease),
    /// See what somebody should look at, and have it sent
    #[command(subcommand)]
    Alarm(alarm::Alarm),
    /// Set and delete secrets
    #[command(subcommand)]
    Secret(secret::Secret),
    /// Say for whom tokens are minted
    #[command(subcommand)]
    Audience(audience::Audience),
    /// Check policies, try them, and put them in force
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Print by what this broker is known to whoever verifies keys: a certificate, and the key that keys in TPMs obey
    Authority,
    /// Show by what this broker's timestamps are known
    #[command(subcommand)]
    Timestamp(timestamp::Timestamp),
}

/// Room for what recurses over a policy's rules, which are bounded in depth: the same wherever one is compiled or asked.
const STACK: usize = 8 * 1024 * 1024;

/// Runs a command to its end.
pub fn run(command: Command) -> ExitCode {
    if let Err(error) = seclude() {
        return fail(&Report::new("AR-B010", Fault::Environment, format!("can't shut itself off: {error}")));
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("ATTEST_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,attest_broker=info")),
        )
        .with_ansi(false)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(STACK)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Report::new("AR-B001", Fault::Environment, error.to_string())),
    };
    let global = &command.global;
    let result = runtime.block_on(async {
        match command.action {
            Action::Serve(serve) => serve.run(global).await,
            Action::Init => serve::init(global).await,
            Action::Runner(runner) => runner.run(global).await,
            Action::Reference(reference) => reference.run(global).await,
            Action::Root(root) => root.run(global).await,
            Action::Issuer(issuer) => issuer.run(global).await,
            Action::Lease(lease) => lease.run(global).await,
            Action::Alarm(alarm) => alarm.run(global).await,
            Action::Secret(secret) => secret.run(global).await,
            Action::Audience(audience) => audience.run(global).await,
            Action::Policy(policy) => policy.run(global).await,
            Action::Authority => authority::run(global).await,
            Action::Timestamp(timestamp) => timestamp.run(global).await,
        }
    });
    end(global.json, result)
}

/// Explains an error code.
pub fn explain(question: &Question) -> ExitCode {
    end(question.json, question.answer().map(|answer| print_text(&answer)))
}

fn end(json: bool, result: Result<(), Report>) -> ExitCode {
    #[derive(Serialize)]
    struct Failure<'a> {
        error: &'a Report,
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(report) => {
            if json {
                print_text(&Document { schema: "attest-run/error/v1", data: &Failure { error: &report } }.to_line());
            }
            fail(&report)
        }
    }
}

/// No core dump and no debugger: this process holds the root key. What it makes is its user's alone. As many
/// connections as the system lets it have.
fn seclude() -> rustix::io::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask};
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    umask(rustix::fs::Mode::from_bits_truncate(0o077));
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum })
}

fn fail(report: &Report) -> ExitCode {
    narrate!("{}", report.to_string().trim_end());
    if let Some(pointer) = attest_help::pointer("attest-broker", &report.code) {
        narrate!("{pointer}");
    }
    ExitCode::from(report.fault.exit_status())
}

/// Prints data: as JSON with its schema, or as text. Whoever has stopped reading wants no more.
fn print(global: &Global, schema: &'static str, data: &impl Serialize, text: impl FnOnce() -> String) {
    print_text(&if global.json { Document { schema, data }.to_line() } else { text() });
}

/// A moment, as people read it: RFC 3339, in UTC.
fn utc(seconds: i64) -> String {
    let moment = u64::try_from(seconds).ok().and_then(|seconds| moment_text(UnixSeconds(seconds)));
    moment.unwrap_or_else(|| seconds.to_string())
}

/// Prints text, with a line's end behind it.
fn print_text(text: &str) {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(std::io::stdout().lock(), "{text}{end}");
}
