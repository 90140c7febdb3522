//! `agent`: becomes the daemon of its own user that owns the TPM.

use attest_agent::installed;
use attest_evidence::report::{Fault, Report};
use clap::Args;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Serve the jobs of this machine. Configured by /etc/attest-run/config.toml alone.
#[derive(Debug, Args)]
pub(crate) struct AgentCommand;

impl AgentCommand {
    pub(crate) fn execute(self) -> Result<(), Report> {
        let program = installed::beside("attest-agent");
        let error = Command::new(&program).arg("serve").exec();
        Err(no_agent(&error.to_string()))
    }
}

/// The agent's program can't be started.
pub(crate) fn no_agent(reason: &str) -> Report {
    let program = installed::beside("attest-agent");
    Report::new("AR-C507", Fault::Environment, format!("{} can't be started: {reason}", program.display()))
        .hint("attest-agent belongs beside attest-run: install them together")
}
