//! The command line of the broker: serving, and what admins do beside it.

mod policy;
mod root;
mod runner;
mod secret;
mod serve;
mod state;

use attest_evidence::report::{Fault, Report};
use clap::{Parser, Subcommand};
use serde::Serialize;
use std::process::ExitCode;

/// Verifies attested exchanges and grants secrets and keys to one pipeline step.
#[derive(Debug, Parser)]
#[command(name = "attest-broker", version, max_term_width = 100)]
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
    /// Say who may vouch for TPMs
    #[command(subcommand)]
    Root(root::Root),
    /// Set and delete secrets
    #[command(subcommand)]
    Secret(secret::Secret),
    /// Check policies and put them in force
    #[command(subcommand)]
    Policy(policy::Policy),
}

/// Runs a command to its end.
pub fn run(command: Command) -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("ATTEST_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,attest_broker=info")),
        )
        .with_ansi(false)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Report::new("AR-B001", Fault::Environment, error.to_string())),
    };
    let global = &command.global;
    let result = runtime.block_on(async {
        match command.action {
            Action::Serve(serve) => serve.run(global).await,
            Action::Init => serve::init(global).await,
            Action::Runner(runner) => runner.run(global).await,
            Action::Root(root) => root.run(global).await,
            Action::Secret(secret) => secret.run(global).await,
            Action::Policy(policy) => policy.run(global).await,
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(report) => fail(&report),
    }
}

fn fail(report: &Report) -> ExitCode {
    eprint!("{report}");
    ExitCode::from(report.fault.exit_status())
}

/// Prints data: as JSON with its schema, or as text.
fn print(global: &Global, schema: &'static str, data: &impl Serialize, text: impl FnOnce() -> String) {
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
