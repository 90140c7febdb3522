//! From the first request to the last: HTTP/2 (RFC 9113) towards the worker, with prior knowledge.

use crate::exchange::{CONNECTION_WINDOW, Exchange, STREAM_WINDOW, Timeouts, WhileOpen};
use crate::fields::LONGEST_HEAD;
use crate::granted::Granted;
use crate::network::{Network, Servers};
use crate::reach::Hosts;
use crate::teller::{Queue, State, Teller};
use attest_wire::egress::{FromEgress, MOST_REQUESTS};
use attest_wire::{FrameReader, FrameWriter, WireError};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use tokio::net::UnixStream;

/// The largest piece of a body that is taken at once. Of the default, 16 KiB, a large body has so many that they are what it
/// takes time for.
const LONGEST_FRAME: u32 = 256 * 1024;
/// What waits for a worker that does not read, of each answer.
const WAITING: usize = 512 * 1024;

/// All that requests need.
pub struct Lease {
    /// What may be sent.
    pub granted: Granted,
    /// Where hosts lie.
    pub hosts: Hosts,
    /// Whom TLS trusts.
    pub tls: ClientConfig,
    /// How long one waits.
    pub timeouts: Timeouts,
}

/// Sends what the worker asks for, until it or the agent is gone, or a secret came back. Tells the agent everything.
///
/// # Errors
/// When the agent can't be told.
pub async fn serve(agent: (FrameReader, FrameWriter), worker: UnixStream, lease: Lease) -> Result<(), WireError> {
    let Lease { granted, hosts, tls, timeouts } = lease;
    let ((teller, queue), hosts) = (Teller::new(), Arc::new(hosts));
    let network = Network::new(Arc::clone(&hosts), tls, timeouts.connect, teller.state());
    let teller = Arc::new(teller);
    let exchange = Exchange::new(granted, hosts, Box::new(network), Arc::clone(&teller), timeouts);
    serve_exchange(agent, worker, exchange, teller, queue).await
}

/// As [`serve`], but nothing is sent to anybody: `servers` stand in for the network.
///
/// # Errors
/// When the agent can't be told.
pub async fn rehearse(
    agent: (FrameReader, FrameWriter),
    worker: UnixStream,
    granted: Granted,
    hosts: Hosts,
    servers: Box<dyn Servers>,
) -> Result<(), WireError> {
    let (teller, queue) = Teller::new();
    let teller = Arc::new(teller);
    let exchange = Exchange::new(granted, Arc::new(hosts), servers, Arc::clone(&teller), Timeouts::DEFAULT);
    serve_exchange(agent, worker, exchange, teller, queue).await
}

async fn serve_exchange(
    (mut agent, telling): (FrameReader, FrameWriter),
    worker: UnixStream,
    exchange: Exchange,
    teller: Arc<Teller>,
    queue: Queue,
) -> Result<(), WireError> {
    let exchange = Arc::new(exchange);
    let mut telling = pin!(queue.tell(telling));
    let mut state = teller.state();
    let requests = service_fn(move |request| {
        let exchange = Arc::clone(&exchange);
        async move { Ok::<_, Infallible>(exchange.answer(request).await) }
    });
    let connection = http2::Builder::new(WhileOpen(teller.state()))
        .max_concurrent_streams(MOST_REQUESTS)
        // A step may change its mind about all of them at once.
        .max_pending_accept_reset_streams(2 * MOST_REQUESTS as usize)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(LONGEST_FRAME)
        .max_header_list_size(LONGEST_HEAD)
        .max_send_buf_size(WAITING)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(worker), requests);

    tokio::select! {
        biased;
        _ = state.wait_for(|state| !matches!(state, State::Open)) => {}
        () = agent.closed() => return Ok(()),
        told = &mut telling => return told.map(drop),
        _ = connection => {}
    }

    // With the connection went the requests: they are told of as what they have become by now.
    let ended = teller.over();
    drop(teller);
    let mut telling = tokio::select! {
        told = telling => told?,
        () = agent.closed() => return Ok(()),
    };
    if let State::Leaked(leak) = ended {
        let encoding = leak.encoding.to_owned();
        telling.send(&FromEgress::Leaked { secret: leak.secret, encoding, from: leak.from }).await?;
    }
    telling.finish().await;
    Ok(())
}
