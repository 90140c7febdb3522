//! What relying parties need to believe tokens: metadata and keys, for everybody.
//!
//! They have to find them at the issuer's URL, by a certificate that they believe: a proxy in front of the broker passes these
//! two paths on, and nothing else.

use super::Refusal;
use crate::broker::Broker;
use crate::tokens::{CACHED_SECONDS, KEYS_PATH, METADATA_PATH};
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;
use std::sync::Arc;

/// Paths of a broker with an issuer; none of one without.
pub(super) fn routes(broker: &Broker) -> Router<Arc<Broker>> {
    let Some(issuer) = broker.settings.token_issuer.clone() else { return Router::new() };
    let metadata = move || async move { document(issuer.metadata()) };
    Router::new().route(METADATA_PATH, get(metadata)).route(KEYS_PATH, get(keys))
}

async fn keys(State(broker): State<Arc<Broker>>) -> Result<Response, Refusal> {
    let keys = broker.token_keys().await?;
    Ok(document(keys.key_set(broker.wall())))
}

/// As `application/json`, which every relying party takes, also for keys.
fn document(document: Value) -> Response {
    ([(CACHE_CONTROL, format!("public, max-age={CACHED_SECONDS}"))], Json(document)).into_response()
}
