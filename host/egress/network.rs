//! Who answers requests: the network. In a rehearsal, others stand in for it.

use crate::connect::{ConnectError, Connector};
use crate::exchange::{CONNECTION_WINDOW, STREAM_WINDOW, WhileOpen};
use crate::fields::LONGEST_HEAD;
use crate::outgoing::{Broken, Outgoing};
use crate::reach::Hosts;
use crate::refusal::NoAnswer;
use crate::teller::State;
use attest_evidence::exchange::Origin;
use attest_wire::egress::{Failure, SecretInRequest};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Bytes;
use hyper::{Request, Response};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioTimer;
use rustls::ClientConfig;
use std::error::Error as _;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A connection that nobody uses is closed before most servers close it: then no request meets one that is just gone.
const IDLE: Duration = Duration::from_secs(20);
/// Connections to one host that wait for the next request.
const MOST_IDLE: usize = 8;
/// What is read at once of HTTP/1.
const READ_AT_ONCE: usize = 256 * 1024;

/// Takes requests that may be sent, and answers them. Whether a request may be sent, and what of an answer is passed on, is
/// decided before and after, and the same whoever this is.
pub trait Servers: Send + Sync {
    /// The answer to a request to `origin`, into which `secrets` have been put.
    fn send<'a>(
        &'a self,
        request: Request<Outgoing>,
        origin: &'a Origin,
        secrets: &'a [SecretInRequest],
    ) -> Answering<'a>;
}

/// An answer to come.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Response<FromServer>, NoAnswer>> + Send + 'a>>;

/// The body of an answer, as a server sends it.
pub type FromServer = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Every server that can be reached.
pub(crate) struct Network(Client<Connector, Outgoing>);

impl Network {
    /// At these hosts, each connection made within `connect`.
    pub(crate) fn new(hosts: Arc<Hosts>, tls: ClientConfig, connect: Duration, state: watch::Receiver<State>) -> Self {
        // A request is sent again only where a connection that was kept turns out to be closed before any of it went out.
        let client = Client::builder(WhileOpen(state))
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MOST_IDLE)
            .http1_max_buf_size(READ_AT_ONCE)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_header_list_size(LONGEST_HEAD)
            .build(Connector::new(hosts, tls, connect));
        Self(client)
    }
}

impl Servers for Network {
    fn send<'a>(&'a self, request: Request<Outgoing>, origin: &'a Origin, _: &'a [SecretInRequest]) -> Answering<'a> {
        let answer = self.0.request(request);
        Box::pin(async move {
            let answer = answer.await.map_err(|error| failed(origin, &error))?;
            Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
        })
    }
}

/// What the client's error means. Its text holds nothing of the request.
fn failed(to: &Origin, error: &Error) -> NoAnswer {
    let mut why = error.to_string();
    let mut failure = Failure::Protocol;
    let mut cause = error.source();
    while let Some(this) = cause {
        why = this.to_string();
        if let Some(connect) = this.downcast_ref::<ConnectError>() {
            failure = match connect {
                ConnectError::NotPinned(_) | ConnectError::Unreachable { .. } => Failure::Unreachable,
                ConnectError::TimedOut(_) => Failure::TimedOut,
                ConnectError::Tls(_) => Failure::Tls,
            };
            break;
        }
        if this.is::<Broken>() {
            failure = Failure::Body;
        }
        cause = this.source();
    }
    NoAnswer::Failed { failure, to: to.clone(), why }
}
