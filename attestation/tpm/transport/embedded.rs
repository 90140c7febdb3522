//! The embedded TPM, from outside: a helper process that ends with its user.

use super::{Channel, LONGEST_COMMAND, Lent, lend_stream, libtpms, read_message};
use crate::error::TpmError;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A TPM in software, in a process of its own: no address, nobody else can connect, and its keys are not in
/// the memory of the process that uses them.
#[derive(Debug, Clone)]
pub struct Embedded {
    directory: PathBuf,
    program: PathBuf,
    /// The connection to one that somebody else has started.
    begun: Arc<Mutex<Option<UnixStream>>>,
}

/// The program of the helper. It belongs beside the program that uses it.
const PROGRAM: &str = "attest-embedded-tpm";

/// The longest that its shutdown may take.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(5);

impl Embedded {
    /// The TPM whose state lies in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let own = std::env::current_exe().unwrap_or_default();
        Self { directory: directory.into(), program: own.with_file_name(PROGRAM), begun: Arc::default() }
    }

    /// The same TPM with a program that lies elsewhere.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// The same TPM, which somebody has [begun](Self::begin) already.
    #[must_use]
    pub fn with_begun(self, connection: UnixStream) -> Self {
        Self { begun: Arc::new(Mutex::new(Some(connection))), ..self }
    }

    /// Where its state lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts the TPM and does not wait for it. It ends with the connection.
    ///
    /// # Errors
    /// What the operating system reports.
    pub fn begin(&self) -> io::Result<(UnixStream, Child)> {
        let (ours, theirs) = UnixStream::pair()?;
        let child = Command::new(&self.program)
            .arg(&self.directory)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .process_group(0) // a terminal's Ctrl-C is for us; the helper ends with the socket
            .env_clear()
            .env("OPENSSL_CONF", "/dev/null") // libtpms wants nothing that the system's file loads; reading it takes a while
            .spawn()?;
        Ok((ours, child))
    }

    pub(super) fn start(&self) -> Result<Helper, TpmError> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut helper = match begun {
            Some(stream) => Helper { stream, child: None },
            None => {
                let (stream, child) = self.begin().map_err(|error| TpmError::Absent {
                    transport: format!("embedded:{}", self.directory.display()),
                    reason: format!("{}: {error}", self.program.display()),
                })?;
                Helper { stream, child: Some(child) }
            }
        };
        helper.await_ready(&self.directory)?;
        Ok(helper)
    }
}

impl PartialEq for Embedded {
    fn eq(&self, other: &Self) -> bool {
        (&self.directory, &self.program) == (&other.directory, &other.program)
    }
}

impl Eq for Embedded {}

/// A running helper.
pub(super) struct Helper {
    stream: UnixStream,
    /// Somebody else's child, if it is not ours.
    child: Option<Child>,
}

impl Helper {
    /// The helper's first byte says whether it has a TPM; a reason follows if not.
    fn await_ready(&mut self, directory: &Path) -> Result<(), TpmError> {
        let mut status = [0];
        let broken = |error: io::Error| TpmError::Absent {
            transport: format!("embedded:{}", directory.display()),
            reason: format!("its helper process ended at once ({error})"),
        };
        self.stream.read_exact(&mut status).map_err(broken)?;
        let [status] = status;
        if status == libtpms::READY {
            return self.stream.set_read_timeout(Some(LONGEST_COMMAND)).map_err(broken);
        }
        let mut reason = String::new();
        (&mut self.stream).take(1024).read_to_string(&mut reason).map_err(broken)?;
        let directory = directory.to_owned();
        Err(match status {
            libtpms::IN_USE => TpmError::Busy { transport: format!("embedded:{}", directory.display()), reason },
            libtpms::LOST => TpmError::StateLost { directory },
            libtpms::DAMAGED => TpmError::StateDamaged { directory, reason },
            _ => TpmError::Absent { transport: format!("embedded:{}", directory.display()), reason },
        })
    }
}

impl Channel for Helper {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.stream.write_all(command)?;
        read_message(&mut self.stream)
    }

    fn lend(&self) -> io::Result<Lent> {
        lend_stream(&self.stream)
    }
}

/// The end of the socket tells the helper to shut its TPM down; give it the time to, so that whoever opens
/// the state next finds it free. Its own end of the socket ends when it has.
impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        let _ = self.stream.set_read_timeout(Some(LONGEST_SHUTDOWN));
        let ended = io::copy(&mut self.stream, &mut io::sink()).is_ok();
        if let Some(child) = &mut self.child {
            if !ended {
                let _ = child.kill();
            }
            let _ = child.wait();
        }
    }
}
