//! Answers on their way to the worker. All of each is searched for all secrets of the lease, before it is passed on; where one
//! is found, nothing more is, and the lease ends. (To mask it instead would tell a step that guesses when it is right.)
//!
//! Of a body, as many bytes are held back as the longest spelling of a secret has, whatever they are: so when they come out does
//! not tell either.

use crate::fields;
use crate::granted::Granted;
use crate::network::FromServer;
use crate::record::Record;
use crate::refusal::{NoAnswer, Refusal, shown};
use crate::teller::{Leak, Teller};
use attest_evidence::exchange::Origin;
use attest_leaks::{HoldBack, Mask};
use attest_wire::egress::{FAILURE, Failure};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use hyper::{Response, StatusCode};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use zeroize::Zeroizing;

/// In which characters an answer may be: in these a secret has the bytes that are searched for.
const CHARSETS: [&str; 5] = ["utf-8", "utf8", "utf-16", "utf-16le", "utf-16be"];
/// In these as well, if it is made of ASCII.
const LIKE_ASCII: [&str; 7] =
    ["us-ascii", "ascii", "iso-8859-1", "latin1", "iso-8859-15", "windows-1252", "windows-1250"];

/// Whom an answer is from, and whoever has to know what is in it.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    /// What must not be in it.
    pub granted: Arc<Granted>,
    /// Who is told.
    pub teller: Arc<Teller>,
    /// Who answered.
    pub from: Origin,
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// There is none: the request failed.
    None,
    /// What a server sends.
    Some(Box<Searched>),
}

/// The body of an answer, searched as it comes.
#[derive(Debug)]
pub(crate) struct Searched {
    body: Option<FromServer>,
    /// Without secrets, nothing is searched for.
    mask: Option<Mask>,
    trailers: Option<HeaderMap>,
    search: Search,
    record: Record,
}

/// An answer that is not passed on to its end.
#[derive(Debug, thiserror::Error)]
#[error("the answer was cut off")]
pub(crate) struct Cut;

/// What the worker is told when there is no answer.
pub(crate) fn none(failure: Failure) -> Response<Answer> {
    let mut response = Response::new(Answer::None);
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response.headers_mut().insert(FAILURE, HeaderValue::from_static(failure.as_str()));
    response
}

/// The answer as the worker may have it.
///
/// # Errors
/// What may not be passed on of it: all of it, then.
pub(crate) fn pass_on(answer: Response<FromServer>, search: Search, record: &mut Record) -> Result<Passed, NoAnswer> {
    let (head, body) = answer.into_parts();
    record.answered(head.status);
    let protocol = |why: String| NoAnswer::Failed { failure: Failure::Protocol, to: search.from.clone(), why };
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(protocol("it changes to a protocol that nobody asked for".to_owned()));
    }
    let size = fields::size(&head.headers);
    if size > fields::LONGEST_HEAD as usize {
        return Err(protocol(format!(
            "the head of its answer has {size} bytes, at most {} are read",
            fields::LONGEST_HEAD
        )));
    }
    search.head(&head.headers)?;
    if search.granted.is_destination(&search.from) {
        whole(head.status, &head.headers, &search.from)?;
        readable(&head.headers, &search)?;
    }
    let mut headers = head.headers;
    fields::strip(&mut headers);
    let mask = search.granted.values().map(|values| Mask::holding(Arc::clone(values), HoldBack::Always));
    Ok(Passed { status: head.status, headers, body, mask, search })
}

/// An answer whose head may be passed on.
#[derive(Debug)]
pub(crate) struct Passed {
    status: StatusCode,
    headers: HeaderMap,
    body: FromServer,
    mask: Option<Mask>,
    search: Search,
}

impl Passed {
    /// The response for the worker. From here on the record is told with its body.
    pub(crate) fn into_response(self, record: Record) -> Response<Answer> {
        let Self { status, headers, body, mask, search } = self;
        let ended = body.is_end_stream();
        let mut searched = Searched { body: Some(body), mask, trailers: None, search, record };
        if ended {
            // Nothing was held back, so nothing can be found.
            let _ = searched.end();
        }
        let mut response = Response::new(Answer::Some(Box::new(searched)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// Never a part: in those of a secret none is recognized. What asks for one is not for us to list (`Range` is one of many
/// ways), what is one says so.
fn whole(status: StatusCode, headers: &HeaderMap, origin: &Origin) -> Result<(), Refusal> {
    let parts = b"multipart/byteranges";
    let are_parts =
        |kind: &HeaderValue| kind.as_bytes().get(..parts.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(parts));
    let is_part = matches!(status.as_u16(), 206 | 226)
        || headers.contains_key(CONTENT_RANGE)
        || headers.get_all(CONTENT_TYPE).iter().any(are_parts);
    if is_part { Err(Refusal::Part { status: status.as_u16(), origin: origin.clone() }) } else { Ok(()) }
}

/// Nothing but plain text or bytes: who compresses hides what is in it, and so does who writes it in characters of which the
/// bytes are others.
fn readable(headers: &HeaderMap, search: &Search) -> Result<(), Refusal> {
    let origin = &search.from;
    for (field, plain) in [(CONTENT_ENCODING, "identity"), (TRANSFER_ENCODING, "chunked")] {
        for value in headers.get_all(&field) {
            let encodings = value.to_str().unwrap_or("?");
            if encodings.split(',').any(|encoding| !encoding.trim().eq_ignore_ascii_case(plain)) {
                let field = if field == CONTENT_ENCODING { "content-encoding" } else { "transfer-encoding" };
                let value = shown(encodings);
                return Err(Refusal::Encoded { field, value, origin: origin.clone() });
            }
        }
    }
    for value in headers.get_all(CONTENT_TYPE) {
        let text = value.to_str().unwrap_or("; charset=?").to_ascii_lowercase();
        let known =
            |charset: &str| CHARSETS.contains(&charset) || search.granted.is_ascii() && LIKE_ASCII.contains(&charset);
        if let Some(charset) = fields::charsets(&text).find(|charset| !known(charset)) {
            let value = shown(charset);
            return Err(Refusal::Encoded { field: "charset", value, origin: origin.clone() });
        }
    }
    Ok(())
}

impl Search {
    /// Searches a head or trailers: names and values, and what they are together.
    fn head(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(values) = self.granted.values() else { return Ok(()) };
        let mut text = Zeroizing::new(Vec::with_capacity(fields::size(headers) + 2 * headers.len()));
        for (name, value) in headers {
            text.extend_from_slice(name.as_str().as_bytes());
            text.push(b':');
            text.extend_from_slice(value.as_bytes());
            text.push(b'\n');
        }
        match values.find(&text) {
            Some(hit) => Err(self.leaked(hit.value, hit.encoding.name())),
            None => Ok(()),
        }
    }

    fn leaked(&self, value: usize, encoding: &'static str) -> Refusal {
        let Some(secret) = self.granted.name(value).cloned() else { return Refusal::Over };
        self.teller.leaked(Leak { secret: secret.clone(), encoding, from: self.from.to_string() });
        Refusal::Leaked(secret)
    }
}

type Next = Option<Result<Frame<Bytes>, Cut>>;

impl Searched {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        loop {
            let Some(body) = &mut self.body else {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            };
            let next = match ready!(Pin::new(body).poll_frame(context)) {
                None => self.end(),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.more(data),
                    Err(other) => {
                        self.trailers = other.into_trailers().ok();
                        self.end()
                    }
                },
                Some(Err(error)) => Err(NoAnswer::Failed {
                    failure: Failure::Protocol,
                    to: self.search.from.clone(),
                    why: format!("its answer ended too early: {error}"),
                }),
            };
            match next {
                Ok(out) if out.is_empty() => {}
                Ok(out) => return Poll::Ready(Some(Ok(Frame::data(out)))),
                Err(why) => {
                    self.record.failed(&why);
                    (self.body, self.trailers) = (None, None);
                    return Poll::Ready(Some(Err(Cut)));
                }
            }
        }
    }

    /// What may be passed on, now that this is there too.
    fn more(&mut self, data: Bytes) -> Result<Bytes, NoAnswer> {
        self.record.received(data.len());
        let Some(mask) = &mut self.mask else { return Ok(data) };
        let mut out = Vec::with_capacity(data.len());
        mask.push(&data, &mut out);
        let found = mask.exposed().iter().next();
        self.unless(found, out)
    }

    /// What was held back, now that nothing follows.
    fn end(&mut self) -> Result<Bytes, NoAnswer> {
        self.body = None;
        let mut out = Vec::new();
        let found = self.mask.take().and_then(|mask| mask.finish(&mut out).iter().next());
        let out = self.unless(found, out)?;
        if let Some(trailers) = &mut self.trailers {
            self.search.head(trailers)?;
            fields::strip(trailers);
        }
        self.record.whole();
        Ok(out)
    }

    fn unless(&self, found: Option<(usize, attest_leaks::Encoding)>, out: Vec<u8>) -> Result<Bytes, NoAnswer> {
        match found {
            Some((value, encoding)) => Err(self.search.leaked(value, encoding.name()).into()),
            None => Ok(out.into()),
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Next> {
        match &mut *self {
            Self::None => Poll::Ready(None),
            Self::Some(searched) => searched.poll(context),
        }
    }

    /// Only an end that has been reached is one: what is told of the request hangs on it.
    fn is_end_stream(&self) -> bool {
        match self {
            Self::None => true,
            Self::Some(searched) => searched.body.is_none() && searched.trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::None => SizeHint::with_exact(0),
            Self::Some(_) => SizeHint::default(),
        }
    }
}
