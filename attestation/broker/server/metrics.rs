//! Numbers for a monitoring system, in Prometheus' text format (version 0.0.4), over plain HTTP on an address of their own:
//! nothing in them is secret, and nothing of them is for agents.
//!
//! | metric | what |
//! |---|---|
//! | `attest_broker_alarms_total{kind}` | alarms, by kind |
//! | `attest_broker_alarms_unsent` | alarms that the webhook has not taken |
//! | `attest_broker_leases_active` | leases that are held |
//! | `attest_broker_policy_version` | the version in force |
//! | `attest_broker_commits_total` | commits since this process was started |

use super::Refusal;
use crate::broker::Broker;
use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::fmt::Write as _;
use std::sync::Arc;

pub(super) fn routes(broker: Arc<Broker>) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(broker)
}

async fn metrics(State(broker): State<Arc<Broker>>) -> Result<Response, Refusal> {
    let store = broker.store();
    let mut text = String::new();
    text += "# HELP attest_broker_alarms_total Alarms, by kind.\n# TYPE attest_broker_alarms_total counter\n";
    for (kind, count) in store.alarm_counts().await? {
        let _ = writeln!(text, "attest_broker_alarms_total{{kind=\"{}\"}} {count}", kind.as_str());
    }
    for (name, kind, help, value) in [
        ("alarms_unsent", "gauge", "Alarms that the webhook has not taken.", store.alarms_unsent().await?),
        ("leases_active", "gauge", "Leases that are held.", store.active_leases().await?),
        ("policy_version", "gauge", "The version of the policy in force.", store.policy_version().await?),
        (
            "commits_total",
            "counter",
            "Commits since this process was started.",
            i64::try_from(store.commits()).unwrap_or(i64::MAX),
        ),
    ] {
        let _ = writeln!(
            text,
            "# HELP attest_broker_{name} {help}\n# TYPE attest_broker_{name} {kind}\nattest_broker_{name} {value}"
        );
    }
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}
