//! Which files a step opens, for the ledger: what `wasi:filesystem` is asked for is passed on, and written down.
//!
//! It is what this process saw. A step that has broken out of WebAssembly can open files behind its back.

use crate::state::State;
use attest_evidence::exchange::DirectoryMode;
use attest_evidence::name::DirectoryName;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use wasmtime::component::{Linker, Resource};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::filesystem::{Descriptor, Dir, FsPerms, OpenMode, WasiFilesystemView as _};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, DescriptorFlags, ErrorCode, Host as _, HostDescriptor as _, OpenFlags, PathFlags,
};

/// Most files that are remembered, in all directories together.
const MOST_FILES: usize = 1024;
/// Bytes read at once from a file that is hashed.
const CHUNK: usize = 256 * 1024;

/// What a step did to the files of one directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilesSeen {
    /// Files that it opened for reading, with their digests at the end.
    pub read: Vec<(String, Option<[u8; 32]>)>,
    /// Files that it opened for writing.
    pub written: Vec<(String, Option<[u8; 32]>)>,
    /// Files beyond those that are listed.
    pub more: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Opened {
    read: bool,
    written: bool,
}

/// Which files were opened so far.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// For each descriptor of a directory, by its number in the table: the granted directory, and the path in it.
    /// A number that is used again is used for something that goes through here again.
    places: HashMap<u32, (DirectoryName, String)>,
    opened: BTreeMap<(DirectoryName, String), Opened>,
    more: BTreeMap<DirectoryName, u64>,
}

impl Files {
    /// A granted directory has been opened.
    fn granted(&mut self, descriptor: &Resource<Descriptor>, name: DirectoryName) {
        self.places.insert(descriptor.rep(), (name, String::new()));
    }

    fn place(&self, directory: u32, path: &str) -> Option<(DirectoryName, String)> {
        let (name, base) = self.places.get(&directory)?;
        Some((name.clone(), plain(base, path)))
    }

    fn open(&mut self, directory: u32, path: &str, descriptor: &Resource<Descriptor>, opened: Result<Opened, ()>) {
        let Some(place) = self.place(directory, path) else { return };
        let Ok(opened) = opened else {
            self.places.insert(descriptor.rep(), place);
            return;
        };
        if self.opened.len() >= MOST_FILES && !self.opened.contains_key(&place) {
            *self.more.entry(place.0).or_default() += 1;
            return;
        }
        let known = self.opened.entry(place).or_default();
        known.read |= opened.read;
        known.written |= opened.written;
    }

    fn rename(&mut self, from: (u32, &str), to: (u32, &str)) {
        let (Some(from), Some(to)) = (self.place(from.0, from.1), self.place(to.0, to.1)) else { return };
        let below = |path: &str| {
            let rest = path.strip_prefix(from.1.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| format!("{}{rest}", to.1))
        };
        let moved: Vec<_> = self
            .opened
            .keys()
            .filter(|(name, _)| *name == from.0)
            .filter_map(|key| Some((key.clone(), (to.0.clone(), below(&key.1)?))))
            .collect();
        for (old, new) in moved {
            if let Some(opened) = self.opened.remove(&old) {
                self.opened.insert(new, opened);
            }
        }
    }

    /// What was opened, with digests as the files are now.
    pub(crate) fn seen<'a>(
        &self,
        directory: impl Fn(&DirectoryName) -> Option<&'a File>,
    ) -> BTreeMap<DirectoryName, FilesSeen> {
        let mut seen = BTreeMap::<DirectoryName, FilesSeen>::new();
        for ((name, path), opened) in &self.opened {
            let digest = directory(name).and_then(|directory| digest(directory, path));
            let files = seen.entry(name.clone()).or_default();
            if opened.read {
                files.read.push((path.clone(), digest));
            }
            if opened.written {
                files.written.push((path.clone(), digest));
            }
        }
        for (name, more) in &self.more {
            seen.entry(name.clone()).or_default().more = *more;
        }
        seen
    }
}

/// A path without `.`, `..` and doubled slashes, as far as its text tells.
fn plain(base: &str, path: &str) -> String {
    let mut parts = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// SHA-256 of a regular file's contents.
fn digest(directory: &File, path: &str) -> Option<[u8; 32]> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut file = File::from(openat2(directory, path, flags, Mode::empty(), resolve).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Some(hash.finalize().into()),
            Ok(count) => hash.update(buffer.get(..count)?),
            Err(_) => return None,
        }
    }
}

impl State {
    /// A descriptor of a granted directory.
    pub(crate) fn open_granted(&mut self, name: &DirectoryName) -> Result<Option<Resource<Descriptor>>> {
        let Some(granted) = self.handles.directories.get(name) else { return Ok(None) };
        let (perms, mode) = match granted.mode {
            DirectoryMode::Read => (FsPerms::ReadOnly, OpenMode::READ),
            DirectoryMode::Write => (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE),
        };
        let directory = Dir::new(granted.directory.try_clone()?, perms, mode, true);
        let descriptor = self.table.push(Descriptor::Dir(directory))?;
        self.files.granted(&descriptor, name.clone());
        Ok(Some(descriptor))
    }

    async fn open_at(
        &mut self,
        directory: u32,
        flags: PathFlags,
        path: String,
        how: OpenFlags,
        mode: DescriptorFlags,
    ) -> Result<Result<Resource<Descriptor>, ErrorCode>> {
        let result = self.filesystem().open_at(Resource::new_borrow(directory), flags, path.clone(), how, mode).await;
        if let Ok(descriptor) = &result {
            let opened = match self.table.get(descriptor)? {
                Descriptor::Dir(_) => Err(()),
                Descriptor::File(_) => Ok(Opened {
                    written: mode.contains(DescriptorFlags::WRITE) || how.intersects(OpenFlags::TRUNCATE),
                    read: mode.contains(DescriptorFlags::READ),
                }),
            };
            self.files.open(directory, &path, descriptor, opened);
        }
        self.code(result)
    }

    async fn rename_at(&mut self, from: (u32, String), to: (u32, String)) -> Result<Result<(), ErrorCode>> {
        let (old, new) = (Resource::new_borrow(from.0), Resource::new_borrow(to.0));
        let result = self.filesystem().rename_at(old, from.1.clone(), new, to.1.clone()).await;
        if result.is_ok() {
            self.files.rename((from.0, &from.1), (to.0, &to.1));
        }
        self.code(result)
    }

    fn code<T>(&mut self, result: FsResult<T>) -> Result<Result<T, ErrorCode>> {
        match result {
            Ok(value) => Ok(Ok(value)),
            Err(error) => self.filesystem().convert_error_code(error).map(Err),
        }
    }
}

type OpenAt = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);
type RenameAt = (Resource<Descriptor>, String, Resource<Descriptor>, String);

/// Links files, the two functions that are watched in front.
pub(crate) fn link(linker: &mut Linker<State>) -> Result<()> {
    types::add_to_linker::<_, wasmtime_wasi::filesystem::WasiFilesystem>(linker, State::filesystem)?;
    linker.allow_shadowing(true);
    let mut interface = linker.instance("wasi:filesystem/types@0.2.12")?;
    interface.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store: StoreContextMut<'_, State>, call: OpenAt| {
            Box::new(async move {
                let (directory, flags, path, how, mode) = call;
                Ok((store.data_mut().open_at(directory.rep(), flags, path, how, mode).await?,))
            })
        },
    )?;
    interface.func_wrap_async(
        "[method]descriptor.rename-at",
        |mut store: StoreContextMut<'_, State>, call: RenameAt| {
            Box::new(async move {
                let (from, old, to, new) = call;
                Ok((store.data_mut().rename_at((from.rep(), old), (to.rep(), new)).await?,))
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str, path: &str) -> (DirectoryName, String) {
        (name.parse().unwrap(), path.to_owned())
    }

    #[test]
    fn files_are_known_by_their_path_in_the_directory_that_was_granted() {
        let mut files = Files::default();
        let descriptor = |number| Resource::<Descriptor>::new_own(number);
        files.granted(&descriptor(1), "dist".parse().unwrap());
        let (read, write) = (Opened { read: true, written: false }, Opened { read: false, written: true });
        files.open(1, "a/./b/../c", &descriptor(2), Ok(read));
        files.open(1, "sub", &descriptor(3), Err(()));
        files.open(3, "file.part", &descriptor(4), Ok(write));
        files.rename((3, "file.part"), (1, "sub/file"));
        files.rename((1, "a"), (1, "z"));
        // A number that nobody was granted is nothing of ours.
        files.open(9, "x", &descriptor(5), Ok(read));
        let names: Vec<_> = files.opened.keys().cloned().collect();
        assert_eq!(names, [place("dist", "sub/file"), place("dist", "z/c")]);
    }

    #[test]
    fn digests_stay_below_their_directory() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "abc").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("out")).unwrap();
        let directory = File::open(folder.path()).unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let hex = |digest: [u8; 32]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(digest(&directory, "file").map(hex).as_deref(), Some(abc));
        assert_eq!(digest(&directory, "out"), None);
        assert_eq!(digest(&directory, "nothing"), None);
    }
}
