//! Requests, with secrets in them that the step does not see.
//!
//! ```ignore
//! let token = Secret::open("token")?;
//! let dist = Directory::open("dist")?;
//! Request::put("https://files.example.org/app.tar.gz")
//!     .secret_header("authorization", "Bearer ", &token)
//!     .file(&dist.file("app.tar.gz")?)
//!     .send()?
//!     .accepted()?;
//! ```
//!
//! Requests go to what `[http]` allows. With a secret they go through `attest:step/http`, without one through
//! `wasi:http`: a component imports what its requests need. Redirects are not followed.

mod answer;
mod body;
mod failure;
mod request;
mod response;
mod url;

pub use crate::bindings::wasi::http::types::Method;
pub use request::{Plain, Request, Route, WithSecrets};
pub use response::{LONGEST_BODY, Response};
pub use url::{Url, encode};
