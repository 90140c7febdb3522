//! What a caller is told when the answer is no. What only the operator may know is in the log.

use crate::store::StoreError;
use attest_evidence::name::AuditId;
use attest_evidence::report::{Explain, Fault, Report};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// A refusal as it travels: JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// What was refused and why.
    pub report: Report,
    /// Where it stands in the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditId>,
}

impl Refusal {
    /// A refusal that stands in no log.
    pub(crate) fn of(report: &Report) -> Self {
        Self { report: report.clone(), audit: None }
    }

    /// A refusal that has been recorded.
    pub(crate) fn recorded(report: &Report, audit: AuditId) -> Self {
        Self { report: report.clone(), audit: Some(audit) }
    }

    /// Something in the broker itself. The caller learns no more than that.
    pub(crate) fn internal(reason: &str) -> Self {
        tracing::error!(reason, "internal error");
        Self::of(
            &Report::new("AR-B101", Fault::Unreachable, "the broker has an internal problem")
                .hint("nothing was granted. Its log says more"),
        )
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        if let StoreError::Keys(error) = error {
            return Self::internal(&error.to_string());
        }
        tracing::error!(%error, "the store refuses");
        let mut report = error.report();
        if !matches!(error, StoreError::QueueFull(_) | StoreError::Stale) {
            report.what = "the broker's database refuses".to_owned();
        }
        Self::of(&report)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.report.fault {
            Fault::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
            Fault::Usage => StatusCode::BAD_REQUEST,
            Fault::Bug | Fault::Environment => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::FORBIDDEN,
        };
        (status, Json(self)).into_response()
    }
}
