//! Why there is no answer, and what to do.

use super::url::Url;
use crate::bindings::wasi::http::types::ErrorCode;
use crate::bindings::wasi::io::streams::StreamError;
use crate::error::Error;

/// A request that failed.
pub(super) fn unsent(url: &Url, error: &ErrorCode, with_secrets: bool) -> Error {
    let what = match error {
        ErrorCode::HttpRequestDenied => return denied(url, with_secrets),
        ErrorCode::DnsError(_) => "its host has no address".to_owned(),
        ErrorCode::ConnectionRefused => "nobody answers there".to_owned(),
        ErrorCode::HttpResponseTimeout => "its host does not answer in time".to_owned(),
        ErrorCode::TlsProtocolError => "its host's certificate is not trusted, or it speaks no TLS".to_owned(),
        ErrorCode::HttpProtocolError => "its host answered something that is no HTTP, or ended too early".to_owned(),
        ErrorCode::HttpRequestBodySize(_) => "its body is not as long as it was said to be".to_owned(),
        ErrorCode::InternalError(Some(reason)) => reason.clone(),
        other => format!("{other:?}"),
    };
    Error::new(format!("{}: {what}", url.without_query()))
}

/// What is not granted. The host says in the job's log which it was; here stand the lines that allow it.
fn denied(url: &Url, with_secrets: bool) -> Error {
    let origin = url.origin();
    let secrets = if with_secrets {
        " The secret's own destinations, which its broker keeps, have to cover it as well."
    } else {
        ""
    };
    Error::new(format!(
        "{}: the request is not granted; the job's log says why.{secrets} In step.toml it needs:\n\
         [http]\nallow = [\"{origin}\"]\nwhy = \"…\"\n\
         or `private` in place of `allow`, if its host lies in a private network",
        url.without_query()
    ))
    .denied()
}

/// Headers that can't be sent.
pub(super) fn bad_header(name: &str) -> Error {
    Error::new(format!("header `{}` can't be sent: its name or value is malformed, or the host's", name.escape_debug()))
}

/// A stream that broke off.
pub(super) fn broken(url: &Url, what: &str, error: &StreamError) -> Error {
    let reason = match error {
        StreamError::Closed => "it was closed".to_owned(),
        StreamError::LastOperationFailed(error) => error.to_debug_string(),
    };
    Error::new(format!("{}: {what} broke off: {reason}", url.without_query()))
}
