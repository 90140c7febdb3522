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
use std::time::{Duration, Instant};

/// A TPM in software, in a process of its own: no address, nobody else can connect, and its keys are not in
/// the memory of the process that uses them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embedded {
    directory: PathBuf,
    helper: PathBuf,
}

/// The argument by which a program knows that it shall be the helper: it then calls
/// [`serve_embedded`](crate::serve_embedded).
const HELPER_ARGUMENT: &str = "__tpm";

impl Embedded {
    /// The TPM whose state lies in `directory`. This program runs again as its helper.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), helper: PathBuf::from("/proc/self/exe") }
    }

    /// The same TPM with another program as its helper.
    #[must_use]
    pub fn with_helper(mut self, helper: impl Into<PathBuf>) -> Self {
        self.helper = helper.into();
        self
    }

    /// Where its state lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn start(&self) -> Result<Helper, TpmError> {
        let failed = |error: io::Error| TpmError::Absent {
            transport: format!("embedded:{}", self.directory.display()),
            reason: error.to_string(),
        };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let child = Command::new(&self.helper)
            .arg(HELPER_ARGUMENT)
            .arg(&self.directory)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .process_group(0) // a terminal's Ctrl-C is for us; the helper ends with the socket
            .env_clear()
            .spawn()
            .map_err(failed)?;
        let mut helper = Helper { stream: ours, child };
        helper.await_ready(&self.directory)?;
        Ok(helper)
    }
}

/// A running helper.
pub(super) struct Helper {
    stream: UnixStream,
    child: Child,
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
/// the state next finds it free.
impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut pause = Duration::from_micros(200);
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}
