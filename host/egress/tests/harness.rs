//! Egress, with a test in the place of the agent and of the worker.

use attest_egress::{Lease, serve};
use attest_evidence::SecretBytes;
use attest_evidence::exchange::{Destination, GrantedOrigin};
use attest_wire::egress::{FAILURE, FromEgress, HttpSecret, SECRET, SecretInRequest, Sent, Start};
use attest_wire::{Channel, Revealed};
use http_body_util::{BodyExt as _, Empty, Full, combinators::UnsyncBoxBody};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, watch};

/// A secret that is in no other text.
pub(crate) const VALUE: &str = "s3cr3t/v4lue+0123456789=abcdef";

/// The body of a request.
pub(crate) type Sending = UnsyncBoxBody<Bytes, Infallible>;

/// Egress, and both who talk to it.
pub(crate) struct Egress {
    child: Option<Child>,
    worker: SendRequest<Sending>,
    connection: tokio::task::JoinHandle<()>,
    told: mpsc::UnboundedReceiver<FromEgress>,
    reads: watch::Sender<bool>,
    /// Every byte that the worker got.
    got: Arc<Mutex<Vec<u8>>>,
}

/// What may be sent: to be changed by a test before egress starts.
pub(crate) fn nothing() -> Start {
    Start { origins: Vec::new(), secrets: Vec::new(), roots: String::new() }
}

/// An origin in a private network.
pub(crate) fn private(origin: &str) -> GrantedOrigin {
    GrantedOrigin { origin: origin.parse().unwrap(), private: true }
}

/// A secret with its destinations, each for every method, in these places, also in a private network.
pub(crate) fn secret(name: &str, value: &str, destinations: &[&str], places: &[&str]) -> HttpSecret {
    let destinations = destinations.iter().map(|text| {
        let mut destination: Destination = text.parse().unwrap();
        destination.private = true;
        destination.places = places.iter().map(|place| place.parse().unwrap()).collect();
        destination
    });
    HttpSecret {
        name: name.parse().unwrap(),
        value: Revealed::new(SecretBytes::new(value.as_bytes().to_vec())),
        destinations: destinations.collect(),
    }
}

/// A step that may send to `origin`, with [`VALUE`] in these places.
pub(crate) fn one_secret(origin: &str, places: &[&str]) -> Start {
    Start { origins: vec![private(origin)], secrets: vec![secret("npm", VALUE, &[origin], places)], ..nothing() }
}

/// What the worker writes to have a secret put in.
pub(crate) fn asked(name: &str, place: &str, with: &str) -> String {
    let asked = SecretInRequest { name: name.parse().unwrap(), place: place.parse().unwrap(), with: with.to_owned() };
    serde_json::to_string(&asked).unwrap()
}

/// A request without a body.
pub(crate) fn get(target: &str) -> Request<Sending> {
    Request::get(target).body(empty()).unwrap()
}

/// A request with a body.
pub(crate) fn post(target: &str, kind: &str, body: &str) -> Request<Sending> {
    Request::post(target).header("content-type", kind).body(full(body)).unwrap()
}

pub(crate) fn empty() -> Sending {
    Empty::new().boxed_unsync()
}

pub(crate) fn full(body: &str) -> Sending {
    Full::new(Bytes::copy_from_slice(body.as_bytes())).boxed_unsync()
}

/// A body that comes in pieces.
pub(crate) fn pieces(mut pieces: impl Iterator<Item = Vec<u8>> + Send + Unpin + 'static) -> Sending {
    receiving(move |_| Poll::Ready(pieces.next().map(Bytes::from)))
}

/// A body of that many bytes, made of one piece.
pub(crate) fn sized(bytes: usize, piece: Bytes) -> Sending {
    let mut left = bytes / piece.len();
    Receiving(move |_: &mut Context<'_>| {
        let more = left > 0;
        left = left.saturating_sub(1);
        Poll::Ready(more.then(|| piece.clone()))
    })
    .boxed_unsync()
}

/// A body of what is received.
pub(crate) fn receiving(next: impl FnMut(&mut Context<'_>) -> Poll<Option<Bytes>> + Send + Unpin + 'static) -> Sending {
    Receiving(next).boxed_unsync()
}

struct Receiving<F>(F);

impl<F: FnMut(&mut Context<'_>) -> Poll<Option<Bytes>> + Unpin> Body for Receiving<F> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        (self.0)(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// The same request, with a secret asked into it.
pub(crate) fn with(mut request: Request<Sending>, secret: &str) -> Request<Sending> {
    request.headers_mut().append(SECRET, secret.parse().unwrap());
    request
}

/// Has `name` of that answer, as text.
pub(crate) fn header<T>(answer: &Response<T>, name: &str) -> Option<String> {
    answer.headers().get(name).map(|value| String::from_utf8(value.as_bytes().to_vec()).unwrap())
}

/// The whole body.
pub(crate) async fn body(answer: Response<Incoming>) -> String {
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

impl Egress {
    /// Starts the real program.
    pub(crate) async fn start(start: Start) -> Self {
        Self::start_as(&[], start).await
    }

    /// The same, with arguments.
    pub(crate) async fn start_as(arguments: &[&str], start: Start) -> Self {
        let (agent, stdin) = UnixStream::pair().unwrap();
        let (worker, theirs) = UnixStream::pair().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_attest-egress"))
            // A proxy that nobody is: whoever asks it gets no answer.
            .envs(
                ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
                    .map(|name| (name, "http://127.0.0.1:9")),
            )
            .args(arguments)
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(stdin)))
            .spawn()
            .unwrap();
        let agent = Channel::new(agent);
        agent.send_with(&start, &[theirs.as_fd()]).unwrap();
        drop(theirs);
        assert_eq!(agent.receive::<FromEgress>().unwrap(), FromEgress::Ready);
        Self::between(agent.into_stream(), worker, Some(child)).await
    }

    /// Starts the library, without walls, with parts of the test's own.
    pub(crate) async fn within(lease: Lease) -> Self {
        let (agent, its_agent) = UnixStream::pair().unwrap();
        let (worker, its_worker) = UnixStream::pair().unwrap();
        its_worker.set_nonblocking(true).unwrap();
        let its_worker = tokio::net::UnixStream::from_std(its_worker).unwrap();
        let its_agent = attest_wire::split(its_agent).unwrap();
        tokio::spawn(async move { serve(its_agent, its_worker, lease).await.unwrap() });
        Self::between(agent, worker, None).await
    }

    async fn between(agent: UnixStream, worker: UnixStream, child: Option<Child>) -> Self {
        let (mut agent, writes) = attest_wire::split(agent).unwrap();
        let (tell, told) = mpsc::unbounded_channel();
        let (reads, mut wanted) = watch::channel(true);
        tokio::spawn(async move {
            let _writes = writes;
            loop {
                if wanted.wait_for(|reads| *reads).await.is_err() {
                    return;
                }
                let Ok(message) = agent.receive::<FromEgress>().await else { return };
                let _ = tell.send(message);
            }
        });
        worker.set_nonblocking(true).unwrap();
        let got = Arc::default();
        let tee = Tee { stream: tokio::net::UnixStream::from_std(worker).unwrap(), got: Arc::clone(&got) };
        let (worker, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .max_header_list_size(256 * 1024)
            .handshake(TokioIo::new(tee))
            .await
            .unwrap();
        let connection = tokio::spawn(async move { drop(connection.await) });
        Self { child, worker, connection, told, reads, got }
    }

    /// Sends a request as the worker does.
    pub(crate) async fn send(&mut self, request: Request<Sending>) -> Result<Response<Incoming>, hyper::Error> {
        self.worker.send_request(request).await
    }

    /// Another who sends requests over the same connection.
    pub(crate) fn worker(&self) -> SendRequest<Sending> {
        self.worker.clone()
    }

    /// Sends a request that is answered by the server. Gives the answer, its body, and what the agent was told.
    pub(crate) async fn ask(&mut self, request: Request<Sending>) -> (Response<()>, String, Sent) {
        let answer = self.send(request).await.unwrap();
        let failure = header(&answer, FAILURE);
        let (head, text) = answer.into_parts();
        let text = body(Response::new(text)).await;
        let sent = self.sent().await;
        assert_eq!(failure, None, "{sent:?}");
        assert_eq!(sent.refused, None);
        (Response::from_parts(head, ()), text, sent)
    }

    /// Sends a request that fails. Gives the failure's name, and what the agent was told.
    pub(crate) async fn fail(&mut self, request: Request<Sending>) -> (String, Sent) {
        let answer = self.send(request).await.unwrap();
        let failure = header(&answer, FAILURE);
        assert_eq!(body(answer).await, "");
        let sent = self.sent().await;
        (failure.unwrap_or_else(|| panic!("it was sent: {sent:?}")), sent)
    }

    /// Sends a request that is refused. Gives why, as the agent was told.
    pub(crate) async fn refuse(&mut self, request: Request<Sending>) -> String {
        let (failure, sent) = self.fail(request).await;
        assert_eq!(failure, "denied");
        assert_eq!(sent.secrets, []);
        sent.refused.unwrap()
    }

    /// Whether the agent reads what it is told, but for one message.
    pub(crate) fn agent_reads(&self, reads: bool) {
        self.reads.send_replace(reads);
    }

    /// The worker is gone.
    pub(crate) fn hang_up(&self) {
        self.connection.abort();
    }

    /// What the agent is told next.
    pub(crate) async fn next(&mut self) -> Option<FromEgress> {
        tokio::time::timeout(Duration::from_secs(20), self.told.recv()).await.unwrap()
    }

    /// What the agent is told of the next request.
    pub(crate) async fn sent(&mut self) -> Sent {
        match self.next().await {
            Some(FromEgress::Sent(sent)) => sent,
            other => panic!("{other:?}"),
        }
    }

    /// Every byte that the worker got.
    pub(crate) fn got(&self) -> Vec<u8> {
        self.got.lock().unwrap().clone()
    }

    /// The most memory that the program has held so far, in KiB.
    pub(crate) fn peak(&self) -> u64 {
        self.status("VmHWM:").trim_end_matches(" kB").parse().unwrap()
    }

    /// A line of what the kernel says of the program (`proc_pid_status(5)`).
    pub(crate) fn status(&self, line: &str) -> String {
        let id = self.child.as_ref().unwrap().id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        status.lines().find_map(|text| text.strip_prefix(line)).unwrap().trim().to_owned()
    }

    /// How the program ended. It has ten seconds.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        for _ in 0..200 {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let _ = child.kill();
        panic!("it did not end");
    }
}

impl Drop for Egress {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A connection of which every byte that is read is kept.
struct Tee {
    stream: tokio::net::UnixStream,
    got: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Tee {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = out.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, out);
        let read = &out.filled()[before..];
        let mut got = self.got.lock().unwrap();
        // Large answers are of other tests.
        if got.len() < 8 << 20 {
            got.extend_from_slice(read);
        }
        drop(got);
        polled
    }
}

impl AsyncWrite for Tee {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
