//! A CI system's OpenID Connect issuer: metadata and keys over TLS, and tokens signed with RS256, PS256 and ES256.

use data_encoding::BASE64URL_NOPAD;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use p256::elliptic_curve::Generate as _;
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _, Signer as _};
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

/// A key by which the issuer signs.
pub(crate) enum IssuerKey {
    Rsa(Box<rsa::RsaPrivateKey>),
    P256(p256::ecdsa::SigningKey),
}

impl IssuerKey {
    pub(crate) fn rsa() -> Self {
        Self::Rsa(Box::new(rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap()))
    }

    pub(crate) fn p256() -> Self {
        Self::P256(p256::ecdsa::SigningKey::generate())
    }

    /// As it stands in a key set (RFC 7517).
    pub(crate) fn jwk(&self, id: &str) -> Value {
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        match self {
            Self::Rsa(key) => {
                json!({ "kty": "RSA", "use": "sig", "kid": id, "n": text(&key.n().to_bytes_be()), "e": text(&key.e().to_bytes_be()) })
            }
            Self::P256(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                json!({ "kty": "EC", "crv": "P-256", "use": "sig", "kid": id, "x": text(point.x().unwrap()), "y": text(point.y().unwrap()) })
            }
        }
    }

    /// A compact JWS over `header` and `claims`, which are JSON, however odd.
    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let signed =
            format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(claims.as_bytes()));
        let signature = match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = p256::ecdsa::signature::Signer::sign(key, signed.as_bytes());
                signature.to_bytes().to_vec()
            }
            Self::Rsa(key) if header.contains("PS256") => {
                rsa::pss::SigningKey::<rsa::sha2::Sha256>::new((**key).clone())
                    .sign_with_rng(&mut rsa::rand_core::OsRng, signed.as_bytes())
                    .to_vec()
            }
            Self::Rsa(key) => {
                rsa::pkcs1v15::SigningKey::<rsa::sha2::Sha256>::new((**key).clone()).sign(signed.as_bytes()).to_vec()
            }
        };
        format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
    }
}

/// How the issuer answers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mood {
    Well,
    /// Not at all.
    Silent,
    /// With a redirect to itself.
    Redirecting,
    /// With another type of content.
    Html,
    /// With more than anybody wants.
    Huge,
    /// With metadata that name another issuer.
    Another,
    /// With keys that lie on another host.
    Elsewhere,
}

/// An issuer. It ends with the test.
pub(crate) struct Issuer {
    pub(crate) url: String,
    /// The root of its TLS, PEM.
    pub(crate) authority: String,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    url: String,
    keys: Mutex<Vec<Value>>,
    algorithms: Mutex<Vec<&'static str>>,
    /// And whether only its keys are like that.
    mood: Mutex<(Mood, bool)>,
    requests: Mutex<Vec<String>>,
    /// What a job gets that asks for a token, as GitHub's do.
    token: Mutex<String>,
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        Self::start_at("").await
    }

    /// One whose URL has a path, as those of GitHub Enterprise Server have.
    pub(crate) async fn start_at(path: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let chain = vec![certificate.der().clone()];
        let private =
            rustls::pki_types::PrivateKeyDer::from(rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .unwrap();
        let tls = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}{path}", listener.local_addr().unwrap().port());
        let shared = Arc::new(Shared {
            url: url.clone(),
            keys: Mutex::default(),
            algorithms: Mutex::new(vec!["RS256", "ES256"]),
            mood: Mutex::new((Mood::Well, false)),
            requests: Mutex::default(),
            token: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, shared) = (tls.clone(), Arc::clone(&serving));
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let service = hyper::service::service_fn(move |request| answer(Arc::clone(&shared), request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { url, authority: certificate.pem(), shared, task }
    }

    /// Publishes these keys and no others.
    pub(crate) fn publish(&self, keys: Vec<Value>) {
        *self.shared.keys.lock().unwrap() = keys;
    }

    /// Names these algorithms in its metadata.
    pub(crate) fn sign_with(&self, algorithms: Vec<&'static str>) {
        *self.shared.algorithms.lock().unwrap() = algorithms;
    }

    pub(crate) fn be(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = (mood, false);
    }

    /// Answers like that when it is asked for its keys, and well for its metadata.
    pub(crate) fn be_about_keys(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = (mood, true);
    }

    /// Gives this token to jobs that ask with the authority `job-secret`.
    pub(crate) fn give(&self, token: &str) {
        *self.shared.token.lock().unwrap() = token.to_owned();
    }

    /// What was asked for, so far.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.lock().unwrap().len()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let below = shared.url.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap_or_default();
    let Some(path) = path.strip_prefix(&below).map(str::to_owned) else {
        return Ok(Response::builder().status(404).body(Full::default()).unwrap());
    };
    shared.requests.lock().unwrap().push(path.clone());
    let mood = match shared.mood.lock().unwrap().clone() {
        (_, true) if path != "/keys" => Mood::Well,
        (mood, _) => mood,
    };
    if path == "/token" {
        let authorized = request.headers().get("authorization").is_some_and(|value| value == "bearer job-secret");
        let for_us = request.uri().query() == Some("api-version=2.0&audience=broker");
        let value = shared.token.lock().unwrap().clone();
        let status = if authorized && for_us { 200 } else { 401 };
        let body = json!({ "count": value.len(), "value": value }).to_string();
        return Ok(Response::builder().status(status).body(Full::new(body.into())).unwrap());
    }
    let document = match path.as_str() {
        "/.well-known/openid-configuration" => {
            let issuer = if mood == Mood::Another { "https://another.example" } else { &shared.url };
            let keys = match mood {
                Mood::Elsewhere => "https://127.0.0.1:1/keys".to_owned(),
                _ => format!("{}/keys", shared.url),
            };
            json!({ "issuer": issuer, "jwks_uri": keys, "id_token_signing_alg_values_supported": *shared.algorithms.lock().unwrap() })
        }
        _ => json!({ "keys": *shared.keys.lock().unwrap() }),
    };
    let mut body = document.to_string();
    let mut response = Response::builder();
    match mood {
        Mood::Silent => std::future::pending().await,
        Mood::Redirecting => response = response.status(302).header("location", format!("{}/keys", shared.url)),
        Mood::Html => response = response.header("content-type", "text/html"),
        Mood::Huge => body += &" ".repeat(1 << 20),
        _ => {}
    }
    if mood != Mood::Html {
        response = response.header("content-type", "application/json; charset=utf-8");
    }
    Ok(response.body(Full::new(body.into())).unwrap())
}
