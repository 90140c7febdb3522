//! Looks for secrets in what a step wrote into its directories.

use crate::process::Process;
use crate::step::StepError;
use attest_evidence::SecretBytes;
use attest_evidence::exchange::Ledger;
use attest_evidence::name::{DirectoryName, SecretName};
use attest_spawner::{Spawner, User};
use attest_wire::Revealed;
use attest_wire::search::{FromSearcher, Search};
use attest_wire::spawner::Spawn;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The longest that a search may take: some hundred GiB at the speed of a disk.
pub(crate) const LONGEST: Duration = Duration::from_secs(600);
/// The same for a step that has failed, or may hold nothing any more: its lease is not kept open for it.
pub(crate) const LONGEST_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How far the clocks may drift apart before it is taken that somebody set the one: as far as they are adjusted.
const LARGEST_DRIFT: i64 = 1;
/// Seconds before the step from which on files are looked at: file systems that stamp whole seconds, and the drift.
const MARGIN: i64 = 4;
/// File systems that stamp with this machine's clock, by seconds at least (`linux/magic.h`): ext2 to 4, XFS, Btrfs, F2FS,
/// tmpfs, overlayfs, ZFS, bcachefs. Any other may be a server's, whose clock is its own: all of it is searched.
const OUR_CLOCK: [i64; 8] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994, 0x794c_7630, 0x2fc1_2fc1, 0xca45_1a4e];

/// The moment before a step began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// By the clock that files are stamped with.
    wall: (i64, u32),
    /// By one that nobody sets.
    boot: i64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        use rustix::time::{ClockId, clock_gettime};
        let wall = clock_gettime(ClockId::RealtimeCoarse);
        let boot = clock_gettime(ClockId::Boottime);
        Self { wall: (wall.tv_sec, u32::try_from(wall.tv_nsec).unwrap_or(0)), boot: boot.tv_sec }
    }

    /// The stamp that files have at least that were changed since. None if somebody has set the clock meanwhile.
    fn stamp(self) -> Option<(i64, u32)> {
        let now = Self::now();
        let drift = (now.wall.0 - self.wall.0) - (now.boot - self.boot);
        (drift.abs() <= LARGEST_DRIFT).then_some((self.wall.0 - MARGIN, self.wall.1))
    }
}

/// Something that looks like a secret, in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Undeclared {
    pub(crate) pattern: String,
    pub(crate) place: String,
}

/// What is searched.
pub(crate) struct Searched<'a> {
    pub(crate) spawner: &'a Spawner,
    pub(crate) files_of: User,
    /// The directories that the step could write to.
    pub(crate) directories: Vec<(DirectoryName, BorrowedFd<'a>)>,
    pub(crate) since: Moment,
}

impl Searched<'_> {
    /// Searches, with a process of its own. A secret that was found is an error, and so is what can't be searched.
    ///
    /// It takes `longest` at most.
    pub(crate) async fn search(
        self,
        secrets: Vec<(SecretName, SecretBytes)>,
        longest: Duration,
    ) -> Result<Vec<Undeclared>, StepError> {
        let not_searched = |reason: String| StepError::NotSearched(reason);
        let User { uid, gid } = self.files_of;
        let started = self
            .spawner
            .spawn(Spawn::Searcher { file_uid: uid, file_gid: gid })
            .map_err(|error| not_searched(error.to_string()))?;
        let secrets = secrets.into_iter().map(|(name, value)| (name, Revealed::new(value))).collect();
        let ours = |(_, directory): &(_, BorrowedFd<'_>)| {
            rustix::fs::fstatfs(directory).is_ok_and(|system| OUR_CLOCK.contains(&system.f_type))
        };
        let since = self.since.stamp().filter(|_| self.directories.iter().all(ours));
        let search = Search { secrets, since };
        let descriptors: Vec<BorrowedFd<'_>> = self.directories.iter().map(|(_, directory)| *directory).collect();
        let mut process = Process::<FromSearcher>::begin(started, &search, &descriptors)
            .map_err(|error| not_searched(error.to_string()))?;
        drop(search);
        let heard = tokio::time::timeout(longest, self.hear(&mut process)).await;
        process.end().await;
        heard.unwrap_or_else(|_| Err(not_searched(format!("it took more than {} s", longest.as_secs()))))
    }

    async fn hear(&self, process: &mut Process<FromSearcher>) -> Result<Vec<Undeclared>, StepError> {
        let mut undeclared = Vec::new();
        let name = |number: usize| {
            let directory = self.directories.get(number).map(|(name, _)| name.clone());
            directory.ok_or_else(|| StepError::NotSearched("a directory was found that was not given".to_owned()))
        };
        loop {
            match process.hear().await {
                Ok(FromSearcher::Undeclared { pattern, directory, path, line }) => {
                    let place = format!("dirs.{} {path}:{line}", name(directory)?);
                    // A searcher keeps to this bound, an intruder in it does not.
                    if undeclared.len() < Ledger::MOST_FINDINGS {
                        undeclared.push(Undeclared { pattern, place });
                    }
                }
                Ok(FromSearcher::Secret { secret, directory, path, encoding }) => {
                    return Err(StepError::InFile { secret, directory: name(directory)?, path, encoding });
                }
                Ok(FromSearcher::Done { files, bytes }) => {
                    tracing::debug!(files, bytes, "searched what a step wrote");
                    return Ok(undeclared);
                }
                Ok(FromSearcher::NotSearched { reason }) => return Err(StepError::NotSearched(reason)),
                Err(death) => return Err(StepError::NotSearched(death.to_string())),
            }
        }
    }
}

/// Directories of which a step could have written to, with descriptors of their own.
pub(crate) fn lend(directories: &[(DirectoryName, OwnedFd)]) -> Vec<(DirectoryName, BorrowedFd<'_>)> {
    directories.iter().map(|(name, directory)| (name.clone(), directory.as_fd())).collect()
}
