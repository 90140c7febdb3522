//! A broker of one's own, for direct mode: the same program as ever, on the loopback, for as long as we live.

use crate::broker::BrokerUrl;
use attest_evidence::report::{Explain, Fault, Report};
use serde::Deserialize;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe::Receiver;

/// The longest that a broker may take to come up, making its keys included.
const LONGEST_START: Duration = Duration::from_secs(20);
/// The name of the runner that enrols with it.
const RUNNER: &str = "local";

/// A broker that runs as a child process. It ends with the last clone.
#[derive(Clone)]
pub struct EmbeddedBroker(Arc<Running>);

struct Running {
    url: BrokerUrl,
    program: PathBuf,
    state: PathBuf,
    /// Its end tells the broker to end.
    _stdin: OwnedFd,
}

/// Why there is no such broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the broker on this machine can't be used: {reason}")]
pub struct EmbeddedError {
    reason: String,
}

impl Explain for EmbeddedError {
    fn report(&self) -> Report {
        Report::new("AR-B601", Fault::Environment, self.to_string())
            .hint("attest-broker belongs beside attest-run: install them together. What it said stands above")
    }
}

#[derive(Deserialize)]
struct Ready {
    url: String,
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

pub(crate) fn failed(reason: impl std::fmt::Display) -> EmbeddedError {
    EmbeddedError { reason: reason.to_string() }
}

/// A broker that comes up, while others do something else. It ends when this is dropped.
#[derive(Debug)]
pub struct BrokerStarting {
    /// Its end tells the broker to end.
    stdin: OwnedFd,
    /// Where it says that it listens.
    stdout: OwnedFd,
}

impl BrokerStarting {
    /// Starts `program` with its state in `state`.
    ///
    /// # Errors
    /// What the operating system reports.
    pub fn begin(program: &Path, state: &Path) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(["serve", "--json", "--until-stdin-ends", "--listen", "127.0.0.1:0", "--state"])
            .arg(state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .env("ATTEST_LOG", "warn")
            .process_group(0) // a terminal's Ctrl-C is for us; the broker ends with its standard input
            .spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(stdin), Some(stdout)) => Ok(Self { stdin: stdin.into(), stdout: stdout.into() }),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// One that somebody else has started.
    pub const fn begun(stdin: OwnedFd, stdout: OwnedFd) -> Self {
        Self { stdin, stdout }
    }

    /// Its standard input and output, for whoever shall wait for it.
    pub fn into_parts(self) -> [OwnedFd; 2] {
        [self.stdin, self.stdout]
    }

    /// Waits until it listens.
    pub(crate) async fn ready(self, program: PathBuf, state: PathBuf) -> Result<EmbeddedBroker, EmbeddedError> {
        let Self { stdin, stdout } = self;
        let mut line = String::new();
        let mut lines = BufReader::new(Receiver::from_owned_fd(stdout).map_err(failed)?);
        tokio::time::timeout(LONGEST_START, lines.read_line(&mut line))
            .await
            .map_err(|_| failed(format!("it did not listen within {} s", LONGEST_START.as_secs())))?
            .map_err(failed)?;
        let ready: Ready = serde_json::from_str(&line).map_err(|_| failed("it ended before it listened"))?;
        let url = ready.url.parse().map_err(failed)?;
        Ok(EmbeddedBroker(Arc::new(Running { url, program, state, _stdin: stdin })))
    }
}

impl EmbeddedBroker {
    /// Where it is.
    pub fn url(&self) -> &BrokerUrl {
        &self.0.url
    }

    /// A token for the runner that we are.
    pub(crate) async fn token(&self) -> Result<String, EmbeddedError> {
        let output = tokio::process::Command::new(&self.0.program)
            .args(["runner", "token", RUNNER, "--isolation", "direct", "--approve-uncertified", "--json", "--state"])
            .arg(&self.0.state)
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(failed)?;
        let token: Token = serde_json::from_slice(&output.stdout)
            .map_err(|_| failed(String::from_utf8_lossy(&output.stderr).trim_end()))?;
        Ok(token.token)
    }
}
