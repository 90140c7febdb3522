//! Secrets into requests: each into the place that it was asked into, which none of its destinations forbids.

use crate::fields::charsets;
use crate::form;
use crate::granted::Permitted;
use crate::json;
use crate::outgoing::Outgoing;
use crate::progress::Progress;
use crate::refusal::{NoAnswer, Refusal};
use crate::request::Checked;
use attest_evidence::exchange::Place;
use attest_wire::egress::SecretInRequest;
use data_encoding::BASE64;
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Uri};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The request as it is sent. What is made here of secrets is wiped where this crate owns it; what goes out is not, and ends
/// with the process.
///
/// # Errors
/// A secret that does not fit its place, and a body that does not come.
pub(crate) async fn inject(
    mut checked: Checked,
    body: Incoming,
    secrets: Vec<(SecretInRequest, Permitted<'_>)>,
    progress: Arc<Progress>,
) -> Result<Request<Outgoing>, NoAnswer> {
    let mut query = Zeroizing::new(checked.query.take().unwrap_or_default().into_bytes());
    let (mut fields, mut members) = (Zeroizing::new(Vec::new()), Vec::new());
    for (asked, secret) in secrets {
        let bad = |why| Refusal::Place { name: asked.name.clone(), place: asked.place.clone(), why };
        match &asked.place {
            Place::Header(name) => {
                let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("it is no header"))?;
                let value = behind(asked.with.as_bytes(), secret);
                insert(&mut checked.headers, name, &value).map_err(bad)?;
            }
            Place::Basic => {
                let value = basic(&asked, secret).map_err(bad)?;
                insert(&mut checked.headers, AUTHORIZATION, &value).map_err(bad)?;
            }
            Place::Query(name) => {
                if form::names(&query).any(|other| other == name.as_bytes()) {
                    return Err(bad("the request has such a parameter").into());
                }
                secret.value().expose(|value| form::add(&mut query, name, value));
            }
            Place::Form(name) => {
                if !is_form(&checked.headers) {
                    return Err(bad("the body is no form (`application/x-www-form-urlencoded`)").into());
                }
                secret.value().expose(|value| form::add(&mut fields, name, value));
            }
            Place::Json(name) => {
                if !is_json(&checked.headers) {
                    return Err(bad("the body is not announced as JSON (`application/json`)").into());
                }
                members.push((secret, name.clone()));
            }
        }
    }
    // Never both: the body is announced as one of them.
    let body = if !members.is_empty() {
        json::with(body, &checked.origin, &members, progress).await?
    } else if !fields.is_empty() {
        Outgoing::behind(Bytes::copy_from_slice(&fields), body, progress)
    } else {
        Outgoing::of_step(body, progress)
    };
    let target = target(&checked, &query)?;
    let mut request = Request::new(body);
    *request.method_mut() = checked.method.as_str().parse().map_err(|_| Refusal::Target(checked.path.clone()))?;
    *request.uri_mut() = target;
    *request.headers_mut() = checked.headers;
    Ok(request)
}

/// The error does not say what the target is: a secret may be in it.
fn target(checked: &Checked, query: &[u8]) -> Result<Uri, Refusal> {
    let mut path = checked.path.clone().into_bytes();
    if !query.is_empty() {
        path.reserve_exact(1 + query.len());
        path.push(b'?');
        path.extend_from_slice(query);
    }
    Uri::builder()
        .scheme(checked.origin.scheme().as_str())
        .authority(checked.origin.authority_text())
        .path_and_query(path)
        .build()
        .map_err(|_| Refusal::Target(checked.path.clone()))
}

/// Never an existing field: which of two counts would be the server's to say.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) -> Result<(), &'static str> {
    let mut value = HeaderValue::from_bytes(value).map_err(|_| "it holds what no header can (RFC 9110 §5.5)")?;
    value.set_sensitive(true);
    if headers.contains_key(&name) {
        return Err("the request has such a header");
    }
    headers.insert(name, value);
    Ok(())
}

fn behind(front: &[u8], secret: Permitted<'_>) -> Zeroizing<Vec<u8>> {
    secret.value().expose(|value| {
        let mut whole = Zeroizing::new(Vec::with_capacity(front.len() + value.len()));
        whole.extend_from_slice(front);
        whole.extend_from_slice(value);
        whole
    })
}

/// RFC 7617 §2.
fn basic(asked: &SecretInRequest, secret: Permitted<'_>) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    if asked.with.contains(':') || asked.with.contains(char::is_control) {
        return Err("its user has a colon or a control character (RFC 7617 §2)");
    }
    let pair = behind(format!("{}:", asked.with).as_bytes(), secret);
    let encoded = Zeroizing::new(BASE64.encode(&pair));
    let mut value = Zeroizing::new(Vec::with_capacity("Basic ".len() + encoded.len()));
    value.extend_from_slice(b"Basic ");
    value.extend_from_slice(encoded.as_bytes());
    Ok(value)
}

fn is_form(headers: &HeaderMap) -> bool {
    is_announced(headers, |essence| essence == "application/x-www-form-urlencoded")
}

fn is_json(headers: &HeaderMap) -> bool {
    is_announced(headers, |essence| essence == "application/json" || essence.ends_with("+json"))
}

/// Whether the body is announced as of such a type, once, in UTF-8 and not encoded: what a server would read otherwise, it may
/// send back otherwise.
fn is_announced(headers: &HeaderMap, is_type: impl Fn(&str) -> bool) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(one), None) = (types.next(), types.next()) else { return false };
    let text = one.to_str().unwrap_or_default().to_ascii_lowercase();
    let essence = text.split(';').next().unwrap_or_default().trim();
    is_type(essence) && charsets(&text).all(|charset| charset == "utf-8") && !headers.contains_key(CONTENT_ENCODING)
}
