//! A connection for whoever may wait, and for descriptors.

use crate::frame::{HEADER, MOST_DESCRIPTORS, WireError, decode, decode_header, encode};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use zeroize::Zeroizing;

/// One end of a connection between two processes.
#[derive(Debug)]
pub struct Channel(UnixStream);

impl Channel {
    /// The channel over a connected socket.
    pub const fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// The channel to whoever started this process, over its standard input.
    ///
    /// # Errors
    /// What the operating system reports.
    pub fn at_stdin() -> std::io::Result<Self> {
        Ok(Self(UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?)))
    }

    /// Both ends of a new connection.
    ///
    /// # Errors
    /// What the operating system reports.
    pub fn pair() -> Result<(Self, Self), WireError> {
        let (one, other) = UnixStream::pair()?;
        Ok((Self(one), Self(other)))
    }

    /// The socket.
    pub const fn stream(&self) -> &UnixStream {
        &self.0
    }

    /// The socket, to be used otherwise.
    pub fn into_stream(self) -> UnixStream {
        self.0
    }

    /// Sends a message.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn send(&self, message: &impl Serialize) -> Result<(), WireError> {
        self.send_with(message, &[])
    }

    /// Sends a message with descriptors.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn send_with(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> Result<(), WireError> {
        let frame = encode(message, descriptors.len())?;
        let mut sent = 0;
        if !descriptors.is_empty() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
                return Err(WireError::TooLong(descriptors.len()));
            }
            sent = retry(|| sendmsg(&self.0, &[IoSlice::new(&frame)], &mut control, SendFlags::NOSIGNAL))?;
        }
        let mut stream = &self.0;
        stream.write_all(frame.get(sent..).unwrap_or_default()).map_err(gone)
    }

    /// Receives a message that carries no descriptors. Plain reads: a descriptor that somebody sends along
    /// never arrives.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn receive<T: DeserializeOwned>(&self) -> Result<T, WireError> {
        let mut header = [0; HEADER];
        let mut stream = &self.0;
        stream.read_exact(&mut header).map_err(gone)?;
        match decode_header(header)? {
            (0, length) => self.receive_body(length),
            (announced, _) => Err(WireError::Descriptors { announced, arrived: 0 }),
        }
    }

    fn receive_body<T: DeserializeOwned>(&self, length: usize) -> Result<T, WireError> {
        let mut message = Zeroizing::new(vec![0; length]);
        let mut stream = &self.0;
        stream.read_exact(&mut message).map_err(gone)?;
        decode(&message)
    }

    /// Receives a message and the descriptors that it carries. They are closed on `exec`.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn receive_with<T: DeserializeOwned>(&self) -> Result<(T, Vec<OwnedFd>), WireError> {
        let mut header = [0; HEADER];
        let mut descriptors = Vec::new();
        let mut read = 0;
        while read < HEADER {
            let rest = header.get_mut(read..).unwrap_or_default();
            let (count, arrived) = self.receive_part(rest)?;
            if count == 0 {
                return Err(WireError::Closed);
            }
            read += count;
            descriptors.extend(arrived);
        }
        let (announced, length) = decode_header(header)?;
        if announced != descriptors.len() {
            return Err(WireError::Descriptors { announced, arrived: descriptors.len() });
        }
        Ok((self.receive_body(length)?, descriptors))
    }

    fn receive_part(&self, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), WireError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received =
            retry(|| recvmsg(self.0.as_fd(), &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC))?;
        let descriptors = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        Ok((received.bytes, descriptors))
    }
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, WireError> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            Err(Errno::PIPE | Errno::CONNRESET) => return Err(WireError::Closed),
            other => return Ok(other?),
        }
    }
}

fn gone(error: std::io::Error) -> WireError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset => {
            WireError::Closed
        }
        _ => WireError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        let (one, other) = Channel::pair().unwrap();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        one.send_with(&7u32, &[file.as_fd(), file.as_fd()]).unwrap();
        one.send(&"next".to_owned()).unwrap();
        let (number, descriptors) = other.receive_with::<u32>().unwrap();
        assert_eq!((number, descriptors.len()), (7, 2));
        assert_eq!(other.receive::<String>().unwrap(), "next");
        drop(one);
        assert!(matches!(other.receive::<String>(), Err(WireError::Closed)));
    }

    #[test]
    fn descriptors_that_nobody_announced_are_refused() {
        let (one, other) = Channel::pair().unwrap();
        one.send_with(&7u32, &[one.0.as_fd()]).unwrap();
        assert!(matches!(other.receive::<u32>(), Err(WireError::Descriptors { announced: 1, arrived: 0 })));
        let (one, other) = Channel::pair().unwrap();
        one.0.try_clone().unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert!(matches!(other.receive::<u32>(), Err(WireError::Version)));
        let (one, other) = Channel::pair().unwrap();
        let frame = crate::frame::encode(&7u32, 0).unwrap();
        one.0.try_clone().unwrap().write_all(&frame).unwrap();
        assert_eq!(other.receive_with::<u32>().unwrap().0, 7);
    }
}
