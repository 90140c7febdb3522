//! `serve` and `init`.

use super::state::State;
use super::{Global, print};
use crate::broker::Settings;
use crate::server::Server;
use crate::tokens::TokenIssuer;
use attest_evidence::exchange::Pins;
use attest_evidence::name::BrokerId;
use attest_evidence::report::{Explain as _, Fault, Report};
use clap::Args;
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::AsyncReadExt as _;

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// A host name or address under which agents reach the broker; may be repeated
    #[arg(long = "name", value_name = "NAME", default_values = ["localhost", "127.0.0.1", "::1"])]
    names: Vec<String>,
    /// Give numbers to a monitoring system there, in Prometheus' format, over plain HTTP
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    /// Seconds after which a lease ends whatever the step says
    #[arg(long, value_name = "SECONDS", default_value_t = Settings::default().lease_seconds,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    lease_seconds: u64,
    /// Seconds between heartbeats of a lease; two missed ones end it
    #[arg(long, value_name = "SECONDS", default_value_t = Settings::default().heartbeat_seconds,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    heartbeat_seconds: u32,
    /// Seconds for which a job may ask for its secrets, after its token was redeemed
    #[arg(long, value_name = "SECONDS", default_value_t = Settings::default().session_seconds,
          value_parser = clap::value_parser!(u64).range(1..=7 * 86_400))]
    session_seconds: u64,
    /// Mint tokens, which say this in `iss`: https://HOST[:PORT][/PATH]. Whoever shall believe them finds
    /// .well-known/openid-configuration and .well-known/jwks.json there: have a proxy pass these two on to the broker
    #[arg(long, value_name = "URL")]
    token_issuer: Option<TokenIssuer>,
    /// Serve until standard input ends: for whoever starts a broker of their own
    #[arg(long)]
    until_stdin_ends: bool,
}

#[derive(Serialize)]
struct Ready {
    url: String,
    broker: BrokerId,
    pins: Pins,
}

impl Serve {
    pub(super) async fn run(self, global: &Global) -> Result<(), Report> {
        let state = State::of(global)?;
        if !state.exists() {
            if !self.listen.ip().is_loopback() {
                let what = "there is no broker yet, and one made on the spot serves this machine alone";
                return Err(Report::new("AR-B005", Fault::Usage, what)
                    .hint("run `attest-broker init` and apply a policy of your own before listening to others"));
            }
            state.init().await?;
        }
        let settings = Settings {
            lease_seconds: self.lease_seconds,
            heartbeat_seconds: self.heartbeat_seconds,
            session_seconds: self.session_seconds,
            token_issuer: self.token_issuer,
            ..Settings::default()
        };
        let broker = Arc::new(state.broker(settings).await?);
        // Known now, not when the first step asks; but nobody waits for it.
        let compiling = Arc::clone(&broker);
        tokio::spawn(async move {
            if let Err(error) = compiling.policy().await {
                tracing::error!(%error, "the policy in force can't be used: nothing will be granted");
            }
        });
        broker.begin_tokens().await.map_err(|error| error.report())?;
        let server =
            Server::bind(Arc::clone(&broker), self.listen, self.names).await.map_err(|error| error.report())?;
        let server = match self.metrics {
            Some(address) => server.with_metrics(address).await.map_err(|error| error.report())?,
            None => server,
        };
        let address =
            server.address().map_err(|error| Report::new("AR-B201", Fault::Environment, error.to_string()))?;
        let ready =
            Ready { url: format!("https://{address}"), broker: broker.keys().id().clone(), pins: broker.keys().pins() };
        print(global, "attest-run/broker-ready/v1", &ready, || format!("{} listens on {}", ready.broker, ready.url));
        tracing::info!(url = %ready.url, broker = %ready.broker, "serving");
        server.serve(until_told(self.until_stdin_ends)).await;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Ends with SIGTERM, SIGINT, or standard input if that is what the caller holds on to.
async fn until_told(stdin_counts: bool) {
    use tokio::signal::unix::{SignalKind, signal};
    let stdin = async {
        if stdin_counts {
            let mut buffer = [0; 64];
            while matches!(tokio::io::stdin().read(&mut buffer).await, Ok(1..)) {}
        } else {
            std::future::pending::<()>().await;
        }
    };
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return stdin.await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = stdin => {}
    }
}

#[derive(Serialize)]
struct Made {
    broker: BrokerId,
    pins: Pins,
    database: std::path::PathBuf,
}

pub(super) async fn init(global: &Global) -> Result<(), Report> {
    let state = State::of(global)?;
    state.init().await?;
    let broker = state.broker(Settings::default()).await?;
    let made = Made { broker: broker.keys().id().clone(), pins: broker.keys().pins(), database: state.database() };
    print(global, "attest-run/broker-init/v1", &made, || {
        format!("{} made in {}", made.broker, made.database.display())
    });
    narrate!(
        "next: `attest-broker runner token NAME --isolation agent`, `attest-broker policy apply FILE`, `attest-broker serve`"
    );
    Ok(())
}
