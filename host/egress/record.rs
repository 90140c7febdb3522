//! What is told of one request, kept until it is over.

use crate::progress::Progress;
use crate::refusal::{NoAnswer, shown};
use crate::teller::Slot;
use attest_evidence::exchange::{Method, Origin};
use attest_wire::egress::{SecretInRequest, Sent};
use hyper::StatusCode;
use hyper::http::request::Parts;
use std::sync::Arc;

/// One request. It is told of when this is dropped, whatever the reason is: an answer's end, a refusal, a step that does not
/// wait for one.
#[derive(Debug)]
pub(crate) struct Record {
    slot: Option<Slot>,
    sent: Sent,
    progress: Arc<Progress>,
    /// Whether its answer was passed on to its end.
    whole: bool,
}

impl Record {
    /// Of a request that has just come.
    pub(crate) fn new(slot: Slot, request: &Parts, progress: Arc<Progress>) -> Self {
        let scheme = request.uri.scheme_str().unwrap_or_default();
        let authority = request.uri.authority().map(hyper::http::uri::Authority::as_str).unwrap_or_default();
        let to = match Origin::of_request(scheme, authority) {
            Ok(origin) => origin.to_string(),
            Err(_) => shown(&format!("{scheme}://{authority}")),
        };
        let sent = Sent {
            method: request.method.as_str().parse::<Method>().ok(),
            to,
            path: shown(request.uri.path()),
            status: None,
            refused: None,
            cut: false,
            secrets: Vec::new(),
            sent: 0,
            received: 0,
        };
        Self { slot: Some(slot), sent, progress, whole: false }
    }

    /// It has these secrets in it.
    pub(crate) fn carries(&mut self, secrets: &[SecretInRequest]) {
        self.sent.secrets = secrets.iter().map(|secret| (secret.name.clone(), secret.place.clone())).collect();
    }

    /// This was answered.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.sent.status = Some(status.as_u16());
    }

    /// More of the answer has come.
    pub(crate) fn received(&mut self, bytes: usize) {
        self.sent.received += u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    /// That was the end of the answer.
    pub(crate) fn whole(&mut self) {
        self.whole = true;
    }

    /// There is no answer, or not the whole of one.
    pub(crate) fn failed(&mut self, why: &NoAnswer) {
        self.sent.refused = Some(why.to_string());
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        self.sent.sent = self.progress.sent();
        self.sent.cut = !self.whole && self.sent.refused.is_none();
        slot.tell(self.sent.clone());
    }
}
