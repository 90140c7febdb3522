//! Keys of the issuers on the list: fetched over TLS, kept for a while, fetched anew when one is missing.
//!
//! Nothing is fetched for an issuer that is not on the list, and nothing from a place that the issuer only names: its
//! metadata and its keys come from its own host, without redirects.

use crate::https;
use crate::store::IssuerRow;
use attest_appraisal::ci::{Algorithm, Issuer, KeySet};
use attest_evidence::report::{Escaped, Explain, Fault, Report};
use hyper::body::Bytes;
use hyper::{StatusCode, Uri};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long keys are believed without asking again.
const FRESH: Duration = Duration::from_secs(10 * 60);
/// How long they are believed when the issuer can't be reached.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest time between two fetches from one issuer: tokens with made-up key ids cause no more.
const PAUSE: Duration = Duration::from_secs(10);
/// How long a failure is the answer to everybody: those who waited for it do not each wait for another.
const FAILED: Duration = Duration::from_secs(1);
/// The longest that one fetch may take.
const LONGEST_FETCH: Duration = Duration::from_secs(5);
/// Most bytes of a document.
const LONGEST_DOCUMENT: usize = 256 * 1024;

/// Why an issuer's keys can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IssuerError {
    /// It does not answer, or not in time, or not as itself.
    #[error("the issuer's {what} can't be fetched from {url}: {reason}")]
    Fetch {
        /// Which document.
        what: &'static str,
        /// From where.
        url: String,
        /// Why not.
        reason: String,
    },
    /// It says something that can't be believed.
    #[error("the issuer's {what} at {url} is no good: {reason}")]
    Document {
        /// Which document.
        what: &'static str,
        /// From where.
        url: String,
        /// What is wrong.
        reason: String,
    },
}

impl Explain for IssuerError {
    fn report(&self) -> Report {
        match self {
            Self::Fetch { .. } => Report::new("AR-J201", Fault::Unreachable, self.to_string())
                .hint("nothing was redeemed. Can the broker reach the issuer?"),
            Self::Document { .. } => Report::new("AR-J202", Fault::Unreachable, self.to_string()),
        }
    }
}

/// An issuer with its keys.
pub(crate) struct Known {
    pub(crate) issuer: Issuer,
    pub(crate) keys: KeySet,
    /// What the list said of it.
    row: IssuerRow,
    fetched: Instant,
}

/// The keys of all issuers.
#[derive(Default)]
pub(crate) struct Issuers(Mutex<HashMap<String, Arc<Slot>>>);

/// One issuer's keys. Whoever needs them waits for one fetch instead of starting another.
#[derive(Default)]
struct Slot {
    held: tokio::sync::Mutex<Held>,
}

#[derive(Default)]
struct Held {
    known: Option<Arc<Known>>,
    tried: Option<Instant>,
    failed: Option<(Instant, IssuerRow, IssuerError)>,
}

impl Issuers {
    /// The issuer's keys, among them, if it has such a one, that of id `key`.
    ///
    /// # Errors
    /// See [`IssuerError`].
    pub(crate) async fn keys(&self, row: &IssuerRow, key: &str) -> Result<Arc<Known>, IssuerError> {
        let slot = {
            // The list is short, and an admin's: so is this map.
            let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(row.url.clone()).or_default())
        };
        let mut held = slot.held.lock().await;
        if let Some(known) = &held.known {
            let same = known.row == *row;
            let age = known.fetched.elapsed();
            let may_ask = held.tried.is_none_or(|tried| tried.elapsed() >= PAUSE);
            if same && ((age < FRESH && known.keys.contains(key)) || (age < STALE && !may_ask)) {
                return Ok(Arc::clone(known));
            }
        }
        if let Some((at, of, error)) = &held.failed
            && at.elapsed() < FAILED
            && of == row
        {
            return Err(error.clone());
        }
        held.tried = Some(Instant::now());
        match fetch(row).await {
            Ok(known) => {
                let known = Arc::new(known);
                held.known = Some(Arc::clone(&known));
                held.failed = None;
                Ok(known)
            }
            Err(error) => match &held.known {
                // What an admin has changed since counts, not what was fetched before.
                Some(known) if known.row == *row && known.fetched.elapsed() < STALE => {
                    tracing::warn!(issuer = %row.url, error = %Escaped(&error.to_string()), "older keys are used");
                    Ok(Arc::clone(known))
                }
                _ => {
                    held.failed = Some((Instant::now(), row.clone(), error.clone()));
                    Err(error)
                }
            },
        }
    }
}

/// OpenID Connect Discovery 1.0 §4, as far as it is needed.
#[derive(serde::Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
    #[serde(default)]
    id_token_signing_alg_values_supported: Vec<String>,
}

async fn fetch(row: &IssuerRow) -> Result<Known, IssuerError> {
    let at = format!("{}/.well-known/openid-configuration", row.url.trim_end_matches('/'));
    let bad =
        |what, url: &str, reason: &str| IssuerError::Document { what, url: url.to_owned(), reason: reason.to_owned() };
    let document = get("metadata", &at, row).await?;
    let metadata: Metadata =
        serde_json::from_slice(&document).map_err(|error| bad("metadata", &at, &error.to_string()))?;
    if metadata.issuer != row.url {
        return Err(bad("metadata", &at, "it is another issuer's"));
    }
    let origin =
        |url: &str| url.parse::<Uri>().ok().and_then(|uri| Some((uri.scheme()?.clone(), uri.authority()?.clone())));
    if origin(&metadata.jwks_uri).is_none() || origin(&metadata.jwks_uri) != origin(&at) {
        return Err(bad("metadata", &at, "its keys lie on another host"));
    }
    let named = &metadata.id_token_signing_alg_values_supported;
    // Those that it names, of those that an admin allows.
    let algorithms: Vec<_> = row
        .algorithms
        .iter()
        .copied()
        .filter(|algorithm: &Algorithm| named.is_empty() || named.iter().any(|name| name == algorithm.as_str()))
        .collect();
    let document = get("keys", &metadata.jwks_uri, row).await?;
    let keys = KeySet::parse(&document).map_err(|error| bad("keys", &metadata.jwks_uri, &error.to_string()))?;
    let issuer = Issuer { url: row.url.clone(), kind: row.kind, audience: row.audience.clone(), algorithms };
    Ok(Known { issuer, keys, row: row.clone(), fetched: Instant::now() })
}

/// One document. What the issuer says, it says itself, over TLS.
async fn get(what: &'static str, url: &str, row: &IssuerRow) -> Result<Bytes, IssuerError> {
    let failed = |reason: String| IssuerError::Fetch { what, url: url.to_owned(), reason };
    if !url.starts_with("https://") {
        return Err(failed("it is not https".to_owned()));
    }
    let request = https::Request { url, authority: row.authority.as_deref(), longest: LONGEST_DOCUMENT };
    let answer = match tokio::time::timeout(LONGEST_FETCH, request.get("application/json")).await {
        Ok(answer) => answer.map_err(failed)?,
        Err(_) => return Err(failed(format!("it took longer than {} s", LONGEST_FETCH.as_secs()))),
    };
    if answer.status != StatusCode::OK {
        return Err(failed(format!("it answers {}", answer.status)));
    }
    if !["application/json", "application/jwk-set+json"].contains(&answer.kind.as_str()) {
        return Err(failed(format!("it answers with `{}`", answer.kind)));
    }
    Ok(answer.body)
}
