//! A broker of one's own, for direct mode: the same program as ever, on the loopback, for as long as we live.

use crate::broker::BrokerUrl;
use attest_evidence::report::{Explain, Fault, Report};
use serde::Deserialize;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

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
    _child: Child,
    /// Its end tells the broker to end.
    _stdin: Option<ChildStdin>,
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

fn failed(reason: impl std::fmt::Display) -> EmbeddedError {
    EmbeddedError { reason: reason.to_string() }
}

/// A broker that comes up, while others do something else. It ends when this is dropped.
pub(crate) struct Starting {
    child: Child,
    stdin: Option<ChildStdin>,
    program: PathBuf,
    state: PathBuf,
}

impl Starting {
    /// Starts `program` with its state in `state`.
    pub(crate) fn begin(program: PathBuf, state: PathBuf) -> Result<Self, EmbeddedError> {
        let mut child = Command::new(&program)
            .args(["serve", "--json", "--until-stdin-ends", "--listen", "127.0.0.1:0", "--state"])
            .arg(&state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .env("ATTEST_LOG", "warn")
            .process_group(0) // a terminal's Ctrl-C is for us; the broker ends with its standard input
            .spawn()
            .map_err(|error| failed(format!("{}: {error}", program.display())))?;
        let stdin = child.stdin.take();
        Ok(Self { child, stdin, program, state })
    }

    /// Waits until it listens.
    pub(crate) async fn ready(self) -> Result<EmbeddedBroker, EmbeddedError> {
        let Self { mut child, stdin, program, state } = self;
        let stdout = child.stdout.take().ok_or_else(|| failed("it has no standard output"))?;
        let mut line = String::new();
        let mut lines = BufReader::new(stdout);
        tokio::time::timeout(LONGEST_START, lines.read_line(&mut line))
            .await
            .map_err(|_| failed(format!("it did not listen within {} s", LONGEST_START.as_secs())))?
            .map_err(failed)?;
        let ready: Ready = serde_json::from_str(&line).map_err(|_| failed("it ended before it listened"))?;
        let url = ready.url.parse().map_err(failed)?;
        Ok(EmbeddedBroker(Arc::new(Running { url, program, state, _child: child, _stdin: stdin })))
    }
}

impl EmbeddedBroker {
    /// Where it is.
    pub fn url(&self) -> &BrokerUrl {
        &self.0.url
    }

    /// A token for the runner that we are.
    pub(crate) async fn token(&self) -> Result<String, EmbeddedError> {
        let output = Command::new(&self.0.program)
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
