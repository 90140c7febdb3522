//! The worker's program as a searcher: directories come, and what stands in their files is told.

use crate::fence::fence;
use attest_evidence::exchange::DirectoryMode;
use attest_evidence::name::SecretName;
use attest_leaks::{PatternScanner, Patterns, Scanner, Values};
use attest_walls::Walls;
use attest_wire::search::{FromSearcher, Search};
use attest_wire::{Channel, Revealed};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Statx, StatxAttributes, StatxFlags, openat, readlinkat, statx};
use std::ffi::CStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;

/// Most files and directories that are looked at: a workspace with all that a build leaves in it.
const MOST_ENTRIES: u64 = 2_000_000;
/// Most directories within directories: each is held open while what is in it is searched.
const DEEPEST: usize = 256;
/// Findings of patterns that are told; more are not looked at by anybody.
const MOST_FINDINGS: usize = 64;
/// Bytes read at once.
const CHUNK: usize = 256 * 1024;

/// Searches `descriptors`, behind `walls`.
pub fn search(channel: &Channel, search: Search, descriptors: Vec<OwnedFd>, walls: &Walls) -> ExitCode {
    let last = match run(channel, search, descriptors, walls) {
        Ok(last) | Err(Stop(last)) => last,
    };
    match channel.send(&last) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The search ends here, with this.
struct Stop(FromSearcher);

fn not_searched(reason: impl ToString) -> Stop {
    Stop(FromSearcher::NotSearched { reason: reason.to_string() })
}

fn run(channel: &Channel, search: Search, directories: Vec<OwnedFd>, walls: &Walls) -> Result<FromSearcher, Stop> {
    // While this process may still ask how many processors there are.
    let patterns = Patterns::new();
    patterns.compile();
    let readable = directories.iter().map(|directory| (directory.as_fd(), DirectoryMode::Read)).collect();
    walls.raise(&fence(readable)).map_err(not_searched)?;
    let (names, secrets): (Vec<SecretName>, Vec<_>) =
        search.secrets.into_iter().map(|(name, value)| (name, Revealed::into_secret(value))).unzip();
    let values = secrets.iter().map(|value| value.expose(|value| zeroize::Zeroizing::new(value.to_vec())));
    let values: Vec<_> = values.collect();
    let values = Values::new(values.iter().map(|value| ("", value.as_slice()))).map_err(not_searched)?;
    drop(secrets);
    let mut searcher = Searcher {
        channel,
        names,
        values: Arc::new(values),
        patterns,
        since: search.since,
        directory: 0,
        buffer: vec![0; CHUNK],
        entries: 0,
        findings: 0,
        files: 0,
        bytes: 0,
    };
    for (number, directory) in directories.into_iter().enumerate() {
        searcher.directory = number;
        searcher.enter_given(directory)?;
    }
    Ok(FromSearcher::Done { files: searcher.files, bytes: searcher.bytes })
}

struct Searcher<'a> {
    channel: &'a Channel,
    names: Vec<SecretName>,
    values: Arc<Values>,
    patterns: Arc<Patterns>,
    /// Since when what has changed is searched: by the clock of the file system that is searched. None: all is.
    since: Option<(i64, u32)>,
    directory: usize,
    buffer: Vec<u8>,
    entries: u64,
    findings: usize,
    files: u64,
    bytes: u64,
}

impl Searcher<'_> {
    /// Searches a directory that was given.
    fn enter_given(&mut self, directory: OwnedFd) -> Result<(), Stop> {
        // The descriptor itself may be one that nothing can be read from (`O_PATH`).
        match open(&directory, c".", OFlags::DIRECTORY) {
            Ok(listed) => self.enter(listed, "", 0),
            Err(rustix::io::Errno::ACCESS) if is_closed(&directory) => Ok(()),
            Err(error) => Err(not_searched(error)),
        }
    }

    /// Searches a directory and what is below it.
    fn enter(&mut self, directory: OwnedFd, path: &str, depth: usize) -> Result<(), Stop> {
        if depth > DEEPEST {
            return Err(not_searched(format!("directories more than {DEEPEST} deep: `{}`", shown(path))));
        }
        let failed = |error: rustix::io::Errno| not_searched(format!("`{}`: {error}", shown(path)));
        for entry in Dir::read_from(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.entries += 1;
            if self.entries > MOST_ENTRIES {
                return Err(not_searched(format!("more than {MOST_ENTRIES} files")));
            }
            let path = if path.is_empty() { lossy(name) } else { format!("{path}/{}", lossy(name)) };
            self.look_at(&directory, name, &path, depth)?;
        }
        Ok(())
    }

    fn look_at(&mut self, directory: &OwnedFd, name: &CStr, path: &str, depth: usize) -> Result<(), Stop> {
        let wanted = StatxFlags::TYPE | StatxFlags::CTIME;
        let stat = match statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, wanted) {
            Ok(stat) => stat,
            // Another process of the job removed it.
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(error) => return Err(not_searched(format!("`{}`: {error}", shown(path)))),
        };
        // Where something is mounted, a directory or a file, times are of another clock: all of it is searched.
        let since = self.since;
        if stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            self.since = None;
        }
        let result = self.look_into(directory, name, path, depth, &stat);
        self.since = since;
        result
    }

    fn look_into(
        &mut self,
        directory: &OwnedFd,
        name: &CStr,
        path: &str,
        depth: usize,
        stat: &Statx,
    ) -> Result<(), Stop> {
        let changed = self.changed(stat);
        if changed && let Some(hit) = self.values.find(name.to_bytes()) {
            // The name itself is not told.
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            return Err(self.secret(hit.value, hit.encoding.name(), &format!("{parent}/(the name of a file)")));
        }
        match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::Directory => match open(directory, name, OFlags::DIRECTORY) {
                Ok(below) => self.enter(below, path, depth + 1),
                Err(rustix::io::Errno::ACCESS) => match open(directory, name, OFlags::PATH | OFlags::DIRECTORY) {
                    Ok(below) if is_closed(&below) => Ok(()),
                    _ => Err(not_searched(format!("`{}`: it can't be listed", shown(path)))),
                },
                Err(error) => skip_or_stop(error, changed, path),
            },
            FileType::RegularFile if changed => match open(directory, name, OFlags::NONBLOCK) {
                Ok(file) => self.file(File::from(file), path),
                Err(error) => skip_or_stop(error, changed, path),
            },
            FileType::Symlink if changed => match readlinkat(directory, name, Vec::new()) {
                Ok(target) => self.text(target.to_bytes(), path),
                Err(error) => skip_or_stop(error, changed, path),
            },
            _ => Ok(()),
        }
    }

    /// Whether the inode changed since the step began. A program can set a file's times, but not this one.
    fn changed(&self, stat: &Statx) -> bool {
        let Some(since) = self.since else { return true };
        (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec) >= since
    }

    fn text(&mut self, text: &[u8], path: &str) -> Result<(), Stop> {
        match self.values.find(text) {
            Some(hit) => Err(self.secret(hit.value, hit.encoding.name(), path)),
            None => Ok(()),
        }
    }

    fn secret(&self, value: usize, encoding: &str, path: &str) -> Stop {
        let Some(secret) = self.names.get(value).cloned() else { return not_searched("a value has no name") };
        let path = shown(path);
        Stop(FromSearcher::Secret { secret, directory: self.directory, path, encoding: encoding.to_owned() })
    }

    fn file(&mut self, mut file: File, path: &str) -> Result<(), Stop> {
        // It may be another one than was looked at.
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Ok(());
        }
        self.files += 1;
        let mut scanner = Scanner::new(Arc::clone(&self.values));
        let mut patterns = PatternScanner::new(Arc::clone(&self.patterns));
        let mut found = Vec::new();
        loop {
            let count = match file.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => return Err(not_searched(format!("`{}`: {error}", shown(path)))),
            };
            self.bytes += count as u64;
            let chunk = self.buffer.get(..count).unwrap_or_default();
            if let Some(hit) = scanner.push(chunk) {
                return Err(self.secret(hit.value, hit.encoding.name(), path));
            }
            patterns.push(chunk, |finding| found.push((finding.pattern.name, finding.start.line)));
            self.tell(&mut found, path)?;
        }
        patterns.finish(|finding| found.push((finding.pattern.name, finding.start.line)));
        self.tell(&mut found, path)
    }

    fn tell(&mut self, found: &mut Vec<(&'static str, u64)>, path: &str) -> Result<(), Stop> {
        for (pattern, line) in found.drain(..) {
            self.findings += 1;
            if self.findings > MOST_FINDINGS {
                continue;
            }
            let (directory, path) = (self.directory, shown(path));
            let finding = FromSearcher::Undeclared { pattern: pattern.to_owned(), directory, path, line };
            self.channel.send(&finding).map_err(|_| not_searched("the agent is gone"))?;
        }
        Ok(())
    }
}

/// Whether nothing in a directory can be reached, by whatever name: then the step wrote nothing there. One that can't be
/// listed, but passed through, is another thing.
fn is_closed(directory: &OwnedFd) -> bool {
    matches!(statx(directory, c"./.", AtFlags::empty(), StatxFlags::TYPE), Err(rustix::io::Errno::ACCESS))
}

/// What changed has to be searched; what did not, and can't be looked at, the step did not write.
fn skip_or_stop(error: rustix::io::Errno, changed: bool, path: &str) -> Result<(), Stop> {
    match error {
        rustix::io::Errno::NOENT | rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR => Ok(()),
        error if changed => Err(not_searched(format!("`{}`: {error}", shown(path)))),
        _ => Ok(()),
    }
}

fn open(directory: impl AsFd, name: &CStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    openat(directory, name, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY | flags, Mode::empty())
}

fn lossy(name: &CStr) -> String {
    String::from_utf8_lossy(name.to_bytes()).into_owned()
}

/// A path, short enough to be sent.
fn shown(path: &str) -> String {
    path.get(..path.floor_char_boundary(1024)).unwrap_or_default().to_owned()
}
