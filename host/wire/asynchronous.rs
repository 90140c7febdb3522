//! A connection for whoever serves many. It carries no descriptors: those go over a [`Channel`](crate::Channel)
//! before.

use crate::frame::{HEADER, WireError, decode, decode_header, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use zeroize::Zeroizing;

/// The receiving half of a connection.
#[derive(Debug)]
pub struct FrameReader(OwnedReadHalf);

/// The sending half of a connection.
#[derive(Debug)]
pub struct FrameWriter(OwnedWriteHalf);

/// Both halves of a connection, from a socket that waited until now.
///
/// # Errors
/// What the operating system reports.
pub fn split(stream: std::os::unix::net::UnixStream) -> Result<(FrameReader, FrameWriter), WireError> {
    stream.set_nonblocking(true)?;
    let (read, write) = UnixStream::from_std(stream)?.into_split();
    Ok((FrameReader(read), FrameWriter(write)))
}

impl FrameReader {
    /// Receives a message. Not to be cancelled midway: what has been read would be lost.
    ///
    /// # Errors
    /// See [`WireError`].
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<T, WireError> {
        let mut header = [0; HEADER];
        self.0.read_exact(&mut header).await.map_err(gone)?;
        let (announced, length) = decode_header(header)?;
        if announced != 0 {
            return Err(WireError::Descriptors { announced, arrived: 0 });
        }
        let mut message = Zeroizing::new(vec![0; length]);
        self.0.read_exact(&mut message).await.map_err(gone)?;
        decode(&message)
    }

    /// Waits until the other side has closed, or sends something that nobody asked for.
    pub async fn closed(&mut self) {
        let _ = self.0.readable().await;
    }
}

impl FrameWriter {
    /// Sends a message.
    ///
    /// # Errors
    /// See [`WireError`].
    pub async fn send(&mut self, message: &impl Serialize) -> Result<(), WireError> {
        let frame = encode(message, 0)?;
        self.0.write_all(&frame).await.map_err(gone)
    }

    /// Closes this direction: the other side reads an end.
    pub async fn finish(mut self) {
        let _ = self.0.shutdown().await;
    }
}

fn gone(error: io::Error) -> WireError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => WireError::Closed,
        _ => WireError::Io(error),
    }
}
