//! What an agent is configured with: by an admin, in `/etc/attest-run/config.toml`, or by what it finds on its machine.

use crate::boot::{firmware_log, read_event_log};
use crate::measured::MeasurementList;
use attest_evidence::report::{Fault, Report};
use attest_step::parse_toml;
use attest_tpm::Transport;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The admin's directory.
pub const ADMIN: &str = "/etc/attest-run";
/// The kernel's TPM resource manager.
const DEVICE: &str = "/dev/tpmrm0";

/// The admin's file, `/etc/attest-run/config.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminFile {
    /// The agent of this machine.
    #[serde(default)]
    pub agent: AgentSection,
}

/// Its section `agent`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentSection {
    /// Where clients reach it.
    pub socket: PathBuf,
    /// Where its state lies.
    pub state: PathBuf,
    /// Where its TPM is.
    pub tpm: String,
    /// The firmware's event log, if it is not where the kernel puts it.
    pub event_log: Option<PathBuf>,
    /// What the kernel measures, if it is not where the kernel puts it.
    pub measurements: Option<PathBuf>,
    /// Its own user, taken when it is started as root.
    pub user: String,
    /// The user that steps run as.
    pub worker_user: String,
    /// The user that their requests are sent by.
    pub egress_user: String,
    /// Certificates of servers' roots beside those of the system, PEM: of a registry of the company's own.
    pub http_roots: Option<PathBuf>,
    /// Programs that builds use, compilers and the like: the statement about the environment has their digests.
    pub tools: Vec<PathBuf>,
    /// Users who may make, delete and use keys by hand, and enrol; root always may.
    pub admins: Vec<String>,
}

impl Default for AgentSection {
    fn default() -> Self {
        Self {
            socket: "/run/attest-run/agent.sock".into(),
            state: "/var/lib/attest-run".into(),
            tpm: format!("device:{DEVICE}"),
            event_log: None,
            measurements: None,
            user: "attest-run".to_owned(),
            worker_user: "attest-worker".to_owned(),
            egress_user: "attest-egress".to_owned(),
            http_roots: None,
            tools: Vec::new(),
            admins: Vec::new(),
        }
    }
}

/// The admin's configuration, if there is one.
///
/// # Errors
/// One that can't be read or understood.
pub fn admin_file() -> Result<Option<AdminFile>, Report> {
    if !Path::new(ADMIN).exists() {
        return Ok(None);
    }
    let path = Path::new(ADMIN).join("config.toml");
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(&path, &text).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => parse(&path, "").map(Some),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

/// The TPM that `text` names; where none is named the kernel's, and where there is none one in software, in `state`.
///
/// # Errors
/// A text that names none.
pub fn transport(text: Option<&str>, state: &Path) -> Result<Transport, Report> {
    match text {
        Some(text) => text
            .parse()
            .map_err(|error: attest_tpm::TransportError| Report::new("AR-C002", Fault::Usage, error.to_string())),
        None if Path::new(DEVICE).exists() => Ok(Transport::Device(DEVICE.into())),
        None => Ok(Transport::Embedded(attest_tpm::Embedded::new(state.join("tpm")))),
    }
}

/// What machine and kernel write down about themselves: where the kernel puts it, or where an admin says.
///
/// # Errors
/// A file that an admin has named and that can't be read.
pub fn logs(
    tpm: &Transport,
    event_log: Option<&Path>,
    measurements: Option<&Path>,
) -> Result<(Option<Vec<u8>>, Option<MeasurementList>), Report> {
    let event_log = match event_log {
        Some(path) => read_event_log(path).map_err(|error| unreadable(path, &error)).map(Some)?,
        None => firmware_log(tpm),
    };
    let measurements = match measurements {
        Some(path) => Some(MeasurementList::open(path).map_err(|error| unreadable(path, &error))?),
        None => MeasurementList::of_kernel(tpm),
    };
    Ok((event_log, measurements))
}

/// Certificates of servers' roots that an admin or a user adds: PEM, looked at by those who use them.
///
/// # Errors
/// A file that can't be read.
pub fn roots(path: Option<&Path>) -> Result<String, Report> {
    path.map_or(Ok(String::new()), |path| std::fs::read_to_string(path).map_err(|error| unreadable(path, &error)))
}

/// Reads a configuration.
///
/// # Errors
/// What is wrong with it, with its file.
pub fn parse<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T, Report> {
    parse_toml(text).map_err(|error| {
        let report = Report::new("AR-C004", Fault::Environment, format!("{}: {error}", path.display()));
        match error.meant {
            Some(meant) => report.hint(format!("was `{meant}` meant?")),
            None => report,
        }
    })
}

/// A file that can't be read.
pub fn unreadable(path: &Path, error: &std::io::Error) -> Report {
    Report::new("AR-C005", Fault::Environment, format!("can't read {}: {error}", path.display()))
}
