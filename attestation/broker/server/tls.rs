//! TLS with a certificate that the broker issues to itself and renews.

use super::ServeError;
use crate::broker::Broker;
use attest_evidence::UnixSeconds;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::TlsAcceptor;

/// Days for which a certificate is valid, and after which it is renewed.
const VALID_DAYS: i64 = 30;
const RENEW_SECONDS: u64 = 10 * 24 * 60 * 60;

pub(super) fn acceptor(broker: Arc<Broker>, names: Vec<String>) -> Result<TlsAcceptor, ServeError> {
    let failed = |error: rustls::Error| ServeError::Tls(error.to_string());
    let now = broker.wall();
    let certificate = issue(&broker, &names, now)?;
    let resolver = Renewing { broker, names, held: RwLock::new((now, Arc::new(certificate))) };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(failed)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn issue(broker: &Broker, names: &[String], now: UnixSeconds) -> Result<CertifiedKey, ServeError> {
    let (chain, key) =
        broker.keys().server_certificate(names, now, VALID_DAYS).map_err(|error| ServeError::Tls(error.to_string()))?;
    let key =
        rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&key).map_err(|error| ServeError::Tls(error.to_string()))?;
    Ok(CertifiedKey::new(chain, key))
}

/// Holds a certificate and issues another before it expires, while connections come.
struct Renewing {
    broker: Arc<Broker>,
    names: Vec<String>,
    held: RwLock<(UnixSeconds, Arc<CertifiedKey>)>,
}

impl std::fmt::Debug for Renewing {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Renewing({:?})", self.names)
    }
}

impl ResolvesServerCert for Renewing {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let (issued, held) = self.held.read().unwrap_or_else(PoisonError::into_inner).clone();
        let now = self.broker.wall();
        // Also when the clock was set back: a certificate from the future is not valid yet.
        if issued <= now && now < issued.plus(RENEW_SECONDS) {
            return Some(held);
        }
        match issue(&self.broker, &self.names, now) {
            Ok(fresh) => {
                let fresh = Arc::new(fresh);
                *self.held.write().unwrap_or_else(PoisonError::into_inner) = (now, Arc::clone(&fresh));
                Some(fresh)
            }
            Err(error) => {
                tracing::error!(%error, "the TLS certificate can't be renewed");
                Some(held)
            }
        }
    }
}
