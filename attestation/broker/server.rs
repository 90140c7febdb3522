//! HTTP over TLS, bounded in every direction.

mod discovery;
mod metrics;
mod refusal;
mod routes;
mod tls;

pub use refusal::Refusal;

use crate::broker::Broker;
use attest_evidence::report::{Explain, Fault, Report};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Most connections at once: each agent keeps one or two.
const MOST_CONNECTIONS: usize = 4096;
/// Most connections at once from one address: an agent keeps a handful; many agents may share an address.
const MOST_OF_ONE_ADDRESS: usize = 256;
/// The longest a TLS handshake may take.
const LONGEST_HANDSHAKE: Duration = Duration::from_secs(10);
/// The longest it may take until a request's headers are there; also how long an idle connection is kept.
const LONGEST_HEADERS: Duration = Duration::from_secs(60);

/// A broker that listens.
pub struct Server {
    listener: TcpListener,
    broker: Arc<Broker>,
    tls: TlsAcceptor,
    /// Where numbers are had, if anywhere.
    metrics: Option<TcpListener>,
}

/// Why a broker can't listen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or not this machine's.
    #[error("can't listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// TLS can't be set up.
    #[error("can't set up TLS: {0}")]
    Tls(String),
}

impl Explain for ServeError {
    fn report(&self) -> Report {
        match self {
            Self::Listen { .. } => Report::new("AR-B201", Fault::Environment, self.to_string())
                .hint("`--listen ADDRESS:PORT` chooses another; port 0 lets the system choose"),
            Self::Tls(_) => Report::new("AR-B202", Fault::Environment, self.to_string())
                .hint("`--name` takes the host names and addresses under which agents reach the broker"),
        }
    }
}

impl Server {
    /// Listens on `address` as the host `names`.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub async fn bind(broker: Arc<Broker>, address: SocketAddr, names: Vec<String>) -> Result<Self, ServeError> {
        let tls = tls::acceptor(Arc::clone(&broker), names)?;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| ServeError::Listen { address, reason: error.to_string() })?;
        Ok(Self { listener, broker, tls, metrics: None })
    }

    /// Gives numbers to a monitoring system, too, at `address`.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub async fn with_metrics(mut self, address: SocketAddr) -> Result<Self, ServeError> {
        let listener = TcpListener::bind(address).await;
        self.metrics = Some(listener.map_err(|error| ServeError::Listen { address, reason: error.to_string() })?);
        Ok(self)
    }

    /// The address it really listens on.
    ///
    /// # Errors
    /// What the operating system reports.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `end` comes, then finishes what has begun.
    pub async fn serve(mut self, end: impl Future<Output = ()> + Send) {
        let routes = routes::routes(Arc::clone(&self.broker));
        let broker = || Arc::clone(&self.broker);
        let mut chores = tokio::task::JoinSet::new();
        chores.spawn(broker().watch_leases());
        chores.spawn(broker().tell_taken());
        chores.spawn(broker().gather_heartbeats());
        chores.spawn(broker().send_alarms());
        if let Some(listener) = self.metrics.take() {
            let routes = metrics::routes(broker());
            chores.spawn(async move {
                if let Err(error) = axum::serve(listener, routes).await {
                    tracing::error!(%error, "no numbers are given any more");
                }
            });
        }
        let connections = Arc::new(Connections::default());
        let (closing, closed) = tokio::sync::watch::channel(());
        let mut end = std::pin::pin!(end);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = &mut end => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let Some(permit) = connections.admit(peer.ip()) else {
                tracing::debug!(%peer, "too many connections");
                continue;
            };
            let (tls, routes, closed) = (self.tls.clone(), routes.clone(), closed.clone());
            tokio::spawn(async move {
                serve_connection(stream, tls, routes, closed).await;
                drop(permit);
            });
        }
        chores.abort_all();
        drop(closed);
        let _ = closing.send(());
        let _ = tokio::time::timeout(Duration::from_secs(5), closing.closed()).await;
    }
}

/// Who is connected, by address.
#[derive(Default)]
struct Connections(Mutex<HashMap<IpAddr, usize>>);

/// A place among the connections, until it is dropped.
struct Place {
    connections: Arc<Connections>,
    address: IpAddr,
}

impl Connections {
    fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.values().sum::<usize>() >= MOST_CONNECTIONS {
            return None;
        }
        let count = counts.entry(address).or_insert(0);
        if *count >= MOST_OF_ONE_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Place { connections: Arc::clone(self), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.connections.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    tls: TlsAcceptor,
    routes: axum::Router,
    mut closed: tokio::sync::watch::Receiver<()>,
) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(LONGEST_HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "no TLS"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(LONGEST_HEADERS)
        .max_headers(32)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        _ = closed.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended badly");
    }
}
