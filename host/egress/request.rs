//! What a request must be before anything is sent: to whom it goes, and what stands in its head.

use crate::fields;
use crate::granted::{Granted, Line, Permitted};
use crate::reach::NotPublic;
use crate::refusal::{MayNot, Refusal, shown};
use attest_evidence::exchange::{Method, Origin};
use attest_wire::egress::{MOST_SECRETS, SECRET, SecretInRequest};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;

/// Headers with which a part of an answer is asked for: those of RFC 9110, an old name that servers still know, and a cloud's
/// own. Whoever has another is found out by the answer.
const RANGES: [&str; 4] = ["range", "if-range", "request-range", "x-ms-range"];

/// A request that may go to its origin: [`check`] alone makes one. Where its secrets may stand is not decided yet.
#[derive(Debug)]
pub(crate) struct Checked {
    /// To whom.
    pub origin: Origin,
    /// Whether that may be in a private network.
    pub private: bool,
    /// With which method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// The query.
    pub query: Option<String>,
    /// The head, without what ends here.
    pub headers: HeaderMap,
    /// The secrets that are asked into it.
    pub secrets: Vec<SecretInRequest>,
}

/// Checks the head of a request.
///
/// # Errors
/// The first thing that may not be.
pub(crate) fn check(request: Parts, granted: &Granted) -> Result<Checked, Refusal> {
    let Parts { method, uri, mut headers, .. } = request;
    let method: Method = method.as_str().parse().map_err(|_| Refusal::Method(method.to_string()))?;
    let authority = uri.authority().map(Authority::as_str).unwrap_or_default();
    let origin = Origin::of_request(uri.scheme_str().unwrap_or_default(), authority)?;
    let private = granted.origin(&origin)?;
    // `*` is a target too, of OPTIONS; it names no path that could be granted.
    let path = uri.path().to_owned();
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !path.starts_with('/') || !plain(&path) || !uri.query().is_none_or(plain) {
        return Err(Refusal::Target(shown(&uri.to_string())));
    }

    let secrets = secrets(&headers)?;
    for host in headers.get_all(header::HOST) {
        let text = String::from_utf8_lossy(host.as_bytes());
        if Origin::of_request(origin.scheme().as_str(), &text).ok().as_ref() != Some(&origin) {
            return Err(Refusal::Host { host: shown(&text), asked: origin });
        }
    }
    // Both are written anew: from the origin, and from the body.
    headers.remove(header::HOST);
    headers.remove(header::CONTENT_LENGTH);
    fields::strip(&mut headers);
    if let Some(field) = fields::overriding(&headers).filter(|_| !secrets.is_empty()) {
        return Err(Refusal::Override { field });
    }
    if granted.is_destination(&origin) {
        if let Some(field) = RANGES.into_iter().find(|field| headers.contains_key(*field)) {
            return Err(Refusal::Range { field, origin });
        }
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    Ok(Checked { origin, private, method, path, query: uri.query().map(str::to_owned), headers, secrets })
}

fn secrets(headers: &HeaderMap) -> Result<Vec<SecretInRequest>, Refusal> {
    let fields = headers.get_all(SECRET);
    if fields.iter().count() > MOST_SECRETS {
        return Err(Refusal::Secrets);
    }
    fields.iter().map(|field| serde_json::from_slice(field.as_bytes()).map_err(|_| Refusal::SecretField)).collect()
}

impl Checked {
    /// What decides where its secrets may stand.
    pub(crate) fn line(&self) -> Line<'_> {
        Line { origin: &self.origin, method: self.method, path: &self.path }
    }

    /// Whether each of its secrets may stand where it is asked for, wherever its host lies.
    ///
    /// # Errors
    /// The first that may not, and why.
    pub(crate) fn permit_secrets(&self, granted: &Granted) -> Result<(), Refusal> {
        self.secrets.iter().try_for_each(|asked| granted.secret(asked, self.line()).map(drop))
    }

    /// Its secrets, each of which may stand where it is asked for; `not_public` says that its host lies in a private network.
    ///
    /// # Errors
    /// The first that may not, and why.
    pub(crate) fn permitted<'a>(
        &self,
        granted: &'a Granted,
        not_public: Option<NotPublic>,
    ) -> Result<Vec<(SecretInRequest, Permitted<'a>)>, Refusal> {
        let permit = |asked: &SecretInRequest| match (granted.secret(asked, self.line())?, not_public) {
            (secret, Some(NotPublic(address, what))) if !secret.private() => {
                Err(secret.may_not(MayNot::Private(address, what)))
            }
            (secret, _) => Ok((asked.clone(), secret)),
        };
        self.secrets.iter().map(permit).collect()
    }
}
