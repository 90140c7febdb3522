//! What is answered.

use super::body::LONGEST_SPLICE;
use super::failure::broken;
use super::url::Url;
use crate::bindings::wasi::http::types::{IncomingBody, IncomingResponse, Method};
use crate::bindings::wasi::io::streams::{InputStream, StreamError};
use crate::directory::Directory;
use crate::error::{Error, Result};

/// Most bytes that [`Response::body`] holds: what an API answers.
pub const LONGEST_BODY: usize = 1 << 20;
/// Bytes read at once.
const CHUNK: u64 = 64 * 1024;
/// Most characters of an answer that an error shows.
const LONGEST_EXCERPT: usize = 500;

/// An answer: status, headers, and a body that is still to come.
pub struct Response {
    method: Method,
    url: Url,
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    answer: IncomingResponse,
}

impl Response {
    pub(super) fn new(method: Method, url: Url, answer: IncomingResponse) -> Self {
        let (status, headers) = (answer.status(), answer.headers().entries());
        Self { method, url, status, headers, answer }
    }

    /// Its status.
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Who answered.
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// The first header of a name, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All headers that are text.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().filter_map(|(name, value)| Some((name.as_str(), std::str::from_utf8(value).ok()?)))
    }

    /// Itself, if its status is 2xx; otherwise an error with the status and the beginning of the body.
    pub fn accepted(self) -> Result<Self> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(self.refused()) }
    }

    /// An error that says what was answered.
    pub fn refused(self) -> Error {
        let location = match self.header("location") {
            Some(location) if (300..400).contains(&self.status) => {
                format!(" (redirects are not followed; this one goes to {})", location.escape_debug())
            }
            _ => String::new(),
        };
        let what = format!("{} {} answered {}{location}", verb(&self.method), self.url.without_query(), self.status);
        let mut start = Vec::new();
        let read = self.read_each(|part| {
            start.extend_from_slice(part);
            if start.len() < LONGEST_EXCERPT * 4 { Ok(()) } else { Err(Error::new("enough")) }
        });
        // The status is what counts; of the body whatever came.
        drop(read);
        Error::new(match excerpt(&start) {
            excerpt if excerpt.is_empty() => what,
            excerpt => format!("{what}: {excerpt}"),
        })
    }

    /// Its body, of at most [`LONGEST_BODY`] bytes.
    pub fn body(self) -> Result<Vec<u8>> {
        self.body_up_to(LONGEST_BODY)
    }

    /// Its body, of at most so many bytes.
    pub fn body_up_to(self, most: usize) -> Result<Vec<u8>> {
        let (mut body, url) = (Vec::new(), self.url.clone());
        self.read_each(|part| {
            body.extend_from_slice(part);
            if body.len() <= most { Ok(()) } else { Err(too_long(&url, most as u64)) }
        })?;
        Ok(body)
    }

    /// Its body, a part at a time. An error of `each` ends the reading.
    pub fn read_each(self, mut each: impl FnMut(&[u8]) -> Result) -> Result {
        let (body, stream) = self.stream()?;
        loop {
            match stream.blocking_read(CHUNK) {
                Ok(part) => each(&part)?,
                Err(StreamError::Closed) => break,
                Err(error) => return Err(broken(&self.url, "the answer", &error)),
            }
        }
        // It is a child of the body (wasi:http), and has to go first.
        drop(stream);
        drop(body);
        Ok(())
    }

    /// Its body, into a file: the host moves it, and the step's memory never holds it. Over `most` bytes it is an error,
    /// and whoever looks sees the old contents or the new ones, never a part. Gives the number of bytes.
    pub fn copy_to_file(self, directory: &Directory, name: &str, most: u64) -> Result<u64> {
        let (body, stream) = self.stream()?;
        let copied = directory.write_with(name, |to| {
            let mut copied = 0;
            loop {
                match to.blocking_splice(&stream, LONGEST_SPLICE.min((most - copied).saturating_add(1))) {
                    Ok(moved) => copied += moved,
                    // Either end may have closed, and a file does not by itself.
                    Err(StreamError::Closed) if to.check_write().is_ok() => break,
                    Err(error) => return Err(broken(&self.url, "copying the answer", &error)),
                }
                if copied > most {
                    return Err(too_long(&self.url, most));
                }
            }
            to.blocking_flush().map_err(|error| broken(&self.url, "copying the answer", &error))?;
            Ok(copied)
        });
        drop(stream);
        drop(body);
        copied
    }

    fn stream(&self) -> Result<(IncomingBody, InputStream)> {
        let taken = |()| Error::new("the body of an answer was taken before");
        let body = self.answer.consume().map_err(taken)?;
        let stream = body.stream().map_err(taken)?;
        Ok((body, stream))
    }
}

fn too_long(url: &Url, most: u64) -> Error {
    Error::new(format!("{}: the answer is longer than {most} bytes", url.without_query()))
}

fn verb(method: &Method) -> &str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(method) => method,
    }
}

/// The beginning of a body, on one line.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let words: Vec<_> = text.split_whitespace().collect();
    let line: String = words.join(" ").chars().filter(|c| !c.is_control()).collect();
    match line.char_indices().nth(LONGEST_EXCERPT) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_line_of_bounded_length() {
        assert_eq!(excerpt(b""), "");
        assert_eq!(excerpt(b"{\n  \"message\": \"Not\x1b[31m Found\"\r\n}"), "{ \"message\": \"Not[31m Found\" }");
        assert_eq!(excerpt(b"\xff"), "\u{fffd}");
        assert_eq!(excerpt("ä".repeat(2000).as_bytes()).chars().count(), LONGEST_EXCERPT + 1);
    }
}
