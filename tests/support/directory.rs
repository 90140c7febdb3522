//! Directories of tests.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The longest that a process may still write after its test: a TPM's helper shuts down by itself.
const LONGEST: Duration = Duration::from_secs(2);

/// A directory that is gone with its test.
pub(crate) struct Directory(tempfile::TempDir);

/// A directory that other users may pass through.
pub(crate) fn directory() -> Directory {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::Builder::new().prefix("attest-test-").tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    Directory(directory)
}

impl Directory {
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The directory's path. Whoever keeps it removes it.
    pub(crate) fn keep(self) -> PathBuf {
        let path = self.path().to_owned();
        std::mem::forget(self);
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is written while it is removed keeps it from being removed.
        let deadline = Instant::now() + LONGEST;
        while std::fs::remove_dir_all(self.path()).is_err() && self.path().exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
