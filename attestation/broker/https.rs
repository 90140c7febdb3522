//! Requests that the broker makes itself: to issuers, for their keys, and to the webhook. No redirect is followed, and
//! nothing is read that is longer than was said.

use attest_evidence::report::with_causes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Response, StatusCode, Uri};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// A request to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// `https://…`; `http://…` to this machine alone.
    pub(crate) url: &'a str,
    /// The root of its TLS, DER, where it is not one of the system's.
    pub(crate) authority: Option<&'a [u8]>,
    /// Most bytes of the answer.
    pub(crate) longest: usize,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// `content-type`, without its parameters.
    pub(crate) kind: String,
    pub(crate) body: Bytes,
}

impl Request<'_> {
    pub(crate) async fn get(&self, accept: &'static str) -> Result<Answer, String> {
        let request = hyper::Request::get(self.url).header("accept", accept).body(Full::default());
        let response = self.send(request.map_err(|error| error.to_string())?).await?;
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_owned();
        let status = response.status();
        let body = Limited::new(response.into_body(), self.longest).collect().await;
        Ok(Answer { status, kind, body: body.map_err(|error| error.to_string())?.to_bytes() })
    }

    pub(crate) async fn post(&self, headers: &[(&'static str, String)], body: String) -> Result<StatusCode, String> {
        let request =
            headers.iter().fold(hyper::Request::post(self.url), |request, (name, value)| request.header(*name, value));
        let response = self.send(request.body(Full::new(body.into())).map_err(|error| error.to_string())?).await?;
        let status = response.status();
        let _ = Limited::new(response.into_body(), self.longest).collect().await;
        Ok(status)
    }

    async fn send(&self, request: hyper::Request<Full<Bytes>>) -> Result<Response<hyper::body::Incoming>, String> {
        check(self.url)?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config(self.authority)?)
            .https_or_http()
            .enable_http1()
            .build();
        let client: Client<_, Full<Bytes>> =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        client.request(request).await.map_err(|error| with_causes(&error))
    }
}

/// Whether the broker sends requests there.
///
/// # Errors
/// Why not.
pub(crate) fn check(url: &str) -> Result<Uri, String> {
    let uri: Uri = url.parse().map_err(|_| "it is no URL".to_owned())?;
    let Some(authority) = uri.authority() else { return Err("it has no host".to_owned()) };
    if authority.as_str().contains('@') {
        return Err("it has a user in it".to_owned());
    }
    let here = ["127.0.0.1", "localhost", "[::1]"].contains(&authority.host());
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if here => Ok(uri),
        _ => Err("it is not https".to_owned()),
    }
}

fn config(authority: Option<&[u8]>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match authority {
        Some(der) => roots.add(CertificateDer::from(der.to_vec())).map_err(|error| error.to_string())?,
        None => {
            let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if added == 0 {
                return Err("this machine has no list of TLS authorities: install ca-certificates".to_owned());
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_over_tls_or_stay_on_this_machine() {
        for url in ["https://hooks.example/x", "http://127.0.0.1:9/x", "http://localhost/x", "http://[::1]:9/"] {
            assert!(check(url).is_ok(), "{url}");
        }
        for url in [
            "http://hooks.example",
            "ftp://127.0.0.1",
            "https://u@hooks.example",
            "/x",
            "",
            "http://127.0.0.1.evil.example",
        ] {
            assert!(check(url).is_err(), "{url}");
        }
    }
}
