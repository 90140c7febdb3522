//! What is asked.

use super::answer::{Answer, wants_no_more};
use super::body::Body;
use super::failure::{bad_header, unsent};
use super::response::Response;
use super::url::{Scheme, Url, encode};
use crate::bindings::attest::step::http::{self as with_secrets, HeaderPlace, Place, SecretUse};
use crate::bindings::wasi::http::outgoing_handler;
use crate::bindings::wasi::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, Method, OutgoingRequest, Scheme as WasiScheme,
};
use crate::directory::File;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// A request. `S` is [`Plain`], or [`WithSecrets`] once it has one.
#[must_use = "a request is sent by `send`"]
pub struct Request<'a, S = Plain> {
    method: Method,
    /// What is wrong with it is said when it is sent.
    url: Result<Url>,
    headers: Vec<(String, String)>,
    body: Body<'a>,
    secrets: S,
}

/// A request without secrets: it goes through `wasi:http/outgoing-handler`, and needs `[http]`.
pub struct Plain(());

/// A request with secrets: it goes through `attest:step/http`, and needs `[http]`, and `[secrets.NAME]`
/// or `[tokens.NAME]`.
pub struct WithSecrets<'a>(Vec<SecretUse<'a>>);

/// The way that a request goes: a type, so that a component imports the one that it uses.
pub trait Route<'a>: sealed::Sealed + Sized {
    #[doc(hidden)]
    fn with(self, secret: SecretUse<'a>) -> WithSecrets<'a>;
    #[doc(hidden)]
    fn dispatch(self, request: OutgoingRequest) -> std::result::Result<FutureIncomingResponse, ErrorCode>;
}

mod sealed {
    pub trait Sealed {
        const HAS_SECRETS: bool;
    }

    impl Sealed for super::Plain {
        const HAS_SECRETS: bool = false;
    }

    impl Sealed for super::WithSecrets<'_> {
        const HAS_SECRETS: bool = true;
    }
}

impl<'a> Route<'a> for Plain {
    fn with(self, secret: SecretUse<'a>) -> WithSecrets<'a> {
        WithSecrets(vec![secret])
    }

    fn dispatch(self, request: OutgoingRequest) -> std::result::Result<FutureIncomingResponse, ErrorCode> {
        outgoing_handler::handle(request, None)
    }
}

impl<'a> Route<'a> for WithSecrets<'a> {
    fn with(mut self, secret: SecretUse<'a>) -> WithSecrets<'a> {
        self.0.push(secret);
        self
    }

    fn dispatch(self, request: OutgoingRequest) -> std::result::Result<FutureIncomingResponse, ErrorCode> {
        with_secrets::send(request, None, &self.0)
    }
}

impl<'a> Request<'a> {
    /// A request. A [`Url`], or text that is one.
    pub fn new<U: TryInto<Url>>(method: Method, url: U) -> Self
    where
        Error: From<U::Error>,
    {
        let url = url.try_into().map_err(Error::from);
        Self { method, url, headers: Vec::new(), body: Body::None, secrets: Plain(()) }
    }

    /// `GET`: asks for what is there.
    pub fn get<U: TryInto<Url>>(url: U) -> Self
    where
        Error: From<U::Error>,
    {
        Self::new(Method::Get, url)
    }

    /// `HEAD`: asks whether it is there.
    pub fn head<U: TryInto<Url>>(url: U) -> Self
    where
        Error: From<U::Error>,
    {
        Self::new(Method::Head, url)
    }

    /// `POST`: adds to what is there.
    pub fn post<U: TryInto<Url>>(url: U) -> Self
    where
        Error: From<U::Error>,
    {
        Self::new(Method::Post, url)
    }

    /// `PUT`: replaces what is there.
    pub fn put<U: TryInto<Url>>(url: U) -> Self
    where
        Error: From<U::Error>,
    {
        Self::new(Method::Put, url)
    }

    /// `PATCH`: changes what is there.
    pub fn patch<U: TryInto<Url>>(url: U) -> Self
    where
        Error: From<U::Error>,
    {
        Self::new(Method::Patch, url)
    }

    /// `DELETE`: removes what is there.
    pub fn delete<U: TryInto<Url>>(url: U) -> Self
    where
        Error: From<U::Error>,
    {
        Self::new(Method::Delete, url)
    }
}

impl<'a, S: Route<'a>> Request<'a, S> {
    /// With a header. `host`, `content-length` and what frames the connection are not the step's.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Carrying these bytes.
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Bytes(bytes.into());
        self
    }

    /// Carrying a file, of any size: the host moves it, and the step's memory never holds it.
    pub fn file(mut self, file: &'a File) -> Self {
        self.body = Body::File(file);
        self
    }

    /// Carrying a form (`application/x-www-form-urlencoded`).
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        self.header("content-type", "application/x-www-form-urlencoded").body(fields.join("&"))
    }

    /// Carrying JSON.
    pub fn json(self, text: impl Into<String>) -> Self {
        self.header("content-type", "application/json").body(text.into())
    }

    /// With a secret in a header, and what stands in front of it there, such as `Bearer `.
    pub fn secret_header(self, name: &str, prefix: &str, secret: &'a Secret) -> Request<'a, WithSecrets<'a>> {
        self.secret(secret, Place::Header(HeaderPlace { name: name.to_owned(), prefix: prefix.to_owned() }))
    }

    /// With a secret as the password of basic authentication (RFC 7617).
    pub fn secret_basic(self, user: &str, secret: &'a Secret) -> Request<'a, WithSecrets<'a>> {
        self.secret(secret, Place::Basic(user.to_owned()))
    }

    /// With a secret as a parameter of the query. Servers write those into their logs.
    pub fn secret_query(self, name: &str, secret: &'a Secret) -> Request<'a, WithSecrets<'a>> {
        self.secret(secret, Place::Query(name.to_owned()))
    }

    /// With a secret as a field in front of the others of a body that is a [`form`](Self::form).
    pub fn secret_form(self, name: &str, secret: &'a Secret) -> Request<'a, WithSecrets<'a>> {
        self.secret(secret, Place::Form(name.to_owned()))
    }

    /// With a secret as a member of a body that is a [`json`](Self::json) object of at most 1 MiB without it.
    pub fn secret_json(self, name: &str, secret: &'a Secret) -> Request<'a, WithSecrets<'a>> {
        self.secret(secret, Place::Json(name.to_owned()))
    }

    fn secret(self, secret: &'a Secret, place: Place) -> Request<'a, WithSecrets<'a>> {
        let Self { method, url, headers, body, secrets } = self;
        let secrets = secrets.with(SecretUse { secret: &secret.0, place });
        Request { method, url, headers, body, secrets }
    }

    /// Sends it, and waits for the answer's status and headers. Any status is an answer: see
    /// [`accepted`](Response::accepted).
    pub fn send(self) -> Result<Response> {
        let url = self.url?;
        let content = self.body.content()?;
        let fields = Fields::new();
        let add = |name: &str, value: &str| fields.append(name, value.as_bytes()).map_err(|_| bad_header(name));
        for (name, value) in &self.headers {
            add(name, value)?;
        }
        // Without one a body is sent in chunks, which many servers refuse for uploads.
        let carries = matches!(self.method, Method::Post | Method::Put | Method::Patch);
        match &content {
            Some(content) => add("content-length", &content.size().to_string())?,
            None if carries => add("content-length", "0")?,
            None => {}
        }
        let request = outgoing(&self.method, &url, fields)?;
        let body = match &content {
            Some(_) => Some(request.body().map_err(|()| Error::new("the body of a request was taken before"))?),
            None => None,
        };
        let failed = |error: ErrorCode| unsent(&url, &error, S::HAS_SECRETS);
        let mut answer = Answer::new(self.secrets.dispatch(request).map_err(failed)?);
        let written = match (content, body) {
            (Some(content), Some(body)) => content.write(&url, body, &mut answer),
            _ => Ok(()),
        };
        // Where the body broke off, an answer that wants no more of it says why.
        match (answer.wait(), written) {
            (Ok(answer), Err(_)) if wants_no_more(&answer) => Ok(Response::new(self.method, url, answer)),
            (_, Err(error)) => Err(error),
            (Ok(answer), Ok(())) => Ok(Response::new(self.method, url, answer)),
            (Err(error), Ok(())) => Err(failed(error)),
        }
    }
}

fn outgoing(method: &Method, url: &Url, fields: Fields) -> Result<OutgoingRequest> {
    let request = OutgoingRequest::new(fields);
    let scheme = match url.scheme() {
        Scheme::Http => WasiScheme::Http,
        Scheme::Https => WasiScheme::Https,
    };
    request
        .set_method(method)
        .and_then(|()| request.set_scheme(Some(&scheme)))
        .and_then(|()| request.set_authority(Some(url.authority())))
        .and_then(|()| request.set_path_with_query(Some(&url.path_with_query())))
        .map_err(|()| Error::new(format!("the host takes no request for {}", url.without_query())))?;
    Ok(request)
}
