//! Where a broker lives.

use super::Global;
use crate::audit::{Entry, Kind};
use crate::broker::{Broker, Settings};
use crate::keys::{BrokerKeys, RootKey};
use crate::store::{Store, StoreError};
use attest_evidence::report::{Explain as _, Fault, Report};
use attest_evidence::time::{Clock as _, SystemClock};
use serde::Serialize;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The state directory of a broker.
pub(super) struct State {
    directory: PathBuf,
    root_key: PathBuf,
}

impl State {
    pub(super) fn of(global: &Global) -> Result<Self, Report> {
        let directory = match &global.state {
            Some(directory) => directory.clone(),
            None => default_directory()?,
        };
        let credential = std::env::var_os("CREDENTIALS_DIRECTORY").map(|path| Path::new(&path).join("root-key"));
        let root_key = match (&global.root_key, credential.filter(|path| path.exists())) {
            (Some(path), _) => path.clone(),
            (None, Some(path)) => path,
            (None, None) => directory.join("root.key"),
        };
        Ok(Self { directory, root_key })
    }

    pub(super) fn database(&self) -> PathBuf {
        self.directory.join("broker.db")
    }

    pub(super) fn exists(&self) -> bool {
        self.database().exists()
    }

    /// Makes the directory, the root key unless there is one, the database and the broker's keys, and applies
    /// the policy for development.
    pub(super) async fn init(&self) -> Result<(), Report> {
        let cannot = |what: &Path, error: std::io::Error| {
            Report::new("AR-B002", Fault::Environment, format!("can't make {}: {error}", what.display()))
                .hint("`--state DIR` chooses another directory")
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
            .map_err(|error| cannot(&self.directory, error))?;
        self.check_private()?;
        if !self.root_key.exists() {
            let text = RootKey::generate().map_err(|error| error.report())?.to_text();
            let mut file = fs::File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&self.root_key)
                .map_err(|error| cannot(&self.root_key, error))?;
            text.expose(|text| file.write_all(text))
                .and_then(|()| file.sync_all())
                .map_err(|error| cannot(&self.root_key, error))?;
        }
        let root = RootKey::read(&self.root_key).map_err(|error| error.report())?;
        let now = SystemClock.now();
        Broker::init(&self.database(), &root, now).await.map_err(|error| error.report())?;
        let store = self.store().await?;
        super::policy::apply_development(&store).await?;
        Ok(())
    }

    pub(super) async fn store(&self) -> Result<Store, Report> {
        self.check()?;
        Store::open(&self.database(), false).await.map_err(|error| error.report())
    }

    /// It is there, and nobody else's.
    fn check(&self) -> Result<(), Report> {
        if !self.exists() {
            let what = format!("there is no broker in {}", self.directory.display());
            return Err(Report::new("AR-B003", Fault::Environment, what)
                .hint("`attest-broker init` makes one; `--state DIR` chooses another directory"));
        }
        self.check_private()
    }

    /// Others must not look into the directory: root key and database lie there.
    fn check_private(&self) -> Result<(), Report> {
        use std::os::unix::fs::PermissionsExt as _;
        let metadata = fs::metadata(&self.directory).map_err(|error| {
            Report::new("AR-B002", Fault::Environment, format!("can't look at {}: {error}", self.directory.display()))
        })?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 == 0 {
            return Ok(());
        }
        let what = format!("{} may be read by others: its mode is {mode:o}", self.directory.display());
        Err(Report::new("AR-B011", Fault::Environment, what)
            .hint(format!("chmod 700 {}; with systemd: StateDirectoryMode=0700", self.directory.display())))
    }

    /// The broker's keys.
    pub(super) async fn keys(&self, store: &Store) -> Result<BrokerKeys, Report> {
        let root = RootKey::read(&self.root_key).map_err(|error| error.report())?;
        let stored = store.broker_keys().await.map_err(|error| error.report())?;
        let stored = stored.ok_or_else(|| StoreError::Row("broker").report())?;
        BrokerKeys::open(root, stored).map_err(|error| error.report())
    }

    pub(super) async fn broker(&self, settings: Settings) -> Result<Broker, Report> {
        self.check()?;
        let root = RootKey::read(&self.root_key).map_err(|error| error.report())?;
        Broker::open(&self.database(), root, settings, Arc::new(SystemClock)).await.map_err(|error| error.report())
    }
}

fn default_directory() -> Result<PathBuf, Report> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/attest-broker"));
    }
    let base = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
    base.or(home).map(|base| base.join("attest-broker")).ok_or_else(|| {
        Report::new("AR-B004", Fault::Environment, "neither HOME nor XDG_STATE_HOME is set")
            .hint("`--state DIR` says where the broker's state lies")
    })
}

/// The same for what the policy in force lets this admin do.
pub(super) async fn admin_act(store: &Store, what: &str, about: &impl Serialize) -> Result<Entry, Report> {
    let version = store.policy_version().await.map_err(|error| error.report())?;
    let by = super::who::admin();
    if let Some(row) = store.policy(version).await.map_err(|error| error.report())?
        && !crate::policy::administers(&row.text, &by, what)
    {
        let refused = format!("the policy in force does not let `{by}` do this: {what}");
        return Err(Report::new("AR-P116", Fault::Refused, refused)
            .fact("policy version", version)
            .hint("its rules about `administer` say who may: `attest-broker policy show`"));
    }
    admin_entry(what, about)
}

/// An audit entry about something that an admin does, with the user who does it.
pub(super) fn admin_entry(what: &str, about: &impl Serialize) -> Result<Entry, Report> {
    let body = serde_json::json!({ "what": what, "by": super::who::admin(), "about": about });
    Entry::new(SystemClock.now(), Kind::Admin, &body).map_err(|error| error.report())
}
