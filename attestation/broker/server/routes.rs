//! The paths of the service.
//!
//! | path | body | answer |
//! |---|---|---|
//! | `POST /v1/challenge` | JSON `ChallengeRequest` | challenge, binary |
//! | `POST /v1/session` | redemption of a CI token, binary | JSON `SessionOpened` |
//! | `POST /v1/session/end` | end of a job, binary | nothing |
//! | `POST /v1/exchange` | exchange, binary | signed grant, binary |
//! | `POST /v1/lease/close` | end of a lease with a quote, binary | nothing |
//! | `POST /v1/lease/end` | sealed lease message, binary | nothing |
//! | `POST /v1/lease/heartbeats` | sealed lease messages, binary | JSON `LeasesEnded` |
//! | `POST /v1/lease/watch` | sealed wish, binary | JSON `LeasesEnded`, once there is something to tell |
//! | `POST /v1/enrolment` | JSON `EnrolmentRequest` | JSON `EnrolmentChallenge` |
//! | `POST /v1/enrolment/activation` | JSON `ActivationRequest` | JSON `EnrolmentOutcome` |
//! | `POST /v1/timestamp` | `TimeStampReq` (RFC 3161 §3.4) | `TimeStampResp` |
//! | `GET /v1/health` | | nothing, if the database answers |
//! | `GET /.well-known/openid-configuration` | | metadata of the issuer of tokens, if there is one |
//! | `GET /.well-known/jwks.json` | | its keys |
//!
//! A refusal is JSON with a status of 4xx or 5xx.

use super::Refusal;
use crate::broker::Broker;
use crate::timestamps::LONGEST_QUERY;
use attest_evidence::exchange::{LONGEST_BOUND, LONGEST_EXCHANGE, LeasesEnded, USUAL_EXCHANGE};
use attest_evidence::report::{Fault, Report};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Longest body of what carries a quote and no log: a redemption, the end of a session.
const LONGEST_BODY: usize = LONGEST_BOUND as usize + 16 * 1024;
/// Longest body of a small request: an enrolment with an EK certificate is under 16 KiB.
const SMALL_BODY: usize = 64 * 1024;
/// Longest body of heartbeats: of as many leases as one message may speak of.
const LONGEST_BEATS: usize = 64 * 1024;
/// The longest a request may take, its body included: slow bodies hold nothing for longer.
const LONGEST_REQUEST: Duration = Duration::from_secs(20);

pub(super) fn routes(broker: Arc<Broker>) -> Router {
    Router::new()
        .route("/v1/exchange", post(exchange).layer(DefaultBodyLimit::max(LONGEST_EXCHANGE)))
        .route("/v1/session", post(session).layer(DefaultBodyLimit::max(LONGEST_BODY)))
        .route("/v1/challenge", post(challenge))
        .route("/v1/session/end", post(end_session))
        .route("/v1/lease/close", post(close).layer(DefaultBodyLimit::max(LONGEST_EXCHANGE)))
        .route("/v1/lease/end", post(release))
        .route("/v1/lease/heartbeats", post(heartbeats).layer(DefaultBodyLimit::max(LONGEST_BEATS)))
        .route("/v1/enrolment", post(begin_enrolment))
        .route("/v1/enrolment/activation", post(finish_enrolment))
        .route("/v1/timestamp", post(timestamp).layer(DefaultBodyLimit::max(LONGEST_QUERY)))
        .route("/v1/health", get(health))
        .merge(super::discovery::routes(&broker))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(SMALL_BODY))
        .layer(from_fn(in_time))
        // It answers late, and says itself how late.
        .route("/v1/lease/watch", post(watch).layer(DefaultBodyLimit::max(SMALL_BODY)))
        .with_state(broker)
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(LONGEST_REQUEST, next.run(request)).await {
        Ok(response) => response,
        Err(_) => too_slow().into_response(),
    }
}

fn too_slow() -> Refusal {
    Refusal::of(&Report::new("AR-B102", Fault::Unreachable, "the request took too long"))
}

async fn unknown() -> (StatusCode, Json<Refusal>) {
    let report =
        Report::new("AR-B103", Fault::Usage, "the broker has no such path").hint("is the agent of the same version?");
    (StatusCode::NOT_FOUND, Json(Refusal::of(&report)))
}

/// A body that is one JSON document of the wanted form, read strictly.
struct Strict<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Strict<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let body = Bytes::from_request(request, state).await.map_err(|rejection| unreadable(&rejection.body_text()))?;
        serde_json::from_slice(&body).map(Self).map_err(|error| unreadable(&error.to_string()))
    }
}

/// A body of bytes.
struct Binary(Bytes);

impl<S: Send + Sync> FromRequest<S> for Binary {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        Bytes::from_request(request, state).await.map(Self).map_err(|rejection| unreadable(&rejection.body_text()))
    }
}

/// Bodies larger than the usual that are read at once: a machine sends one after each boot.
static ROOM: Semaphore = Semaphore::const_new(8);

/// A body that brings evidence. What is larger than the usual is read on if it begins with a challenge that was given to a
/// runner, and there are few of these at once.
struct Attested(Vec<u8>, Option<SemaphorePermit<'static>>);

impl FromRequest<Arc<Broker>> for Attested {
    type Rejection = Refusal;

    async fn from_request(request: Request, broker: &Arc<Broker>) -> Result<Self, Refusal> {
        let mut body = request.into_body();
        let (mut bytes, mut room) = (Vec::new(), None);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| unreadable(&error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            bytes.extend_from_slice(&data);
            if bytes.len() > LONGEST_EXCHANGE {
                return Err(unreadable(&format!("it is longer than {LONGEST_EXCHANGE} bytes")));
            }
            if bytes.len() > USUAL_EXCHANGE && room.is_none() {
                broker.check_challenged(&bytes).await?;
                room = ROOM.acquire().await.ok();
            }
        }
        Ok(Self(bytes, room))
    }
}

fn unreadable(reason: &str) -> Refusal {
    Refusal::of(&Report::new("AR-B104", Fault::Usage, "the request can't be read").fact("reason", reason))
}

async fn challenge(
    State(broker): State<Arc<Broker>>,
    Strict(request): Strict<attest_evidence::exchange::ChallengeRequest>,
) -> Result<Vec<u8>, Refusal> {
    broker.challenge(request).map(|challenge| challenge.to_bytes())
}

async fn exchange(State(broker): State<Arc<Broker>>, Attested(body, _room): Attested) -> Result<Vec<u8>, Refusal> {
    broker.exchange(&body).await
}

async fn close(State(broker): State<Arc<Broker>>, Attested(body, _room): Attested) -> Result<StatusCode, Refusal> {
    broker.close(&body).await.map(|()| StatusCode::NO_CONTENT)
}

async fn session(
    State(broker): State<Arc<Broker>>,
    Binary(body): Binary,
) -> Result<Json<attest_evidence::exchange::SessionOpened>, Refusal> {
    broker.redeem(&body).await.map(Json)
}

async fn end_session(State(broker): State<Arc<Broker>>, Binary(body): Binary) -> Result<StatusCode, Refusal> {
    broker.end_session(&body).await.map(|()| StatusCode::NO_CONTENT)
}

async fn release(State(broker): State<Arc<Broker>>, Binary(body): Binary) -> Result<StatusCode, Refusal> {
    broker.release(&body).await.map(|()| StatusCode::NO_CONTENT)
}

async fn heartbeats(State(broker): State<Arc<Broker>>, Binary(body): Binary) -> Result<Json<LeasesEnded>, Refusal> {
    broker.heartbeats(&body).await.map(Json)
}

async fn watch(State(broker): State<Arc<Broker>>, request: Request) -> Result<Json<LeasesEnded>, Refusal> {
    // Only the waiting may take longer than any other request, not the asking.
    let Binary(body) =
        tokio::time::timeout(LONGEST_REQUEST, Binary::from_request(request, &())).await.map_err(|_| too_slow())??;
    broker.watch(&body).await.map(Json)
}

async fn begin_enrolment(
    State(broker): State<Arc<Broker>>,
    Strict(request): Strict<attest_evidence::exchange::EnrolmentRequest>,
) -> Result<Json<attest_evidence::exchange::EnrolmentChallenge>, Refusal> {
    broker.begin_enrolment(request).await.map(Json)
}

async fn finish_enrolment(
    State(broker): State<Arc<Broker>>,
    Strict(request): Strict<attest_evidence::exchange::ActivationRequest>,
) -> Result<Json<attest_evidence::exchange::EnrolmentOutcome>, Refusal> {
    broker.finish_enrolment(request).await.map(Json)
}

async fn health(State(broker): State<Arc<Broker>>) -> Result<StatusCode, Refusal> {
    broker.store().policy_version().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// RFC 3161 §3.4. What is refused is refused in its own words, with a status of 200.
async fn timestamp(State(broker): State<Arc<Broker>>, headers: HeaderMap, Binary(query): Binary) -> Response {
    if headers.get(CONTENT_TYPE).is_none_or(|kind| kind != "application/timestamp-query") {
        let report =
            Report::new("AR-B105", Fault::Usage, "a query for a timestamp is of type application/timestamp-query");
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, Json(Refusal::of(&report))).into_response();
    }
    match broker.timestamp(&query).await {
        Ok(response) => ([(CONTENT_TYPE, "application/timestamp-reply")], response).into_response(),
        Err(error) => Refusal::from(error).into_response(),
    }
}
