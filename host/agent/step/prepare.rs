//! Component, manifest and directories, looked at before anything is asked for.

use super::refused::{LONGEST_ARGUMENTS, MOST_ARGUMENTS};
use super::{Directories, StepError};
use attest_evidence::name::DirectoryName;
use attest_step::{CheckedStep, LONGEST_COMPONENT, LONGEST_MANIFEST, Manifest};
use attest_wire::worker::GrantedDirectory;
use rustix::fs::FileType;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A step that has been read and checked, and not asked for yet.
pub(super) struct Prepared {
    pub(super) step: CheckedStep,
    pub(super) bytes: Arc<[u8]>,
    pub(super) directories: Directories,
}

/// Reads component and manifest, each once, and holds one against the other and against the directories.
pub(super) fn prepare(
    component: OwnedFd,
    manifest: OwnedFd,
    given: Vec<(DirectoryName, OwnedFd)>,
) -> Result<Prepared, StepError> {
    let manifest = read("manifest", manifest, LONGEST_MANIFEST)?;
    let bytes = read("component", component, LONGEST_COMPONENT)?;
    let step = CheckedStep::read(&manifest, &bytes)?;
    let directories = open_directories(step.manifest(), given)?;
    Ok(Prepared { step, bytes: bytes.into(), directories })
}

/// The directories that the step declares: those that were given, and no others.
pub(crate) fn open_directories(
    manifest: &Manifest,
    given: Vec<(DirectoryName, OwnedFd)>,
) -> Result<Directories, StepError> {
    let mut given: BTreeMap<_, _> = given.into_iter().collect();
    let mut directories = Vec::with_capacity(given.len());
    for (name, declared) in &manifest.dirs {
        let directory = given.remove(name).ok_or_else(|| StepError::DirectoryMissing(name.clone()))?;
        check_directory(name, &directory)?;
        let place = declared.place(name).to_string();
        directories.push((GrantedDirectory { name: name.clone(), mode: declared.mode, place }, directory));
    }
    match given.into_keys().next() {
        Some(name) => Err(StepError::DirectoryUndeclared(name)),
        None => Ok(directories),
    }
}

/// Whether a step can have so many arguments.
pub(crate) fn check_arguments(arguments: &[String]) -> Result<(), StepError> {
    if arguments.len() > MOST_ARGUMENTS || arguments.iter().map(String::len).sum::<usize>() > LONGEST_ARGUMENTS {
        return Err(StepError::Arguments);
    }
    Ok(())
}

/// All of a regular file. Others could keep us waiting, or be another thing each time they are read.
fn read(what: &'static str, file: OwnedFd, longest: usize) -> Result<Vec<u8>, StepError> {
    let failed = |reason: String| StepError::Unreadable { what, reason };
    let stat = rustix::fs::fstat(&file).map_err(|error| failed(error.to_string()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(failed("it is not a regular file".to_owned()));
    }
    let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(size.min(longest) + 1);
    let limit = u64::try_from(longest).unwrap_or(u64::MAX).saturating_add(1);
    File::from(file).take(limit).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    Ok(bytes)
}

/// File systems whose files are no files: they speak of, and to, the kernel and its processes
/// (`linux/magic.h`).
const KERNEL_FILE_SYSTEMS: [(i64, &str); 8] = [
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x7363_6673, "securityfs"),
    (0x6367_7270, "cgroup2"),
    (0x0027_e0eb, "cgroup"),
    (0x1cd1, "devpts"),
];

fn check_directory(name: &DirectoryName, directory: &OwnedFd) -> Result<(), StepError> {
    let refused = |reason: String| StepError::NotADirectory { name: name.clone(), reason };
    let stat = rustix::fs::fstat(directory).map_err(|error| refused(format!("can't be looked at: {error}")))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(refused("is not a directory".to_owned()));
    }
    let system = rustix::fs::fstatfs(directory).map_err(|error| refused(format!("can't be looked at: {error}")))?;
    let kernel = KERNEL_FILE_SYSTEMS.into_iter().find(|(magic, _)| system.f_type == *magic);
    match kernel {
        Some((_, system)) => Err(refused(format!("lies in {system}, where no file is just a file"))),
        None => Ok(()),
    }
}
