//! Which files a step opens, for the ledger: what `wasi:filesystem` is asked for is passed on, and written down.
//!
//! It is what this process saw. A step that has broken out of WebAssembly can open files behind its back.

mod reading;
mod watch;

pub(crate) use watch::link;

use attest_evidence::name::DirectoryName;
use reading::{Reading, SharedContents, SharedReading, lock};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;

/// Most files that are remembered, in all directories together.
const MOST_FILES: usize = 1024;
/// Bytes read at once from a file that is hashed.
const CHUNK: usize = 256 * 1024;

/// What a step did to the files of one directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilesSeen {
    /// Files that it opened for reading: with the digest of what it read, or, if it did not read a file from its beginning to
    /// its end, of what is in it when the step has ended. One that was changed meanwhile is there with each that was read.
    pub read: Vec<(String, Option<[u8; 32]>)>,
    /// Files that it opened for writing, with the digests of what is in them when the step has ended.
    pub written: Vec<(String, Option<[u8; 32]>)>,
    /// Files, and contents of them, beyond those that are listed.
    pub more: u64,
}

/// A file in a granted directory.
type Place = (DirectoryName, String);

/// What a descriptor is of.
#[derive(Debug)]
enum Kind {
    Directory(Place),
    File(SharedReading),
}

/// How a file was opened.
#[derive(Debug, Clone, Copy)]
struct How {
    read: bool,
    write: bool,
}

#[derive(Debug, Default)]
struct Opened {
    /// What was read of it, if it was opened for reading.
    read: Option<SharedContents>,
    written: bool,
}

/// Which files were opened so far.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// By the descriptor's number in the table. One that is used again is used for something that goes through here again.
    descriptors: HashMap<u32, Kind>,
    opened: BTreeMap<Place, Opened>,
    more: BTreeMap<DirectoryName, u64>,
}

impl Files {
    /// A granted directory has been opened.
    fn granted(&mut self, descriptor: &Resource<Descriptor>, name: DirectoryName) {
        self.describe(descriptor, Kind::Directory((name, String::new())));
    }

    /// Where something is that is opened by a path in a directory.
    fn place(&self, directory: u32, path: &str) -> Option<Place> {
        match self.descriptors.get(&directory)? {
            Kind::Directory((name, base)) => Some((name.clone(), plain(base, path))),
            Kind::File(_) => None,
        }
    }

    fn opened_directory(&mut self, place: Place, descriptor: &Resource<Descriptor>) {
        self.describe(descriptor, Kind::Directory(place));
    }

    /// What a descriptor is of. Whatever had its number is gone.
    fn describe(&mut self, descriptor: &Resource<Descriptor>, kind: Kind) {
        self.forget(descriptor);
        self.descriptors.insert(descriptor.rep(), kind);
    }

    fn forget(&mut self, descriptor: &Resource<Descriptor>) {
        if let Some(Kind::File(reading)) = self.descriptors.remove(&descriptor.rep()) {
            Reading::end(&reading);
        }
    }

    fn opened_file(&mut self, place: Place, descriptor: &Resource<Descriptor>, how: How, file: &File) {
        self.forget(descriptor);
        if self.opened.len() >= MOST_FILES && !self.opened.contains_key(&place) {
            *self.more.entry(place.0).or_default() += 1;
            return;
        }
        let known = self.opened.entry(place).or_default();
        known.written |= how.write;
        if how.read {
            let reading = Reading::begin(known.read.get_or_insert_default(), file);
            self.describe(descriptor, Kind::File(reading));
        }
    }

    /// What has been read so far of a file that is open.
    fn reading(&self, descriptor: u32) -> Option<SharedReading> {
        match self.descriptors.get(&descriptor)? {
            Kind::File(reading) => Some(SharedReading::clone(reading)),
            Kind::Directory(_) => None,
        }
    }

    fn rename(&mut self, from: (u32, &str), to: (u32, &str)) {
        let (Some(from), Some(to)) = (self.place(from.0, from.1), self.place(to.0, to.1)) else { return };
        // It, and what is below it: in the map's order other names stand between the two.
        let within = (from.0.clone(), format!("{}/", from.1));
        let below = self
            .opened
            .range(&within..)
            .take_while(|((name, path), _)| *name == within.0 && path.starts_with(&within.1));
        let old = self.opened.get_key_value(&from).into_iter().chain(below).map(|(place, _)| place);
        let renamed = |old: &Place| {
            let rest = old.1.strip_prefix(from.1.as_str())?;
            Some((old.clone(), (to.0.clone(), format!("{}{rest}", to.1))))
        };
        let moved: Vec<_> = old.filter_map(renamed).collect();
        for (old, new) in moved {
            if let Some(opened) = self.opened.remove(&old) {
                let known = self.opened.entry(new).or_default();
                known.written |= opened.written;
                if let Some(read) = opened.read {
                    // What was read of the file that is replaced was read.
                    if let Some(before) = known.read.replace(Arc::clone(&read)) {
                        lock(&read).join(std::mem::take(&mut *lock(&before)));
                    }
                }
            }
        }
    }

    /// What was opened, with its digests.
    pub(crate) fn seen<'a>(
        &self,
        directory: impl Fn(&DirectoryName) -> Option<&'a File>,
    ) -> BTreeMap<DirectoryName, FilesSeen> {
        for kind in self.descriptors.values() {
            if let Kind::File(reading) = kind {
                Reading::end(reading);
            }
        }
        let mut seen = BTreeMap::<DirectoryName, FilesSeen>::new();
        for ((name, path), opened) in &self.opened {
            let as_it_is = || directory(name).and_then(|directory| digest(directory, path));
            let at_the_end = opened.written.then(as_it_is);
            let files = seen.entry(name.clone()).or_default();
            if let Some(read) = &opened.read {
                let read = lock(read);
                files.read.extend(read.digests.iter().map(|digest| (path.clone(), Some(*digest))));
                files.more += u64::from(read.more);
                if read.digests.is_empty() {
                    files.read.push((path.clone(), at_the_end.unwrap_or_else(as_it_is)));
                }
            }
            if let Some(digest) = at_the_end {
                files.written.push((path.clone(), digest));
            }
        }
        for (name, more) in &self.more {
            seen.entry(name.clone()).or_default().more += *more;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &str, path: &str) -> Place {
        (name.parse().unwrap(), path.to_owned())
    }

    #[test]
    fn files_are_known_by_their_path_in_the_directory_that_was_granted() {
        let mut files = Files::default();
        let descriptor = |number| Resource::<Descriptor>::new_own(number);
        files.granted(&descriptor(1), "dist".parse().unwrap());
        let (read, write) = (How { read: true, write: false }, How { read: false, write: true });
        let place = |files: &Files, directory, path| files.place(directory, path).unwrap();
        let file = File::open("/proc/self/exe").unwrap();
        files.opened_file(place(&files, 1, "a/./b/../c"), &descriptor(2), read, &file);
        files.opened_directory(place(&files, 1, "sub"), &descriptor(3));
        files.opened_file(place(&files, 3, "file.part"), &descriptor(4), write, &file);
        files.rename((3, "file.part"), (1, "sub/file"));
        files.opened_file(place(&files, 1, "a-b"), &descriptor(5), write, &file);
        files.opened_file(place(&files, 1, "ab"), &descriptor(6), write, &file);
        files.rename((1, "a"), (1, "z"));
        // A number that nobody was granted is nothing of ours, and nothing is below a file.
        assert_eq!((files.place(9, "x"), files.place(2, "x")), (None, None));
        let names: Vec<_> = files.opened.keys().cloned().collect();
        assert_eq!(names, [at("dist", "a-b"), at("dist", "ab"), at("dist", "sub/file"), at("dist", "z/c")]);
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
