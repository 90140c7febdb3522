//! Canned servers. They stand where egress would send a request into the network: what it may not send never comes here, and what
//! they answer is searched as any answer is.

use super::expect::SecretExpected;
use super::fixture::CannedAnswer;
use super::seen::Received;
use super::url::Url;
use attest_egress::{Answering, FromServer, NoAnswer, Outgoing, Resolve, Resolving, Servers};
use attest_evidence::exchange::{BadDestination, Method, Origin, Place};
use attest_wire::egress::{Failure, SecretInRequest};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Most bytes of a request's body: each is kept, to be held against what is expected.
const LONGEST_BODY: usize = 16 * 1024 * 1024;
/// Most bytes of all of them.
const MOST_BYTES: usize = 256 * 1024 * 1024;
/// Where every name leads: into the Internet. Nothing is ever sent there.
const SOMEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1));

/// Names of a rehearsal: each is somebody's.
pub(super) struct Somewhere;

impl Resolve for Somewhere {
    fn resolve<'a>(&'a self, _: &'a str) -> Resolving<'a> {
        Box::pin(async { Ok(vec![SOMEWHERE]) })
    }
}

/// What came to the servers of a case.
pub(super) type Log = Arc<Mutex<Vec<Received>>>;

/// The servers of a case.
pub(super) struct Canned {
    answers: Vec<Ready>,
    log: Log,
}

/// An answer that is ready to be given.
struct Ready {
    method: Method,
    url: Url,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    /// How often it may be given yet; none: as often as it is asked for.
    left: Option<Mutex<u32>>,
}

impl Ready {
    /// Takes one of those that are left.
    fn take(&self) -> bool {
        let Some(left) = &self.left else { return true };
        let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
        let any = *left > 0;
        *left = left.saturating_sub(1);
        any
    }
}

/// The head of an answer, if it can be one.
pub(super) fn head(answer: &CannedAnswer) -> Result<(StatusCode, HeaderMap), String> {
    // What comes before an answer is not one (RFC 9110 §15.2).
    let status = StatusCode::from_u16(answer.status).ok().filter(|status| (200..600).contains(&status.as_u16()));
    let status = status.ok_or_else(|| format!("{} is no status of an answer", answer.status))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &answer.headers {
        let bad = || format!("`{name}: {}` is no header", value.escape_default());
        let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        headers.append(field, HeaderValue::from_str(value).map_err(|_| bad())?);
    }
    Ok((status, headers))
}

impl Canned {
    /// Servers that give these answers, the first that fits, each with its body.
    pub(super) fn new(answers: Vec<(&CannedAnswer, Vec<u8>)>) -> Result<(Self, Log), String> {
        let ready = |(answer, body): (&CannedAnswer, Vec<u8>)| {
            let (status, mut headers) = head(answer)?;
            let empty = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
            if !empty && answer.method != Method::Head {
                headers.entry(CONTENT_LENGTH).or_insert_with(|| body.len().into());
            }
            let body = if empty || answer.method == Method::Head { Bytes::new() } else { body.into() };
            let left = answer.times.map(Mutex::new);
            Ok(Ready { method: answer.method, url: answer.url.clone(), status, headers, body, left })
        };
        let answers = answers.into_iter().map(ready).collect::<Result<_, String>>()?;
        let log = Log::default();
        Ok((Self { answers, log: Arc::clone(&log) }, log))
    }

    async fn answer(
        &self,
        request: Request<Outgoing>,
        origin: &Origin,
        secrets: &[SecretInRequest],
    ) -> Result<Response<FromServer>, NoAnswer> {
        let failed = |failure, why: String| NoAnswer::Failed { failure, to: origin.clone(), why };
        let (head, body) = request.into_parts();
        let method: Method =
            head.method.as_str().parse().map_err(|error: BadDestination| NoAnswer::Refused(error.into()))?;
        let url =
            Url { origin: origin.clone(), path: head.uri.path().to_owned(), query: own_query(&head.uri, secrets) };
        let body = match Limited::new(body, LONGEST_BODY).collect().await {
            Ok(body) => body.to_bytes().to_vec(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                let why = format!("a canned server takes at most {LONGEST_BODY} bytes of a body");
                return Err(failed(Failure::Denied, why));
            }
            Err(error) => return Err(failed(Failure::Body, error.to_string())),
        };
        let fits = |answer: &&Ready| answer.method == method && answer.url.covers(&url);
        let mut fitting = self.answers.iter().filter(fits).peekable();
        let none = if fitting.peek().is_none() { "nobody answers" } else { "nobody answers any more" };
        let Some(answer) = fitting.find(|answer| answer.take()) else {
            return Err(failed(
                Failure::Denied,
                format!("{none} {} {url}: no [[case.http]] is for it", method.as_str()),
            ));
        };
        let secrets =
            secrets.iter().map(|secret| SecretExpected { name: secret.name.clone(), place: secret.place.clone() });
        let received = Received { method, url, headers: head.headers, secrets: secrets.collect(), body };
        self.keep(received).map_err(|why| failed(Failure::Denied, why))?;
        let mut response = Response::new(Full::new(answer.body.clone()).map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers.clone();
        Ok(response)
    }

    fn keep(&self, received: Received) -> Result<(), String> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = log.iter().map(|received| received.body.len()).sum::<usize>();
        if bytes + received.body.len() > MOST_BYTES {
            return Err(format!("canned servers take at most {MOST_BYTES} bytes in all"));
        }
        log.push(received);
        Ok(())
    }
}

/// The query as the step wrote it: egress puts secrets behind what is there.
fn own_query(uri: &hyper::Uri, secrets: &[SecretInRequest]) -> Option<String> {
    let added = secrets.iter().filter(|secret| matches!(secret.place, Place::Query(_))).count();
    let parameters: Vec<&str> = uri.query()?.split('&').collect();
    let own = parameters.get(..parameters.len().saturating_sub(added)).unwrap_or_default();
    (!own.is_empty()).then(|| own.join("&"))
}

impl Servers for Canned {
    fn send<'a>(
        &'a self,
        request: Request<Outgoing>,
        origin: &'a Origin,
        secrets: &'a [SecretInRequest],
    ) -> Answering<'a> {
        Box::pin(self.answer(request, origin, secrets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_what_the_step_wrote() {
        let asked = |place: &str| SecretInRequest {
            name: "token".parse().unwrap(),
            place: place.parse().unwrap(),
            with: String::new(),
        };
        let own = |uri: &str, secrets: &[SecretInRequest]| own_query(&uri.parse().unwrap(), secrets);
        assert_eq!(own("https://e.org/?a=b&key=x", &[asked("query:key")]).as_deref(), Some("a=b"));
        assert_eq!(own("https://e.org/?key=x", &[asked("query:key")]), None);
        assert_eq!(own("https://e.org/?a=b", &[asked("header:authorization")]).as_deref(), Some("a=b"));
        assert_eq!(own("https://e.org/", &[]), None);
    }
}
