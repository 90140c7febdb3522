//! Talking to the broker: HTTP/1.1 over TLS 1.3, to the one broker whose root is pinned.

use attest_evidence::SecretBytes;
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::{
    ActivationRequest, Challenge, ChallengeRequest, EnrolmentChallenge, EnrolmentOutcome, EnrolmentRequest,
    LONGEST_EXCHANGE, LeasesEnded, Pins, SessionOpened,
};
use attest_evidence::name::AuditId;
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::tpm::TpmName;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The longest it may take until there is a connection.
const LONGEST_CONNECT: Duration = Duration::from_secs(5);
/// The longest that an answer may take.
const LONGEST_ANSWER: Duration = Duration::from_secs(30);
/// Most bytes of an answer.
const LONGEST_BODY: usize = LONGEST_EXCHANGE;

/// Where a broker is: `https://HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    host: String,
    port: u16,
}

impl std::fmt::Display for BrokerUrl {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "https://{}:{}", self.host, self.port)
    }
}

impl std::str::FromStr for BrokerUrl {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, BrokerError> {
        let refused = || BrokerError::Url(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| refused())?;
        let host = uri.host().ok_or_else(refused)?.to_owned();
        let plain = matches!(uri.path_and_query().map(|path| path.as_str()), None | Some("" | "/"));
        let no_user = uri.authority().is_none_or(|authority| !authority.as_str().contains('@'));
        if uri.scheme_str() != Some("https") || !plain || !no_user {
            return Err(refused());
        }
        Ok(Self { host, port: uri.port_u16().unwrap_or(443) })
    }
}

/// Why the broker gave no answer, or not the one hoped for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// Not a broker's URL.
    #[error("`{0}` is not a broker's URL: `https://HOST[:PORT]` is wanted")]
    Url(String),
    /// Nobody answers there.
    #[error("the broker at {url} can't be reached: {reason}")]
    Unreachable {
        /// Where.
        url: BrokerUrl,
        /// Why.
        reason: String,
    },
    /// It answers, too slowly.
    #[error("the broker at {url} did not answer within {seconds} s")]
    Slow {
        /// Where.
        url: BrokerUrl,
        /// How long was waited.
        seconds: u64,
    },
    /// Somebody answers who is not the pinned broker.
    #[error("whoever answers at {url} is not the broker that this runner enrolled with: {reason}")]
    Impostor {
        /// Where.
        url: BrokerUrl,
        /// What shows it.
        reason: String,
    },
    /// It has the pinned root, and its certificate does not fit: other names, or another time.
    #[error("the certificate of the broker at {url} does not fit: {reason}")]
    Certificate {
        /// Where.
        url: BrokerUrl,
        /// What does not fit.
        reason: String,
    },
    /// The broker says no, and why.
    #[error("{}", .0.what)]
    Refused(Box<Report>, Option<AuditId>),
    /// The broker's answer can't be understood.
    #[error("the broker at {url} answered with something else: {reason}")]
    Answer {
        /// Where.
        url: BrokerUrl,
        /// What.
        reason: String,
    },
}

/// A refusal as the broker sends it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Refusal {
    report: Report,
    #[serde(default)]
    audit: Option<AuditId>,
}

/// A broker, and connections to it that are kept for the next question.
pub struct BrokerClient {
    url: BrokerUrl,
    tls: TlsConnector,
    idle: Idle,
    /// Those that wait long for their answer have connections of their own: what comes next finds one that is warm.
    idle_watches: Idle,
}

/// Connections that are kept.
type Idle = Mutex<Vec<SendRequest<Full<Bytes>>>>;

/// Most connections kept.
const MOST_IDLE: usize = 4;

impl BrokerClient {
    /// The broker at `url` whose TLS root is this certificate, PEM.
    ///
    /// # Errors
    /// The certificate is none.
    pub fn new(url: BrokerUrl, tls_root: &str) -> Result<Self, BrokerError> {
        let broken = |reason: String| BrokerError::Answer { url: url.clone(), reason };
        let root = CertificateDer::from_pem_slice(tls_root.as_bytes()).map_err(|error| broken(error.to_string()))?;
        let verifier = verifier_of(root).map_err(|error| broken(error.to_string()))?;
        Self::with_verifier(url.clone(), verifier).map_err(|error| broken(error.to_string()))
    }

    /// The broker at `url` whose TLS root, which it sends along, has the pinned digest.
    ///
    /// # Errors
    /// TLS can't be set up.
    pub fn at_first_contact(url: BrokerUrl, pins: Pins) -> Result<Self, BrokerError> {
        let broken = |error: rustls::Error| BrokerError::Answer { url: url.clone(), reason: error.to_string() };
        let algorithms = provider().signature_verification_algorithms;
        let verifier = Arc::new(PinnedRoot { digest: pins.tls_root, algorithms });
        Self::with_verifier(url.clone(), verifier).map_err(broken)
    }

    fn with_verifier(url: BrokerUrl, verifier: Arc<dyn ServerCertVerifier>) -> Result<Self, rustls::Error> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            url,
            tls: TlsConnector::from(Arc::new(config)),
            idle: Idle::default(),
            idle_watches: Idle::default(),
        })
    }

    /// Where it is.
    pub const fn url(&self) -> &BrokerUrl {
        &self.url
    }

    /// A challenge for the holder of this attestation key.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn challenge(&self, ak: &TpmName) -> Result<Challenge, BrokerError> {
        let body = self.post_json("/v1/challenge", &ChallengeRequest { ak: ak.clone() }).await?;
        Challenge::parse(&body).map_err(|error| self.not_understood(&error.to_string()))
    }

    /// The bytes of a signed grant, for those of an exchange.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn exchange(&self, exchange: Vec<u8>) -> Result<Bytes, BrokerError> {
        self.post("/v1/exchange", "application/octet-stream", exchange.into()).await
    }

    /// Redeems a CI token.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn redeem(&self, redemption: Vec<u8>) -> Result<SessionOpened, BrokerError> {
        let body = self.post("/v1/session", "application/octet-stream", redemption.into()).await?;
        self.parse(&body)
    }

    /// Ends a job session.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn end_session(&self, end: Vec<u8>) -> Result<(), BrokerError> {
        self.post("/v1/session/end", "application/octet-stream", end.into()).await.map(drop)
    }

    /// Delivers the sealed message by which a lease ends.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn release(&self, message: Vec<u8>) -> Result<(), BrokerError> {
        self.post("/v1/lease/end", "application/octet-stream", message.into()).await.map(drop)
    }

    /// Ends a lease with a quote.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn close_lease(&self, close: Vec<u8>) -> Result<(), BrokerError> {
        self.post("/v1/lease/close", "application/octet-stream", close.into()).await.map(drop)
    }

    /// Delivers sealed heartbeats, one behind the other, and hears which leases are held no more.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn heartbeats(&self, messages: Vec<u8>) -> Result<LeasesEnded, BrokerError> {
        let body = self.post("/v1/lease/heartbeats", "application/octet-stream", messages.into()).await?;
        self.parse(&body)
    }

    /// Waits until the broker takes a lease of this runner, or answers that it has taken none for a while.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn watch(&self, wish: Vec<u8>) -> Result<LeasesEnded, BrokerError> {
        let request = self.request("/v1/lease/watch", "application/octet-stream", wish.into())?;
        let body = self.send(request, &self.idle_watches).await?;
        self.parse(&body)
    }

    /// Asks for a timestamp (RFC 3161): DER of a `TimeStampReq` for that of a `TimeStampResp`.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn timestamp(&self, query: Vec<u8>) -> Result<Bytes, BrokerError> {
        self.post("/v1/timestamp", "application/timestamp-query", query.into()).await
    }

    /// Begins an enrolment.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn begin_enrolment(&self, request: &EnrolmentRequest) -> Result<EnrolmentChallenge, BrokerError> {
        let body = self.post_json("/v1/enrolment", request).await?;
        self.parse(&body)
    }

    /// Ends an enrolment.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn finish_enrolment(&self, request: &ActivationRequest) -> Result<EnrolmentOutcome, BrokerError> {
        let body = self.post_json("/v1/enrolment/activation", request).await?;
        self.parse(&body)
    }

    /// Whether the broker and its database answer.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn health(&self) -> Result<(), BrokerError> {
        let request = Request::get("/v1/health").body(Full::default());
        self.send(request.map_err(|error| self.not_understood(&error.to_string()))?, &self.idle).await.map(drop)
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, BrokerError> {
        serde_json::from_slice(body).map_err(|error| self.not_understood(&error.to_string()))
    }

    async fn post_json(&self, path: &'static str, body: &impl Serialize) -> Result<Bytes, BrokerError> {
        let body = serde_json::to_vec(body).map_err(|error| self.not_understood(&error.to_string()))?;
        self.post(path, "application/json", body.into()).await
    }

    async fn post(&self, path: &'static str, kind: &'static str, body: Bytes) -> Result<Bytes, BrokerError> {
        self.send(self.request(path, kind, body)?, &self.idle).await
    }

    fn request(
        &self,
        path: &'static str,
        kind: &'static str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, BrokerError> {
        let request = Request::post(path).header("content-type", kind).body(Full::new(body));
        request.map_err(|error| self.not_understood(&error.to_string()))
    }

    /// Sends one request and reads its whole answer. Never twice: an exchange can't be repeated.
    async fn send(&self, mut request: Request<Full<Bytes>>, idle: &Idle) -> Result<Bytes, BrokerError> {
        let host = format!("{}:{}", self.url.host, self.url.port);
        if let Ok(host) = host.parse() {
            request.headers_mut().insert("host", host);
        }
        let mut connection = match self.kept(idle).await {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let answer = async {
            let response = connection.send_request(request).await.map_err(|error| self.unreachable(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LONGEST_BODY)
                .collect()
                .await
                .map_err(|error| self.not_understood(&error.to_string()))?;
            Ok((status, body.to_bytes()))
        };
        let slow = || BrokerError::Slow { url: self.url.clone(), seconds: LONGEST_ANSWER.as_secs() };
        let (status, body) = tokio::time::timeout(LONGEST_ANSWER, answer).await.map_err(|_| slow())??;
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(connection);
        }
        drop(idle);
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) => Err(BrokerError::Refused(Box::new(refusal.report), refusal.audit)),
            Err(_) if status == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(self.not_understood("the request is too long for it"))
            }
            Err(_) => Err(self.not_understood(&format!("status {status}"))),
        }
    }

    /// A connection that was kept and still stands.
    async fn kept(&self, idle: &Idle) -> Option<SendRequest<Full<Bytes>>> {
        loop {
            let mut connection = idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if !connection.is_closed() && connection.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, BrokerError> {
        let connected = async {
            let host = self.url.host.trim_start_matches('[').trim_end_matches(']');
            let stream = TcpStream::connect((host, self.url.port)).await.map_err(|error| self.unreachable(&error))?;
            let _ = stream.set_nodelay(true);
            let name = ServerName::try_from(host.to_owned()).map_err(|error| self.unreachable(&error))?;
            let stream = self.tls.connect(name, stream).await.map_err(|error| self.no_tls(&error))?;
            let (sender, connection) =
                handshake(TokioIo::new(stream)).await.map_err(|error| self.unreachable(&error))?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "the connection to the broker ended");
                }
            });
            Ok(sender)
        };
        let slow = || BrokerError::Slow { url: self.url.clone(), seconds: LONGEST_CONNECT.as_secs() };
        tokio::time::timeout(LONGEST_CONNECT, connected).await.map_err(|_| slow())?
    }

    fn unreachable(&self, error: &impl std::fmt::Display) -> BrokerError {
        BrokerError::Unreachable { url: self.url.clone(), reason: error.to_string() }
    }

    /// A failed handshake: whether it was the certificate decides who is to blame.
    fn no_tls(&self, error: &std::io::Error) -> BrokerError {
        let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        match tls {
            // The chain is looked at before names and times are: the root is the right one.
            Some(rustls::Error::InvalidCertificate(
                reason @ (CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. }
                | CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }),
            )) => BrokerError::Certificate { url: self.url.clone(), reason: reason.to_string() },
            Some(rustls::Error::InvalidCertificate(reason)) => {
                BrokerError::Impostor { url: self.url.clone(), reason: format!("its certificate: {reason}") }
            }
            _ => self.unreachable(error),
        }
    }

    fn not_understood(&self, reason: &str) -> BrokerError {
        BrokerError::Answer { url: self.url.clone(), reason: reason.to_owned() }
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn verifier_of(root: CertificateDer<'static>) -> Result<Arc<dyn ServerCertVerifier>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(root)?;
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
        .map_err(|error| rustls::Error::General(error.to_string()))
}

/// Believes the one root that has this digest, and then what it signed, as ever.
#[derive(Debug)]
struct PinnedRoot {
    digest: Sha256Digest,
    algorithms: rustls::crypto::WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PinnedRoot {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let root = intermediates
            .iter()
            .find(|certificate| Sha256Digest::of(certificate) == self.digest)
            .ok_or(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        verifier_of(root.clone().into_owned())?.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOfferedOrEnabled))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A token's secret as a request carries it.
pub(crate) fn secret_of(secret: &SecretBytes) -> Vec<u8> {
    secret.expose(<[u8]>::to_vec)
}

impl Explain for BrokerError {
    fn report(&self) -> Report {
        match self {
            Self::Url(_) => Report::new("AR-C101", Fault::Usage, self.to_string()),
            Self::Unreachable { .. } => Report::new("AR-B501", Fault::Unreachable, self.to_string())
                .hint("nothing was released. Is it running? `attest-run doctor` tries again"),
            Self::Slow { .. } => Report::new("AR-B502", Fault::Unreachable, self.to_string())
                .hint("nothing was released. Try again; its log says what keeps it"),
            Self::Impostor { .. } => Report::new("AR-B503", Fault::Identity, self.to_string()).hint(
                "nothing was sent. If the broker was set up anew, delete the enrolment and enroll again with a token",
            ),
            Self::Certificate { url, .. } => Report::new("AR-B505", Fault::Identity, self.to_string()).hint(format!(
                "nothing was sent. The broker is started with `--name {}`; its clock and this machine's must agree",
                url.host
            )),
            Self::Refused(report, audit) => {
                let report = report.as_ref().clone();
                match audit {
                    Some(audit) => report.fact("audit", audit),
                    None => report,
                }
            }
            Self::Answer { .. } => Report::new("AR-B504", Fault::Unreachable, self.to_string())
                .hint("are agent and broker of the same version?"),
        }
    }
}
