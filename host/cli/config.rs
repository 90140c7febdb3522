//! Where the TPM, the agent and the state are: decided here, once.
//!
//! Where `/etc/attest-run` exists an admin has decided, and neither flags nor the environment nor a file of the
//! user change anything. Elsewhere: flag, then `ATTEST_RUN_*`, then the user's file, then the default.

use crate::Global;
use attest_agent::{MeasurementList, Programs, Settings};
use attest_evidence::exchange::Isolation;
use attest_evidence::report::{Fault, Report};
use attest_step::parse_toml;
use attest_tpm::{Embedded, Transport};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The admin's directory.
pub(crate) const ADMIN: &str = "/etc/attest-run";
/// The kernel's TPM resource manager.
const DEVICE: &str = "/dev/tpmrm0";

/// The admin's file, `/etc/attest-run/config.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdminFile {
    /// The agent of this machine.
    #[serde(default)]
    pub(crate) agent: AgentSection,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AgentSection {
    /// Where clients reach it.
    pub(crate) socket: PathBuf,
    /// Where its state lies.
    pub(crate) state: PathBuf,
    /// Where its TPM is.
    pub(crate) tpm: String,
    /// The firmware's event log, if it is not where the kernel puts it.
    pub(crate) event_log: Option<PathBuf>,
    /// What the kernel measures, if it is not where the kernel puts it.
    pub(crate) measurements: Option<PathBuf>,
    /// Its own user, taken when it is started as root.
    pub(crate) user: String,
    /// The user that steps run as.
    pub(crate) worker_user: String,
    /// The user that their requests are sent by.
    pub(crate) egress_user: String,
    /// Certificates of servers' roots beside those of the system, PEM: of a registry of the company's own.
    pub(crate) http_roots: Option<PathBuf>,
    /// Users who may make, delete and use keys by hand, and enrol; root always may.
    pub(crate) admins: Vec<String>,
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
            admins: Vec::new(),
        }
    }
}

/// The user's file, `~/.config/attest-run/config.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UserFile {
    socket: Option<PathBuf>,
    state: Option<PathBuf>,
    tpm: Option<String>,
    http_roots: Option<PathBuf>,
}

/// Who does the work.
#[derive(Debug)]
pub(crate) enum Mode {
    /// An agent, at this socket.
    Agent(PathBuf),
    /// This very process.
    Direct(Box<Settings>),
}

/// The admin's configuration, if there is one.
pub(crate) fn admin_file() -> Result<Option<AdminFile>, Report> {
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
    let tpm = match tpm.map(|tpm| tpm.to_string_lossy().into_owned()) {
        Some(text) => transport(&text)?,
        None if Path::new(DEVICE).exists() => Transport::Device(DEVICE.into()),
        None => Transport::Embedded(Embedded::new(state.join("tpm"))),
    };
    let (event_log, measurements) = logs(&tpm, None, None)?;
    let http_roots = roots(path(&None, "ATTEST_RUN_HTTP_ROOTS", user.http_roots).as_deref())?;
    Ok(Mode::Direct(Box::new(Settings {
        state,
        event_log,
        measurements,
        tpm,
        isolation: Isolation::Direct,
        programs: programs(),
        http_roots,
        worker: spawned().worker,
        embedded_broker: Some(beside("attest-broker")),
        broker_at_once: false,
    })))
}

/// A transport from its text.
pub(crate) fn transport(text: &str) -> Result<Transport, Report> {
    text.parse().map_err(|error: attest_tpm::TransportError| Report::new("AR-C002", Fault::Usage, error.to_string()))
}

/// What machine and kernel write down about themselves: where the kernel puts it, or where an admin says.
pub(crate) fn logs(
    tpm: &Transport,
    event_log: Option<&Path>,
    measurements: Option<&Path>,
) -> Result<(Option<Vec<u8>>, Option<MeasurementList>), Report> {
    let event_log = match event_log {
        Some(path) => attest_agent::read_event_log(path).map_err(|error| unreadable(path, &error)).map(Some)?,
        None => attest_agent::firmware_log(tpm),
    };
    let measurements = match measurements {
        Some(path) => Some(MeasurementList::open(path).map_err(|error| unreadable(path, &error))?),
        None => MeasurementList::of_kernel(tpm),
    };
    Ok((event_log, measurements))
}

/// Certificates of servers' roots that an admin or a user adds: PEM, looked at by those who use them.
pub(crate) fn roots(path: Option<&Path>) -> Result<String, Report> {
    path.map_or(Ok(String::new()), |path| std::fs::read_to_string(path).map_err(|error| unreadable(path, &error)))
}

/// The programs that make up the runner's side.
pub(crate) fn programs() -> BTreeMap<&'static str, PathBuf> {
    let Programs { worker, egress } = spawned();
    BTreeMap::from([("attest-run", own_path()), ("attest-worker", worker), ("attest-egress", egress)])
}

/// The programs that steps run in and send requests by.
pub(crate) fn spawned() -> Programs {
    Programs { worker: beside("attest-worker"), egress: beside("attest-egress") }
}

/// The program that lies beside this one.
pub(crate) fn beside(name: &str) -> PathBuf {
    own_path().with_file_name(name)
}

fn own_path() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"))
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

fn parse<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T, Report> {
    parse_toml(text).map_err(|error| {
        let report = Report::new("AR-C004", Fault::Environment, format!("{}: {error}", path.display()));
        match error.meant {
            Some(meant) => report.hint(format!("was `{meant}` meant?")),
            None => report,
        }
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Report {
    Report::new("AR-C005", Fault::Environment, format!("can't read {}: {error}", path.display()))
}
