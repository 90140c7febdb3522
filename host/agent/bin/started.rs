//! What an agent that a client has started begins with.

use attest_agent::{installed, start_log};
use attest_evidence::report::{Fault, Report};
use attest_spawner::{SpawnError, Spawner, Starting};
use attest_wire::Channel;
use std::fmt::Display;
use tokio::runtime::Runtime;

/// The spawner, or why there is none, which is the client's to hear; and the connection to the client, at standard input.
pub(crate) fn begin() -> Result<(Result<Starting, SpawnError>, Channel), Report> {
    start_log("warn");
    // Before any thread, so that it inherits nothing but this process's rights.
    let spawner = Spawner::start(&installed::spawned(), None);
    Ok((spawner, Channel::at_stdin().map_err(no_client)?))
}

/// There is nobody to tell but whoever reads standard error.
pub(crate) fn no_client(reason: impl Display) -> Report {
    Report::new("AR-C503", Fault::Environment, format!("there is no client at standard input: {reason}"))
        .hint("`attest-run` starts this program; it is of no use by hand")
}

/// One thread serves one client.
pub(crate) fn runtime() -> Result<Runtime, Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Report::new("AR-C504", Fault::Environment, error.to_string()))
}
