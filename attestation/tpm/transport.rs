//! Ways to a TPM: a process of our own, the kernel's device, a simulator's socket.

mod embedded;
mod libtpms;
mod tcti;

pub use embedded::Embedded;
pub use libtpms::serve as serve_embedded;

use crate::error::TpmError;
use attest_evidence::tpm::TpmName;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) use tcti::open_context;

/// Longest command or response: libtpms and hardware TPMs have 4096.
const LONGEST_MESSAGE: usize = 4096;
/// The longest a TPM may take for one command. Making an RSA key in hardware takes up to half a minute.
const LONGEST_COMMAND: Duration = Duration::from_secs(90);
/// The longest a simulator may take for its first answer; it serves one connection at a time.
const LONGEST_FIRST_ANSWER: Duration = Duration::from_secs(5);

/// Where the TPM is. As text: `embedded:DIR`, `device:/dev/tpmrm0` or `swtpm:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// libtpms in a helper process over a socketpair, its state in a directory.
    Embedded(Embedded),
    /// The kernel's resource manager.
    Device(PathBuf),
    /// Raw commands on a Unix socket, as `swtpm socket --server type=unixio` takes them.
    Swtpm(PathBuf),
}

/// Text that names no transport.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a TPM: `embedded:DIR`, `device:/dev/tpmrm0` or `swtpm:SOCKET` is wanted")]
pub struct TransportError(pub String);

impl std::str::FromStr for Transport {
    type Err = TransportError;

    fn from_str(text: &str) -> Result<Self, TransportError> {
        match text.split_once(':') {
            Some(("embedded", path)) if !path.is_empty() => Ok(Self::Embedded(Embedded::new(path))),
            Some(("device", path)) if path.starts_with('/') => Ok(Self::Device(path.into())),
            Some(("swtpm", path)) if !path.is_empty() => Ok(Self::Swtpm(path.into())),
            _ => Err(TransportError(text.to_owned())),
        }
    }
}

impl std::fmt::Display for Transport {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Embedded(embedded) => write!(out, "embedded:{}", embedded.directory().display()),
            Self::Device(path) => write!(out, "device:{}", path.display()),
            Self::Swtpm(path) => write!(out, "swtpm:{}", path.display()),
        }
    }
}

/// How commands are protected on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionProtection {
    /// Not: nobody is on the way. Authorization values go as passwords.
    Private,
    /// An HMAC session salted with the EK, first parameters encrypted both ways (Part 1 §19, §21).
    Salted,
}

impl Transport {
    /// What this transport needs: hardware has a bus that others may listen to.
    pub const fn protection(&self) -> SessionProtection {
        match self {
            Self::Embedded(_) | Self::Swtpm(_) => SessionProtection::Private,
            Self::Device(_) => SessionProtection::Salted,
        }
    }

    pub(crate) fn open(&self) -> Result<Box<dyn Channel>, TpmError> {
        match self {
            Self::Embedded(embedded) => Ok(Box::new(embedded.start()?)),
            Self::Device(path) => {
                let file =
                    File::options().read(true).write(true).open(path).map_err(|error| self.cannot_open(&error))?;
                Ok(Box::new(KernelDevice(file)))
            }
            Self::Swtpm(path) => {
                let stream = UnixStream::connect(path).map_err(|error| self.cannot_open(&error))?;
                Ok(Box::new(Socket::greet(stream).map_err(|error| self.cannot_open(&error))?))
            }
        }
    }

    fn cannot_open(&self, error: &io::Error) -> TpmError {
        let (transport, reason) = (self.to_string(), error.to_string());
        match error.kind() {
            io::ErrorKind::ResourceBusy | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                TpmError::Busy { transport, reason }
            }
            _ => TpmError::Absent { transport, reason },
        }
    }
}

/// A way to send one command and get its one response.
pub(crate) trait Channel: Send {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>>;
    /// The same way, for another process to use while this one rests.
    fn lend(&self) -> io::Result<Lent>;
}

/// An open way to a TPM, lent to another process: see [`Device::lend`](crate::Device::lend).
#[derive(Debug)]
pub struct Lent {
    /// The socket or device.
    pub descriptor: OwnedFd,
    /// What kind of descriptor it is.
    pub kind: LentKind,
    /// How commands are protected on it.
    pub protection: SessionProtection,
    /// The Name of the EK with which sessions must be salted, where they are.
    pub ek: Option<TpmName>,
}

/// What a lent descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LentKind {
    /// A character device.
    Device,
    /// A stream of commands and responses.
    Stream,
}

impl Lent {
    pub(crate) fn channel(self) -> Box<dyn Channel> {
        match self.kind {
            LentKind::Device => Box::new(KernelDevice(File::from(self.descriptor))),
            LentKind::Stream => Box::new(Socket(UnixStream::from(self.descriptor))),
        }
    }

    /// Makes sure that no answer which the borrower left behind is taken for another's. The TPM is closed by it;
    /// the kernel's device refuses commands by itself until an answer has been read or is forgotten.
    pub(crate) fn sever(&self) {
        if self.kind == LentKind::Stream
            && let Ok(descriptor) = self.descriptor.try_clone()
        {
            let _ = UnixStream::from(descriptor).shutdown(std::net::Shutdown::Both);
        }
    }
}

/// Counts the commands that pass, for `--timings` and the bench.
pub(crate) struct Counted {
    pub(crate) channel: Box<dyn Channel>,
    pub(crate) commands: Arc<AtomicU64>,
}

impl Channel for Counted {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.commands.fetch_add(1, Ordering::Relaxed);
        self.channel.exchange(command)
    }

    fn lend(&self) -> io::Result<Lent> {
        self.channel.lend()
    }
}

/// The character device: one write is one command, one read its response.
struct KernelDevice(File);

impl Channel for KernelDevice {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.0.write_all(command)?;
        let mut response = vec![0; LONGEST_MESSAGE];
        let length = self.0.read(&mut response)?;
        response.truncate(length);
        Ok(response)
    }

    fn lend(&self) -> io::Result<Lent> {
        let descriptor = self.0.try_clone()?.into();
        Ok(Lent { descriptor, kind: LentKind::Device, protection: SessionProtection::Salted, ek: None })
    }
}

/// A stream of commands and responses, each with its length in its header.
struct Socket(UnixStream);

/// `TPM2_Startup(CLEAR)` (Part 3 §9.3).
const STARTUP: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0];

impl Socket {
    /// A simulator may not have been started up; one that has says so and goes on.
    fn greet(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(LONGEST_FIRST_ANSWER))?;
        stream.set_write_timeout(Some(LONGEST_FIRST_ANSWER))?;
        let mut socket = Self(stream);
        socket.exchange(&STARTUP).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => io::Error::new(
                io::ErrorKind::TimedOut,
                "it accepts the connection and does not answer: does another client hold it?",
            ),
            _ => error,
        })?;
        socket.0.set_read_timeout(Some(LONGEST_COMMAND))?;
        Ok(socket)
    }
}

impl Channel for Socket {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.0.write_all(command)?;
        read_message(&mut self.0)
    }

    fn lend(&self) -> io::Result<Lent> {
        lend_stream(&self.0)
    }
}

fn lend_stream(stream: &UnixStream) -> io::Result<Lent> {
    let descriptor = stream.try_clone()?.into();
    Ok(Lent { descriptor, kind: LentKind::Stream, protection: SessionProtection::Private, ek: None })
}

/// One command or response: tag, length of the whole, code, and the rest.
fn read_message(stream: &mut impl io::Read) -> io::Result<Vec<u8>> {
    let mut message = vec![0; 10];
    stream.read_exact(&mut message)?;
    let length = message.get(2..6).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(u32::from_be_bytes);
    let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    if !(10..=LONGEST_MESSAGE).contains(&length) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a TPM message of {length} bytes")));
    }
    message.resize(length, 0);
    stream.read_exact(message.get_mut(10..).unwrap_or_default())?;
    Ok(message)
}
