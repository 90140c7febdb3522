//! Direct mode: an agent for one client, who started it.

use attest_agent::{Admins, Agent, BrokerStarting, Client, ServeError, Settings, config, start_log};
use attest_evidence::exchange::Isolation;
use attest_evidence::report::{Explain as _, Fault, Report};
use attest_spawner::{Spawner, Starting};
use attest_tpm::Transport;
use attest_wire::client::Started;
use attest_wire::{Channel, WireError};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// Serve one client.
#[derive(Debug, clap::Args)]
pub(crate) struct Direct {
    /// Where state and keys lie
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The TPM. Default: the kernel's, and where there is none one in software, in the state's directory
    #[arg(long, value_name = "TPM")]
    tpm: Option<String>,
    /// Certificates of servers' roots beside those of the system, PEM
    #[arg(long, value_name = "FILE")]
    http_roots: Option<PathBuf>,
    /// A program that builds use; may be repeated
    #[arg(long = "tool", value_name = "FILE")]
    tools: Vec<PathBuf>,
}

impl Direct {
    /// What the client is told by its connection is told by nothing else.
    pub(crate) fn serve(self) -> Result<(), Report> {
        start_log("warn");
        let broken = |reason: &dyn std::fmt::Display| {
            Report::new("AR-C503", Fault::Environment, format!("there is no client at standard input: {reason}"))
                .hint("`attest-run` starts this program; it is of no use by hand")
        };
        // Before any thread, so that it inherits nothing but this process's rights.
        let spawner = Spawner::start(&config::spawned(), None);
        let channel = Channel::at_stdin().map_err(|error| broken(&error))?;
        let connection = channel.stream().try_clone().map_err(|error| broken(&error))?;
        let (tpm, broker) = match channel.receive_with() {
            Ok((started, descriptors)) => {
                begun(started, descriptors).ok_or_else(|| broken(&"it sent something else"))?
            }
            Err(WireError::Closed) => return Ok(()),
            Err(error) => return Err(broken(&error)),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Report::new("AR-C504", Fault::Environment, error.to_string()))?;
        let served = runtime.block_on(async {
            let client = match Client::hear(channel.into_stream()).await {
                Ok(client) => client,
                // It has found out by itself that it can't ask.
                Err(ServeError::Gone) => return Ok(()),
                Err(error) => return Err(broken(&error)),
            };
            let started = async {
                let settings = self.settings(tpm)?;
                let spawner = spawner.and_then(Starting::ready).map_err(|error| error.report())?;
                Agent::start(settings, spawner, broker).await.map_err(|error| error.report())
            };
            match started.await {
                Ok(agent) => {
                    let admins = Admins::new(vec![rustix::process::getuid().as_raw()]);
                    agent.serve_client(client, &admins, std::future::pending()).await;
                }
                Err(report) => client.refuse(report).await,
            }
            Ok(())
        });
        // The client waits for this, and not until the kernel has taken this process down.
        let _ = connection.shutdown(Shutdown::Both);
        served
    }

    fn settings(self, begun: Option<UnixStream>) -> Result<Settings, Report> {
        let tpm = match (config::transport(self.tpm.as_deref(), &self.state)?, begun) {
            (Transport::Embedded(embedded), Some(begun)) => Transport::Embedded(embedded.with_begun(begun)),
            (tpm, _) => tpm,
        };
        let (event_log, measurements) = config::logs(&tpm, None, None)?;
        Ok(Settings {
            state: self.state,
            event_log,
            measurements,
            tpm,
            isolation: Isolation::Direct,
            programs: config::programs(),
            tools: self.tools,
            http_roots: config::roots(self.http_roots.as_deref())?,
            worker: config::spawned().worker,
            embedded_broker: Some(config::beside("attest-broker")),
        })
    }
}

/// The TPM and the broker that the client has started.
fn begun(started: Started, descriptors: Vec<OwnedFd>) -> Option<(Option<UnixStream>, Option<BrokerStarting>)> {
    let mut descriptors = descriptors.into_iter();
    let tpm = if started.tpm { Some(descriptors.next()?.into()) } else { None };
    let broker =
        if started.broker { Some(BrokerStarting::begun(descriptors.next()?, descriptors.next()?)) } else { None };
    Some((tpm, broker))
}
