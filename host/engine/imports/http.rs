//! Requests with secrets in them.

use crate::bindings::attest::step::http;
use crate::state::State;
use attest_evidence::exchange::{BadDestination, Place};
use attest_wire::egress::{MOST_SECRETS, SecretInRequest};
use attest_wire::worker::Level;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi_http::RequestOptions;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as _;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};

impl http::Host for State {
    async fn send(
        &mut self,
        request: Resource<HostOutgoingRequest>,
        options: Option<Resource<RequestOptions>>,
        secrets: Vec<http::SecretUse>,
    ) -> Result<Result<Resource<HostFutureIncomingResponse>, ErrorCode>> {
        let mut carried = Vec::with_capacity(secrets.len());
        for used in secrets {
            let name = self.table.get(&used.secret)?.0.clone();
            match place(used.place) {
                // Of more than it takes, egress says so.
                Ok((place, with)) if carried.len() <= MOST_SECRETS => {
                    carried.push(SecretInRequest { name, place, with });
                }
                Ok(_) => {}
                Err(error) => {
                    let message = format!("a request was not sent: {error}");
                    self.consumption.write(message.len())?;
                    self.host.log(Level::Warn, message, true)?;
                    self.table.delete(request)?;
                    return Ok(Err(ErrorCode::HttpRequestDenied));
                }
            }
        }
        self.outbox.carry(carried);
        let sent = self.http().handle(request, options);
        // What was not sent carries nothing into the next.
        self.outbox.carry(Vec::new());
        match sent {
            Ok(future) => Ok(Ok(future)),
            Err(error) => error.downcast().map(Err),
        }
    }
}

/// A place in the words of grants, and what stands beside the secret there.
fn place(place: http::Place) -> std::result::Result<(Place, String), BadDestination> {
    let (text, with) = match place {
        http::Place::Header(header) => (format!("header:{}", header.name.to_ascii_lowercase()), header.prefix),
        http::Place::Basic(user) => ("basic".to_owned(), user),
        http::Place::Query(name) => (format!("query:{name}"), String::new()),
        http::Place::Form(name) => (format!("form:{name}"), String::new()),
        http::Place::Json(name) => (format!("json:{name}"), String::new()),
    };
    Ok((text.parse()?, with))
}
