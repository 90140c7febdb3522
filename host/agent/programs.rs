//! The programs that an agent consists of, by their digests.
//!
//! Reading them takes some twenty milliseconds of every run in direct mode: what was read is remembered there, with what the
//! kernel says of the file. Only the embedded TPM's boot is made of it, which proves no more than the agent says.

use crate::measure::{self, MeasureError};
use crate::state::State;
use attest_evidence::Sha256Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const FILE: &str = "programs.json";
/// A file that was changed this short a time ago may change again and show the same time: clocks of file systems are coarse.
const SETTLED: Duration = Duration::from_secs(2);

/// What tells one state of a file from another, without reading it: the file, its length and its change time, which nobody
/// sets but the kernel, by its clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileState {
    device: u64,
    inode: u64,
    bytes: u64,
    changed_s: i64,
    changed_ns: i64,
}

impl FileState {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let file = std::fs::metadata(path)?;
        let (changed_s, changed_ns) = (file.ctime(), file.ctime_nsec());
        Ok(Self { device: file.dev(), inode: file.ino(), bytes: file.len(), changed_s, changed_ns })
    }

    /// Whether a change from now on would show.
    fn is_settled(&self) -> bool {
        let changed = u64::try_from(self.changed_s).unwrap_or(0);
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(changed);
        since.elapsed().is_ok_and(|since| since > SETTLED)
    }
}

impl std::fmt::Display for FileState {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { device, inode, bytes, changed_s, changed_ns } = self;
        write!(out, "{device}\n{inode}\n{bytes}\n{changed_s}\n{changed_ns}")
    }
}

/// A program that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    state: FileState,
    sha256: Sha256Digest,
}

/// The digest of each program, in the order of their names. Those that are as they were when they were read are not read again.
pub(crate) async fn digests(
    state: &State,
    programs: &BTreeMap<&'static str, PathBuf>,
) -> Result<Vec<(&'static str, Sha256Digest)>, MeasureError> {
    // What was remembered and is damaged is made anew.
    let known: BTreeMap<String, Known> = state.read(FILE).ok().flatten().unwrap_or_default();
    // All at once: each takes some ten milliseconds.
    let reading: Vec<_> = programs
        .iter()
        .map(|(name, path)| {
            let (known, path) = (known.get(*name).cloned(), path.clone());
            (*name, tokio::task::spawn_blocking(move || read(&path, known)))
        })
        .collect();
    let mut read = BTreeMap::new();
    for (name, program) in reading {
        let stopped = |_| MeasureError { path: name.into(), reason: "stopped".to_owned() };
        read.insert(name, program.await.map_err(stopped)??);
    }
    let remembered: BTreeMap<String, Known> = read
        .iter()
        .filter(|(_, read)| read.state.is_settled())
        .map(|(name, read)| ((*name).to_owned(), read.clone()))
        .collect();
    if remembered != known
        && let Err(error) = state.write(FILE, &remembered)
    {
        tracing::warn!(%error, "the digests of programs are not remembered");
    }
    Ok(read.into_iter().map(|(name, read)| (name, read.sha256)).collect())
}

fn read(path: &Path, known: Option<Known>) -> Result<Known, MeasureError> {
    let state =
        FileState::of(path).map_err(|error| MeasureError { path: path.to_owned(), reason: error.to_string() })?;
    match known {
        Some(known) if known.state == state => Ok(known),
        _ => Ok(Known { state, sha256: measure::digest_of(path)? }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[tokio::test]
    async fn a_program_is_read_again_when_it_is_another() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let state = State::open(folder.path()).unwrap();
        let path = folder.path().join("program");
        let programs = BTreeMap::from([("program", path.clone())]);
        std::fs::write(&path, "first").unwrap();
        let digest = async || digests(&state, &programs).await.unwrap()[0].1;
        assert_eq!(digest().await, Sha256Digest::of(b"first"));
        // It was written just now: its next change might not show. It is not remembered.
        assert_eq!(state.read::<BTreeMap<String, Known>>(FILE).unwrap(), None);

        tokio::time::sleep(SETTLED + Duration::from_secs(1)).await;
        assert_eq!(digest().await, Sha256Digest::of(b"first"));
        let mut remembered: BTreeMap<String, Known> = state.read(FILE).unwrap().unwrap();
        // What is remembered is what is told: it shows by another digest.
        remembered.get_mut("program").unwrap().sha256 = Sha256Digest::of(b"remembered");
        state.write(FILE, &remembered).unwrap();
        assert_eq!(digest().await, Sha256Digest::of(b"remembered"));

        // Of the same length.
        std::fs::write(&path, "other").unwrap();
        assert_eq!(digest().await, Sha256Digest::of(b"other"));
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(digest().await, Sha256Digest::of(b"other"));
    }
}
