//! The answer that is waited for, while the request is still sent.

use crate::bindings::wasi::http::types::{ErrorCode, FutureIncomingResponse, IncomingResponse};
use crate::bindings::wasi::io::poll::{Pollable, poll};
use std::result::Result;

/// An answer that may come at any time: servers refuse a body before they have read it.
pub(super) struct Answer {
    /// A child of the future (wasi:http): it has to go first.
    ready: Pollable,
    future: FutureIncomingResponse,
    come: Option<Result<IncomingResponse, ErrorCode>>,
}

/// Whether a server that answers so has no use for the rest of the body. Some say `200` while they still read.
pub(super) fn wants_no_more(answer: &IncomingResponse) -> bool {
    answer.status() >= 300
}

impl Answer {
    pub(super) fn new(future: FutureIncomingResponse) -> Self {
        Self { ready: future.subscribe(), future, come: None }
    }

    /// Waits until more of the body can be written. `false`: the server has refused it, or the request has failed.
    pub(super) fn lets_write(&mut self, writable: &Pollable) -> bool {
        if self.come.is_none() {
            poll(&[writable, &self.ready]);
            if self.ready.ready() {
                self.come = Some(self.take());
            }
        }
        match &self.come {
            None => true,
            Some(Ok(answer)) => !wants_no_more(answer),
            Some(Err(_)) => false,
        }
    }

    /// Waits for it.
    pub(super) fn wait(mut self) -> Result<IncomingResponse, ErrorCode> {
        if let Some(come) = self.come.take() {
            return come;
        }
        self.ready.block();
        self.take()
    }

    fn take(&self) -> Result<IncomingResponse, ErrorCode> {
        match self.future.get() {
            Some(Ok(answer)) => answer,
            // It is there once, and the wait has ended: a host that says otherwise breaks the contract.
            Some(Err(())) | None => Err(ErrorCode::InternalError(Some("the host gave no answer".to_owned()))),
        }
    }
}
