//! What a request carries.

use super::answer::Answer;
use super::failure::{broken, unsent};
use super::url::Url;
use crate::bindings::wasi::http::types::OutgoingBody;
use crate::bindings::wasi::io::poll::Pollable;
use crate::bindings::wasi::io::streams::{InputStream, OutputStream, StreamError};
use crate::directory::File;
use crate::error::{Error, Result};

/// Most bytes of one `blocking-write-and-flush` (wasi:io).
const LONGEST_WRITE: usize = 4096;
/// Bytes that the host moves from a file to a request, or back, at once.
pub(super) const LONGEST_SPLICE: u64 = 1 << 20;

/// What a request carries.
pub(super) enum Body<'a> {
    None,
    Bytes(Vec<u8>),
    File(&'a File),
}

/// A body whose length is known, and whose contents lie ready.
pub(super) enum Content {
    Bytes(Vec<u8>),
    /// The host moves these: the step's memory never holds them.
    Stream {
        from: InputStream,
        size: u64,
        name: String,
    },
}

impl Body<'_> {
    pub(super) fn content(self) -> Result<Option<Content>> {
        Ok(match self {
            Self::None => None,
            Self::Bytes(bytes) => Some(Content::Bytes(bytes)),
            Self::File(file) => {
                let (size, name) = (file.size()?, file.name.clone());
                let from = file.descriptor.read_via_stream(0).map_err(|error| Error::file(&name, error))?;
                Some(Content::Stream { from, size, name })
            }
        })
    }
}

impl Content {
    pub(super) const fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stream { size, .. } => *size,
        }
    }

    /// Writes it into the request's body, and ends that. Stops without an error where the answer says that it is in vain.
    pub(super) fn write(self, url: &Url, body: OutgoingBody, answer: &mut Answer) -> Result {
        let stream = body.write().map_err(|()| Error::new("the body of a request was taken before"))?;
        let writable = stream.subscribe();
        let written = match self {
            Self::Bytes(bytes) => write(url, &bytes, &stream, &writable, answer)?,
            Self::Stream { from, size, name } => splice(url, &from, size, &name, &stream, &writable, answer)?,
        };
        // Each is a child of the next (wasi:io, wasi:http), and has to go first.
        drop(writable);
        drop(stream);
        match written {
            Written::All => OutgoingBody::finish(body, None).map_err(|error| unsent(url, &error, false)),
            Written::Part => Ok(()),
        }
    }
}

/// How much of a body was written.
enum Written {
    All,
    Part,
}

fn write(url: &Url, bytes: &[u8], to: &OutputStream, writable: &Pollable, answer: &mut Answer) -> Result<Written> {
    for part in bytes.chunks(LONGEST_WRITE) {
        if !answer.lets_write(writable) {
            return Ok(Written::Part);
        }
        to.blocking_write_and_flush(part).map_err(|error| broken(url, "sending", &error))?;
    }
    Ok(Written::All)
}

fn splice(
    url: &Url,
    from: &InputStream,
    size: u64,
    name: &str,
    to: &OutputStream,
    writable: &Pollable,
    answer: &mut Answer,
) -> Result<Written> {
    let mut left = size;
    while left > 0 {
        if !answer.lets_write(writable) {
            return Ok(Written::Part);
        }
        match to.blocking_splice(from, left.min(LONGEST_SPLICE)) {
            Ok(moved) => left = left.saturating_sub(moved),
            // Either end may have closed. The length is announced, so that a file's end comes too early.
            Err(StreamError::Closed) if to.check_write().is_ok() => {
                return Err(Error::new(format!("`{name}` became shorter while it was sent")));
            }
            Err(error) => return Err(broken(url, "sending", &error)),
        }
    }
    to.flush().map_err(|error| broken(url, "sending", &error))?;
    Ok(if answer.lets_write(writable) { Written::All } else { Written::Part })
}
