//! Requests: to egress, over HTTP/2, with what secrets are to be put into them.

use attest_wire::egress::{FAILURE, Failure, MOST_REQUESTS, OWN_FIELDS, SECRET, SecretInRequest};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks,
};

/// Bytes on their way in one direction, of one request and of all: what keeps both sides busy.
const WINDOW: u32 = 1 << 20;
const WINDOW_OF_ALL: u32 = 4 << 20;
/// Pieces of a body that a step may write ahead, and bytes of each: some two megabytes, which no limit of the step counts.
const PIECES_AHEAD: usize = 4;
const LONGEST_PIECE: usize = 512 * 1024;
/// The largest frame: few frames for large bodies.
const LARGEST_FRAME: u32 = 256 * 1024;
/// The largest head of an answer: somewhat more than what egress passes on.
const LARGEST_HEAD: u32 = 128 * 1024;

/// What a step's requests go through.
pub(crate) struct Outbox {
    pub(crate) context: WasiHttpCtx,
    pub(crate) hooks: Hooks,
}

/// What decides about requests, in this process: egress decides again, and knows more.
pub(crate) struct Hooks {
    egress: Option<SendRequest<WasiBody>>,
    /// The secrets of the request that is sent next.
    secrets: Vec<SecretInRequest>,
}

impl Outbox {
    /// One without a way out.
    pub(crate) fn closed() -> Self {
        Self { context: WasiHttpCtx::new(), hooks: Hooks { egress: None, secrets: Vec::new() } }
    }

    /// One that leads to egress. The connection does not block.
    pub(crate) async fn open(connection: UnixStream) -> wasmtime::Result<Self> {
        let io = TokioIo::new(tokio::net::UnixStream::from_std(connection)?);
        let (egress, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW_OF_ALL)
            .max_frame_size(LARGEST_FRAME)
            .max_header_list_size(LARGEST_HEAD)
            // What egress takes: before it has said so itself, hyper would begin more, and those would be lost.
            .initial_max_send_streams(MOST_REQUESTS as usize)
            .max_send_buf_size(WINDOW as usize)
            .handshake(io)
            .await?;
        // It ends with the process, or when egress does: requests fail then.
        tokio::spawn(connection);
        let mut outbox = Self::closed();
        outbox.hooks.egress = Some(egress);
        Ok(outbox)
    }

    /// The secrets of the next request.
    pub(crate) fn carry(&mut self, secrets: Vec<SecretInRequest>) {
        self.hooks.secrets = secrets;
    }
}

fn is_forbidden(name: &HeaderName) -> bool {
    DEFAULT_FORBIDDEN_HEADERS.contains(name) || name.as_str().starts_with(OWN_FIELDS)
}

type Answer = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Hooks {
    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        PIECES_AHEAD
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        LONGEST_PIECE
    }

    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        is_forbidden(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(is_forbidden)
    }

    /// Egress writes it.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _done: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Answer, Error>> + Send> {
        let egress = self.egress.clone();
        let secrets = std::mem::take(&mut self.secrets);
        Box::new(async move {
            let Some(mut egress) = egress else { return Err(Error::HttpRequestDenied) };
            for secret in secrets {
                let field = serde_json::to_vec(&secret).ok().and_then(|json| HeaderValue::from_bytes(&json).ok());
                request.headers_mut().append(SECRET, field.ok_or(Error::HttpRequestDenied)?);
            }
            let answer = egress.send_request(request);
            let answer = match patience(options) {
                Some(longest) => tokio::time::timeout(longest, answer).await.map_err(|_| Error::HttpResponseTimeout)?,
                None => answer.await,
            };
            let (mut head, body) = answer?.into_parts();
            if let Some(failure) = head.headers.get(FAILURE) {
                return Err(error(failure.to_str().ok().and_then(Failure::named)));
            }
            let own = |name: &&HeaderName| name.as_str().starts_with(OWN_FIELDS);
            let own: Vec<HeaderName> = head.headers.keys().filter(own).cloned().collect();
            own.iter().for_each(|name| drop(head.headers.remove(name)));
            let body = body.map_err(Error::from).boxed_unsync();
            let nothing_more: Box<dyn Future<Output = Result<(), Error>> + Send> = Box::new(async { Ok(()) });
            Ok((Response::from_parts(head, body), nothing_more))
        })
    }
}

/// How long the step wants to wait for an answer to begin. Egress has its own, which count in any case.
fn patience(options: Option<RequestOptions>) -> Option<Duration> {
    let options = options?;
    Some(options.connect_timeout.unwrap_or_default() + options.first_byte_timeout?)
}

/// What the step is told.
fn error(failure: Option<Failure>) -> Error {
    match failure {
        Some(Failure::Denied) | None => Error::HttpRequestDenied,
        Some(Failure::NoSuchHost) => Error::DnsError { rcode: None, info_code: None },
        Some(Failure::Unreachable) => Error::ConnectionRefused,
        Some(Failure::TimedOut) => Error::HttpResponseTimeout,
        Some(Failure::Tls) => Error::TlsProtocolError,
        Some(Failure::Protocol) => Error::HttpProtocolError,
        Some(Failure::Body) => Error::HttpRequestBodySize(None),
    }
}
