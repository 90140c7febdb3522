//! The token of the CI job that this program runs in.

use attest_ci::{LONGEST_ANSWER, TokenRequest, TokenSource, token_of_answer, token_source};
use attest_evidence::report::{Fault, Report};
use attest_wire::client::CiToken;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;

/// What a broker's tokens are for, unless its admin says otherwise.
pub(crate) const AUDIENCE: &str = "attest-run";
/// The longest that fetching one may take.
const LONGEST_FETCH: Duration = Duration::from_secs(10);

/// The token, if this is a CI job that has one.
pub(crate) fn token(audience: &str) -> Result<Option<CiToken>, Report> {
    let source = token_source(audience, |name| std::env::var(name).ok());
    match source.map_err(|error| Report::new("AR-J401", Fault::Environment, error.to_string()))? {
        None => Ok(None),
        Some(TokenSource::Given(token)) => Ok(Some(CiToken::new(token.to_string()))),
        Some(TokenSource::Fetch(request)) => fetch(&request).map(Some),
    }
}

/// Fetches a token from GitHub.
fn fetch(request: &TokenRequest) -> Result<CiToken, Report> {
    let failed = |reason: String| {
        Report::new("AR-J402", Fault::Unreachable, format!("the CI job's token can't be fetched: {reason}"))
            .hint("nothing was asked of the broker. The job needs `permissions: id-token: write`")
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answer = runtime.map_err(|error| failed(error.to_string()))?.block_on(async {
        match tokio::time::timeout(LONGEST_FETCH, get(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("it took longer than {} s", LONGEST_FETCH.as_secs())),
        }
    });
    let token = token_of_answer(&answer.map_err(failed)?).map_err(|error| failed(error.to_string()))?;
    Ok(CiToken::new(token.to_string()))
}

async fn get(request: &TokenRequest) -> Result<Bytes, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| text(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let asked = Request::get(&request.url)
        .header("accept", "application/json; api-version=2.0")
        .header("authorization", request.authorization.as_str())
        .body(Empty::new())
        .map_err(|error| text(&error))?;
    let response = client.request(asked).await.map_err(|error| match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => text(&error),
    })?;
    if !response.status().is_success() {
        return Err(format!("the CI system answers {}", response.status()));
    }
    let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await.map_err(|error| text(&error))?;
    Ok(body.to_bytes())
}
