//! `attest-agent`: the process that owns the TPM. `attest-run agent` starts it as a daemon; where there is none, every
//! `attest-run` starts one of its own.

mod daemon;
mod direct;
mod rehearse;
mod started;

use attest_evidence::report::Report;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Owns the TPM, asks the broker, and serves the handles of running steps. Started by `attest-run`.
#[derive(Debug, Parser)]
#[command(name = "attest-agent", version, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Serve the jobs of this machine, as /etc/attest-run/config.toml says
    Serve,
    /// Serve the one client at standard input, and end
    Direct(direct::Direct),
    /// Rehearse a step for the client at standard input, and end
    #[command(hide = true)]
    Rehearse(rehearse::RehearseHere),
    /// Derive a key for the agent at standard input, and end
    #[command(hide = true)]
    Derive,
}

fn main() -> ExitCode {
    attest_tpm::silence_library_log();
    let served = match CommandLine::parse().action {
        Action::Serve => daemon::serve(),
        Action::Direct(direct) => direct.serve(),
        Action::Rehearse(rehearse) => rehearse.serve(),
        Action::Derive => return attest_agent::serve_derivation().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
    };
    served.map_or_else(|report| complain(&report), |()| ExitCode::SUCCESS)
}

fn complain(report: &Report) -> ExitCode {
    eprintln!("{}", report.to_string().trim_end());
    if let Some(pointer) = attest_help::pointer("attest-run", &report.code) {
        eprintln!("{pointer}");
    }
    ExitCode::from(report.fault.exit_status())
}
