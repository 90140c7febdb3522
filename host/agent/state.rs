//! What an agent remembers: its enrolment and its keys. One directory, for its user alone.

use crate::agent::EMBEDDED;
use attest_evidence::SecretBytes;
use attest_evidence::digest::base64;
use attest_evidence::exchange::Isolation;
use attest_evidence::name::{BrokerId, RunnerName};
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::tpm::TpmName;
use attest_tpm::Credentials;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use zeroize::Zeroizing;

/// Most bytes of one file: all are small documents.
const LONGEST_FILE: u64 = 1024 * 1024;
const ENROLMENT: &str = "enrolment.json";

/// The state directory of an agent.
#[derive(Debug)]
pub struct State {
    directory: Dir,
    path: PathBuf,
    /// Counts writes, so that no two have the same temporary file.
    writes: AtomicU64,
}

/// Who this runner is, and whom it believes.
#[derive(Debug)]
pub struct Enrolment {
    /// The name that the broker's admin gave it.
    pub runner: RunnerName,
    /// The isolation that was approved.
    pub isolation: Isolation,
    /// Where the broker is. `embedded` for a broker that runs with this agent.
    pub broker_url: String,
    /// Which broker.
    pub broker: BrokerId,
    /// Its TLS root, PEM.
    pub tls_root: String,
    /// Its grant key, DER `SubjectPublicKeyInfo`.
    pub grant_key: Vec<u8>,
    /// The attestation key.
    pub credentials: Credentials,
    /// `TPMT_PUBLIC` of the attestation key.
    pub ak: Vec<u8>,
    /// The broker's certificate for it, PEM.
    pub ak_certificate: String,
}

impl Enrolment {
    /// Whether it is with the broker that runs with this agent.
    pub fn is_embedded(&self) -> bool {
        self.broker_url == EMBEDDED
    }
}

/// The form of the file.
#[derive(Serialize, Deserialize, zeroize::ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct EnrolmentFile {
    #[zeroize(skip)]
    runner: RunnerName,
    #[zeroize(skip)]
    isolation: Isolation,
    broker_url: String,
    #[zeroize(skip)]
    broker: BrokerId,
    tls_root: String,
    #[serde(with = "base64")]
    grant_key: Vec<u8>,
    ak_handle: u32,
    #[zeroize(skip)]
    ak_name: TpmName,
    #[zeroize(skip)]
    ek_name: TpmName,
    #[serde(with = "base64")]
    ak_auth: Vec<u8>,
    #[serde(with = "base64")]
    ak: Vec<u8>,
    ak_certificate: String,
}

/// The state can't be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The directory or a file in it can't be reached.
    #[error("can't {what} {}: {reason}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A file is there but not what was written: empty, truncated, changed.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What shows it.
        reason: String,
    },
    /// Others may look into the directory.
    #[error("{} may be read by others: its mode is {mode:o}", path.display())]
    NotPrivate {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

impl State {
    /// Opens the directory, and makes it if it is not there.
    ///
    /// # Errors
    /// It can't be opened or made, or others may look into it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let failed =
            |error: io::Error| StateError::Io { what: "open", path: path.to_owned(), reason: error.to_string() };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let directory = Dir::open_ambient_dir(path, ambient_authority()).map_err(failed)?;
        let mode = {
            use cap_std::fs::MetadataExt as _;
            directory.dir_metadata().map_err(failed)?.mode() & 0o777
        };
        if mode & 0o077 != 0 {
            return Err(StateError::NotPrivate { path: path.to_owned(), mode });
        }
        Ok(Self { directory, path: path.to_owned(), writes: AtomicU64::new(0) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The enrolment, if there is one.
    ///
    /// # Errors
    /// [`StateError::Damaged`] if the file is there and is not what was written: never taken for absent.
    pub fn enrolment(&self) -> Result<Option<Enrolment>, StateError> {
        let Some(file) = self.read::<EnrolmentFile>(ENROLMENT)? else { return Ok(None) };
        let enrolment = Enrolment {
            runner: file.runner.clone(),
            isolation: file.isolation,
            broker_url: file.broker_url.clone(),
            broker: file.broker.clone(),
            tls_root: file.tls_root.clone(),
            grant_key: file.grant_key.clone(),
            credentials: Credentials {
                handle: file.ak_handle,
                name: file.ak_name.clone(),
                ek: file.ek_name.clone(),
                auth: SecretBytes::new(file.ak_auth.clone()),
            },
            ak: file.ak.clone(),
            ak_certificate: file.ak_certificate.clone(),
        };
        Ok(Some(enrolment))
    }

    /// Remembers an enrolment.
    ///
    /// # Errors
    /// What the operating system reports; what was there before is there still.
    pub fn set_enrolment(&self, enrolment: &Enrolment) -> Result<(), StateError> {
        let file = EnrolmentFile {
            runner: enrolment.runner.clone(),
            isolation: enrolment.isolation,
            broker_url: enrolment.broker_url.clone(),
            broker: enrolment.broker.clone(),
            tls_root: enrolment.tls_root.clone(),
            grant_key: enrolment.grant_key.clone(),
            ak_handle: enrolment.credentials.handle,
            ak_name: enrolment.credentials.name.clone(),
            ek_name: enrolment.credentials.ek.clone(),
            ak_auth: enrolment.credentials.auth.expose(<[u8]>::to_vec),
            ak: enrolment.ak.clone(),
            ak_certificate: enrolment.ak_certificate.clone(),
        };
        self.write(ENROLMENT, &file)
    }

    /// The document in a file; `None` if there is no such file.
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StateError> {
        let path = self.path.join(name);
        let failed = |error: io::Error| StateError::Io { what: "read", path: path.clone(), reason: error.to_string() };
        let file = match self.directory.open(name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut contents = Zeroizing::new(Vec::with_capacity(16 * 1024));
        file.take(LONGEST_FILE).read_to_end(&mut contents).map_err(failed)?;
        let damaged = |reason: String| StateError::Damaged { path: path.clone(), reason };
        if contents.is_empty() {
            return Err(damaged("it is empty".to_owned()));
        }
        serde_json::from_slice(&contents).map(Some).map_err(|error| damaged(error.to_string()))
    }

    /// Writes a document so that the file holds the old one or the new one: temporary file, sync, rename.
    pub(crate) fn write(&self, name: &str, document: &impl Serialize) -> Result<(), StateError> {
        let path = self.path.join(name);
        let failed = |error: io::Error| StateError::Io { what: "write", path: path.clone(), reason: error.to_string() };
        let contents = Zeroizing::new(serde_json::to_vec_pretty(document).map_err(|error| failed(error.into()))?);
        if let Some(parent) = Path::new(name).parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.directory.create_dir_all(parent).map_err(failed)?;
        }
        let temporary = format!("{name}.{}.new", self.writes.fetch_add(1, Ordering::Relaxed));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = self.directory.open_with(&temporary, &options).map_err(failed)?;
        file.write_all(&contents).and_then(|()| file.sync_all()).map_err(failed)?;
        self.directory.rename(&temporary, &self.directory, name).map_err(failed)?;
        // The name is on the disk when the directory is.
        let parent = Path::new(name).parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = self.directory.open(parent.unwrap_or_else(|| Path::new("."))).map_err(failed)?;
        folder.sync_all().map_err(failed)
    }

    /// Removes a file. `false` if there is none.
    pub(crate) fn remove(&self, name: &str) -> Result<bool, StateError> {
        match self.directory.remove_file(name) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StateError::Io { what: "remove", path: self.path.join(name), reason: error.to_string() }),
        }
    }

    /// Names of the files in a directory below this one; none if it is not there.
    pub(crate) fn list(&self, directory: &str) -> Result<Vec<String>, StateError> {
        let failed = |error: io::Error| StateError::Io {
            what: "read",
            path: self.path.join(directory),
            reason: error.to_string(),
        };
        let entries = match self.directory.read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = entries
            .map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<Vec<_>, StateError>>()?;
        names.sort();
        Ok(names)
    }
}

impl Explain for StateError {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Environment, self.to_string());
        match self {
            Self::Io { .. } => report("AR-C201"),
            Self::Damaged { path, .. } => report("AR-C202").hint(format!(
                "restore {} from a copy. For an enrolment: delete it and enroll again with a new token",
                path.display()
            )),
            Self::NotPrivate { path, .. } => report("AR-C203").hint(format!("chmod 700 {}", path.display())),
        }
    }
}
