//! Connections: to the pinned addresses of a host and no other, with TLS unless it is this machine.
//!
//! No variable of the environment and no proxy has a say in it.

use crate::reach::Hosts;
use attest_evidence::exchange::Origin;
use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tower_service::Service;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// No request to that host was let through.
    #[error("`{0}` was not looked up before")]
    NotPinned(String),
    /// Nobody answers at any of its addresses.
    #[error("nobody answers at {address}: {error}")]
    Unreachable {
        /// The last that was tried.
        address: SocketAddr,
        /// What the operating system says.
        error: io::Error,
    },
    /// Neither a connection nor TLS in time.
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    /// Whoever answers is not who it should be, or speaks no TLS.
    #[error("TLS: {0}")]
    Tls(String),
}

type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, ConnectError>> + Send>>;

/// Makes TCP connections.
#[derive(Debug, Clone)]
pub(crate) struct Pinned {
    hosts: Arc<Hosts>,
    limit: Duration,
}

/// Makes connections.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    https: HttpsConnector<Pinned>,
    limit: Duration,
}

impl Connector {
    /// To these hosts, each within `limit`. HTTP/2 with whoever speaks it.
    pub(crate) fn new(hosts: Arc<Hosts>, tls: ClientConfig, limit: Duration) -> Self {
        let pinned = Pinned { hosts, limit };
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(pinned);
        Self { https, limit }
    }
}

impl Service<Uri> for Pinned {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let (hosts, limit) = (Arc::clone(&self.hosts), self.limit);
        Box::pin(async move {
            let authority = target.authority().map(hyper::http::uri::Authority::as_str).unwrap_or_default();
            let not_pinned = || ConnectError::NotPinned(authority.to_owned());
            let origin = Origin::of_request(target.scheme_str().unwrap_or_default(), authority);
            let origin = origin.map_err(|_| not_pinned())?;
            let addresses = hosts.known(origin.host()).ok_or_else(not_pinned)?;
            let stream = one_of(&addresses, origin.port(), limit).await?;
            // Without, a small request waits for the acknowledgement of what was sent before. It is a matter of speed.
            let _ = stream.set_nodelay(true);
            Ok(TokioIo::new(stream))
        })
    }
}

/// The first that answers, one after the other. Each has its share of the time, so that one that is silent leaves some.
async fn one_of(addresses: &[IpAddr], port: u16, limit: Duration) -> Result<TcpStream, ConnectError> {
    let end = Instant::now() + limit;
    let mut last = ConnectError::TimedOut(limit);
    for (tried, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = end.saturating_duration_since(now) / left;
        let address = SocketAddr::new(*address, port);
        last = match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => ConnectError::Unreachable { address, error },
            Err(_) => ConnectError::TimedOut(limit),
        };
    }
    Err(last)
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = ConnectError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let (connecting, limit) = (self.https.call(target), self.limit);
        Box::pin(async move {
            match timeout(limit, connecting).await {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) => Err(of_tls(error)),
                Err(_) => Err(ConnectError::TimedOut(limit)),
            }
        })
    }
}

/// What did not come from the connection below came from TLS.
fn of_tls(error: Box<dyn Error + Send + Sync>) -> ConnectError {
    match error.downcast::<ConnectError>() {
        Ok(error) => *error,
        Err(other) => ConnectError::Tls(other.to_string()),
    }
}
