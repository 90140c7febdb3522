//! Somebody between agent and broker who has stolen the broker's TLS key.

use super::Broker;
use attest_agent::{BrokerClient, BrokerError};
use attest_broker::store::Store;
use attest_broker::{BrokerKeys, RootKey};
use attest_evidence::UnixSeconds;
use attest_evidence::exchange::{ChallengeRequest, LeasesEnded};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

/// What the interposer does with an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Passes it on, and keeps the grant.
    Pass,
    /// Answers with the first grant that was kept, and passes nothing on.
    Replay,
    /// Passes it on, and changes one bit of the grant, so many bytes before its end.
    Flip(usize),
    /// Passes it on, and answers with half of the grant.
    Halve,
}

/// A TLS server with a certificate of the broker's own, in front of the broker.
pub(crate) struct Interposer {
    port: u16,
    deed: Arc<Mutex<Deed>>,
    task: tokio::task::JoinHandle<()>,
}

impl Interposer {
    pub(crate) async fn start(broker: &Broker) -> Self {
        let store = Store::open(&broker.state().join("broker.db"), false).await.unwrap();
        let root = RootKey::read(&broker.state().join("root.key")).unwrap();
        let keys = BrokerKeys::open(root, store.broker_keys().await.unwrap().unwrap()).unwrap();
        let now = UnixSeconds(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs());
        let (chain, key) = keys.server_certificate(&["127.0.0.1".to_owned()], now, 1).unwrap();
        let client = BrokerClient::new(broker.url().parse().unwrap(), &keys.tls_root_pem()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let tls = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let deed = Arc::new(Mutex::new(Deed::Pass));
        let middle = Arc::new(Middle { client, deed: Arc::clone(&deed), kept: Mutex::default() });
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, middle) = (tls.clone(), Arc::clone(&middle));
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let answer = move |request| answer(Arc::clone(&middle), request);
                    let service = hyper::service::service_fn(answer);
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { port, deed, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub(crate) fn shall(&self, deed: Deed) {
        *self.deed.lock().unwrap() = deed;
    }
}

impl Drop for Interposer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Middle {
    client: BrokerClient,
    deed: Arc<Mutex<Deed>>,
    kept: Mutex<Option<Bytes>>,
}

async fn answer(middle: Arc<Middle>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let answer = match path.as_str() {
        "/v1/challenge" => {
            let asked: ChallengeRequest = serde_json::from_slice(&body).unwrap();
            middle.client.challenge(&asked.ak).await.map(|challenge| challenge.to_bytes().into())
        }
        "/v1/exchange" => middle.exchange(body).await,
        "/v1/lease/end" => middle.client.release(body.to_vec()).await.map(|()| Bytes::new()),
        "/v1/lease/heartbeats" => json(middle.client.heartbeats(body.to_vec()).await),
        "/v1/lease/watch" => json(middle.client.watch(body.to_vec()).await),
        other => panic!("{other}"),
    };
    let mut response = Response::new(Full::default());
    match answer {
        Ok(bytes) => *response.body_mut() = Full::new(bytes),
        Err(_) => *response.status_mut() = StatusCode::BAD_GATEWAY,
    }
    Ok(response)
}

fn json(said: Result<LeasesEnded, BrokerError>) -> Result<Bytes, BrokerError> {
    said.map(|said| serde_json::to_vec(&said).unwrap().into())
}

impl Middle {
    async fn exchange(&self, body: Bytes) -> Result<Bytes, BrokerError> {
        let deed = *self.deed.lock().unwrap();
        if deed == Deed::Replay {
            return Ok(self.kept.lock().unwrap().clone().unwrap());
        }
        let grant = self.client.exchange(body.to_vec()).await?;
        self.kept.lock().unwrap().get_or_insert(grant.clone());
        Ok(match deed {
            Deed::Flip(from_end) => {
                let mut flipped = grant.to_vec();
                let at = flipped.len() - 1 - from_end;
                flipped[at] ^= 1;
                flipped.into()
            }
            Deed::Halve => grant.slice(..grant.len() / 2),
            _ => grant,
        })
    }
}
