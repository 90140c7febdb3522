//! Servers of this machine: real ones over TLS, and one that writes what a test says, byte for byte.

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_rustls::TlsAcceptor;

/// A server that writes what it is told to.
pub(crate) struct Raw {
    /// `http://127.0.0.1:PORT`.
    pub(crate) origin: String,
    /// What came, request by request.
    pub(crate) came: Arc<Mutex<Vec<String>>>,
}

impl Raw {
    /// Answers each request, as it came, with these pieces, each written on its own; then closes.
    pub(crate) fn new(answer: impl Fn(&str) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let came = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), Arc::clone(&came));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, answer, seen) = (stream.unwrap(), Arc::clone(&answer), Arc::clone(&seen));
                stream.set_nodelay(true).unwrap();
                std::thread::spawn(move || {
                    let request = read(&mut stream);
                    if request.is_empty() {
                        return;
                    }
                    seen.lock().unwrap().push(request.clone());
                    for piece in answer(&request) {
                        if stream.write_all(&piece).is_err() {
                            return;
                        }
                        std::thread::sleep(Duration::from_micros(200));
                    }
                });
            }
        });
        Self { origin, came }
    }

    /// Answers with `body`.
    pub(crate) fn saying(body: &'static str) -> Self {
        Self::new(move |_| vec![ok(body).into_bytes()])
    }

    /// How many requests came.
    pub(crate) fn count(&self) -> usize {
        self.came.lock().unwrap().len()
    }

    /// The last request that came.
    pub(crate) fn last(&self) -> String {
        self.came.lock().unwrap().last().unwrap().clone()
    }
}

/// Where somebody speaks, and no TLS: a port.
pub(crate) fn no_tls() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(b"SSH-2.0-OpenSSH\r\n");
        }
    });
    port
}

/// An answer with that body.
pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// Head and body of one request.
fn read(stream: &mut std::net::TcpStream) -> String {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            let chunked = head.contains("transfer-encoding: chunked");
            if (chunked && body.ends_with("0\r\n\r\n")) || (!chunked && body.len() >= length.unwrap_or(0)) {
                return text;
            }
        }
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => request.extend_from_slice(&buffer[..count]),
            _ => return String::from_utf8_lossy(&request).into_owned(),
        }
    }
}

/// A server over TLS, for `localhost`.
pub(crate) struct Tls {
    /// `https://localhost:PORT`.
    pub(crate) origin: String,
    /// Its certificate, PEM.
    pub(crate) root: String,
}

impl Tls {
    /// Echoes bodies, says in `x-version` what it speaks and in `x-authorization` what stood there.
    pub(crate) async fn echo(protocol: &'static str) -> Self {
        Self::named(protocol, "localhost").await
    }

    /// The same, with a certificate for another name.
    pub(crate) async fn named(protocol: &'static str, name: &str) -> Self {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let listener = listener.into_std().unwrap();
        // A thread of its own, as another machine would have.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, acceptor, protocol));
        });
        Self { origin: format!("https://localhost:{port}"), root: cert.pem() }
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, protocol: &'static str) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let stream = TokioIo::new(stream);
            if protocol == "h2" {
                let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                builder.initial_stream_window_size(1 << 20).initial_connection_window_size(4 << 20);
                let _ = builder.serve_connection(stream, service_fn(echo)).await;
            } else {
                let builder = hyper::server::conn::http1::Builder::new();
                let _ = builder.serve_connection(stream, service_fn(echo)).await;
            }
        });
    }
}

type Echo = http_body_util::combinators::BoxBody<Bytes, hyper::Error>;

async fn echo(request: Request<Incoming>) -> Result<Response<Echo>, Infallible> {
    let mut response = Response::builder()
        .header("x-version", format!("{:?}", request.version()))
        .header("x-path", request.uri().path());
    for (name, value) in request.headers().iter().filter(|_| request.uri().path() != "/sink") {
        response = response.header(format!("x-got-{name}"), value);
    }
    let body = match request.uri().path() {
        "/sink" => {
            let mut body = request.into_body();
            let mut bytes = 0;
            while let Some(frame) = body.frame().await {
                bytes += frame.unwrap().into_data().map_or(0, |data| data.len());
            }
            Full::new(Bytes::from(bytes.to_string())).map_err(|never| match never {}).boxed()
        }
        "/head" => Full::new(Bytes::new()).map_err(|never| match never {}).boxed(),
        _ => request.into_body().boxed(),
    };
    Ok(response.body(body).unwrap())
}
