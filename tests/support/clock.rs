//! A wall clock that a test may set, for one process: libfaketime in front of the C library. Clocks that count from the
//! boot are left as they are, as they are by somebody who sets the time of a machine.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A wall clock.
#[derive(Debug, Clone)]
pub(crate) struct WallClock(PathBuf);

impl WallClock {
    /// A clock that is right, with its setting in `folder`.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        let clock = Self(folder.join("wall-clock"));
        clock.set(0);
        clock
    }

    /// Sets it so many seconds forward, or, if negative, back, from what is right.
    pub(crate) fn set(&self, seconds: i64) {
        let next = self.0.with_extension("next");
        std::fs::write(&next, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(next, &self.0).unwrap();
    }

    /// Gives it to a process.
    pub(crate) fn give(&self, command: &mut Command) {
        let library = Path::new("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1");
        assert!(library.exists(), "libfaketime is not installed: `make test-packages`");
        command
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.0)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
    }
}
