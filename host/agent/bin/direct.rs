//! Direct mode: an agent for one client, who started it.

use crate::started::{self, no_client};
use attest_agent::{Admins, Agent, BrokerStarting, Client, ServeError, Settings, config, installed};
use attest_evidence::exchange::Isolation;
use attest_evidence::report::{Explain as _, Report};
use attest_spawner::Starting;
use attest_tpm::Transport;
use attest_wire::WireError;
use attest_wire::client::Helpers;
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
        let (spawner, channel) = started::begin()?;
        let connection = channel.stream().try_clone().map_err(no_client)?;
        let (tpm, broker) = match channel.receive_with() {
            Ok((helpers, descriptors)) => {
                begun(helpers, descriptors).ok_or_else(|| no_client("it sent something else"))?
            }
            Err(WireError::Closed) => return Ok(()),
            Err(error) => return Err(no_client(error)),
        };
        let runtime = started::runtime()?;
        let served = runtime.block_on(async {
            let client = match Client::hear(channel.into_stream()).await {
                Ok(client) => client,
                // It has found out by itself that it can't ask.
                Err(ServeError::Gone) => return Ok(()),
                Err(error) => return Err(no_client(error)),
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
                    agent.settle().await;
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
            programs: installed::programs(),
            tools: self.tools,
            http_roots: config::roots(self.http_roots.as_deref())?,
            worker: installed::spawned().worker,
            embedded_broker: Some(installed::beside("attest-broker")),
        })
    }
}

/// The TPM and the broker that the client has started.
fn begun(helpers: Helpers, descriptors: Vec<OwnedFd>) -> Option<(Option<UnixStream>, Option<BrokerStarting>)> {
    let mut descriptors = descriptors.into_iter();
    let tpm = if helpers.tpm { Some(descriptors.next()?.into()) } else { None };
    let broker =
        if helpers.broker { Some(BrokerStarting::begun(descriptors.next()?, descriptors.next()?)) } else { None };
    Some((tpm, broker))
}
