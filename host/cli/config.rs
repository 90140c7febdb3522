//! Where the agent and the state are: decided here, once.
//!
//! Where `/etc/attest-run` exists an admin has decided, and neither flags nor the environment nor a file of the
//! user change anything. Elsewhere: flag, then `ATTEST_RUN_*`, then the user's file, then the default.

use crate::Global;
use attest_agent::config::{ADMIN, admin_file, parse, transport, unreadable};
use attest_agent::installed::beside;
use attest_agent::{BrokerStarting, Enrolment, State};
use attest_evidence::report::{Fault, Report};
use attest_tpm::Transport;
use attest_wire::client::Helpers;
use serde::Deserialize;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The user's file, `~/.config/attest-run/config.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UserFile {
    socket: Option<PathBuf>,
    state: Option<PathBuf>,
    tpm: Option<String>,
    http_roots: Option<PathBuf>,
    tools: Vec<PathBuf>,
}

/// Who does the work.
#[derive(Debug)]
pub(crate) enum Mode {
    /// An agent, at this socket.
    Agent(PathBuf),
    /// An agent of our own, for this command alone.
    Direct(Direct),
}

/// An agent of our own.
#[derive(Debug)]
pub(crate) struct Direct {
    /// Where state and keys lie.
    pub(crate) state: PathBuf,
    tpm: Option<OsString>,
    http_roots: Option<PathBuf>,
    tools: Vec<PathBuf>,
}

impl Direct {
    /// What starts it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(beside("attest-agent"));
        command.arg("direct").arg("--state").arg(&self.state);
        if let Some(tpm) = &self.tpm {
            command.arg("--tpm").arg(tpm);
        }
        if let Some(roots) = &self.http_roots {
            command.arg("--http-roots").arg(roots);
        }
        for tool in &self.tools {
            command.arg("--tool").arg(tool);
        }
        command
    }

    /// Starts what it needs sooner than it can start it itself: its TPM and, for a step, its broker, where they are ours to
    /// start. What can't be started is left to it: it says why.
    pub(crate) fn begin(&self, for_step: bool) -> (Helpers, Vec<OwnedFd>) {
        let ours = || State::open(&self.state).and_then(|state| state.enrolment());
        let broker = match for_step.then(ours) {
            Some(Ok(enrolment)) if enrolment.as_ref().is_none_or(Enrolment::is_embedded) => {
                BrokerStarting::begin(&beside("attest-broker"), &self.state.join("broker")).ok()
            }
            _ => None,
        };
        let named = self.tpm.as_ref().map(|tpm| tpm.to_string_lossy());
        let tpm = match transport(named.as_deref(), &self.state) {
            Ok(Transport::Embedded(embedded)) => embedded.begin().ok(),
            _ => None,
        };
        let helpers = Helpers { tpm: tpm.is_some(), broker: broker.is_some() };
        let tpm = tpm.into_iter().map(|(connection, _)| connection.into());
        (helpers, tpm.chain(broker.into_iter().flat_map(BrokerStarting::into_parts)).collect())
    }
}

/// Decides who does the work.
pub(crate) fn mode(global: &Global) -> Result<Mode, Report> {
    if let Some(admin) = admin_file()? {
        let given = [
            ("--socket", global.socket.is_some()),
            ("--state", global.state.is_some()),
            ("--tpm", global.tpm.is_some()),
        ];
        if let Some((flag, _)) = given.into_iter().find(|(_, given)| *given) {
            let what = format!("this runner has an admin's configuration: {flag} can't change it");
            return Err(Report::new("AR-C001", Fault::Usage, what)
                .fact("configuration", format!("{ADMIN}/config.toml"))
                .hint(format!("leave {flag} out")));
        }
        return Ok(Mode::Agent(admin.agent.socket));
    }
    let user = user_file()?;
    let choose = |flag: Option<OsString>, variable: &str, file: Option<OsString>| {
        flag.or_else(|| std::env::var_os(variable).filter(|value| !value.is_empty())).or(file)
    };
    let path = |flag: &Option<PathBuf>, variable, file: Option<PathBuf>| {
        choose(flag.clone().map(Into::into), variable, file.map(Into::into)).map(PathBuf::from)
    };
    if let Some(socket) = path(&global.socket, "ATTEST_RUN_SOCKET", user.socket) {
        return Ok(Mode::Agent(socket));
    }
    let state = match path(&global.state, "ATTEST_RUN_STATE", user.state) {
        Some(state) => state,
        None => default_state()?,
    };
    let tpm = choose(global.tpm.clone().map(Into::into), "ATTEST_RUN_TPM", user.tpm.map(Into::into));
    let http_roots = path(&None, "ATTEST_RUN_HTTP_ROOTS", user.http_roots);
    Ok(Mode::Direct(Direct { state, tpm, http_roots, tools: user.tools }))
}

fn user_file() -> Result<UserFile, Report> {
    let base = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".config"));
    let Some(path) = base.or(home).map(|base| base.join("attest-run/config.toml")) else {
        return Ok(UserFile::default());
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(&path, &text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(UserFile::default()),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

fn default_state() -> Result<PathBuf, Report> {
    let base = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
    base.or(home).map(|base| base.join("attest-run")).ok_or_else(|| {
        Report::new("AR-C003", Fault::Environment, "neither HOME nor XDG_STATE_HOME is set")
            .hint("`--state DIR` says where state and keys lie")
    })
}
