//! The directories of a case: copies, so that a step never changes a fixture.

use super::fixture::Case;
use super::refused::RehearsalError;
use attest_evidence::name::DirectoryName;
use attest_step::Manifest;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Most files that are copied for a case, and their bytes: a fixture is small.
const MOST_FILES: usize = 10_000;
/// See [`MOST_FILES`].
const MOST_BYTES: u64 = 256 << 20;
/// Most bytes of a file that something is expected of.
const LONGEST_FILE: u64 = 64 << 20;

/// The directories of a case. Dropped, they are gone.
pub(super) struct Folders(TempDir);

/// What may still be copied.
struct Left {
    files: usize,
    bytes: u64,
}

impl Folders {
    /// Copies what the case names; what it does not name is empty. Its paths begin in `fixture`.
    pub(super) fn of(case: &Case, manifest: &Manifest, fixture: &Path) -> Result<Self, RehearsalError> {
        let no_stage = |error: io::Error| RehearsalError::NoStage(error.to_string());
        let root = tempfile::Builder::new().prefix("attest-rehearsal-").tempdir().map_err(no_stage)?;
        let mut left = Left { files: MOST_FILES, bytes: MOST_BYTES };
        for name in manifest.dirs.keys() {
            let copy = root.path().join(name.as_str());
            fs::create_dir(&copy).map_err(no_stage)?;
            if let Some(path) = case.dirs.get(name) {
                let path = fixture.join(path);
                left.copy(&path, &copy).map_err(|(path, error)| RehearsalError::Material {
                    case: case.name.clone(),
                    path,
                    reason: error.to_string(),
                })?;
            }
        }
        Ok(Self(root))
    }

    /// All of them, open.
    pub(super) fn open(&self, manifest: &Manifest) -> io::Result<Vec<(DirectoryName, OwnedFd)>> {
        let names = manifest.dirs.keys();
        names.map(|name| Ok((name.clone(), self.directory(name.as_str())?.into_std_file().into()))).collect()
    }

    fn directory(&self, name: &str) -> io::Result<Dir> {
        Dir::open_ambient_dir(self.0.path().join(name), ambient_authority())
    }

    /// What `NAME/PATH` holds; none if nothing is there. A link that leads out of the directory leads nowhere.
    pub(super) fn read(&self, file: &str) -> Result<Option<Vec<u8>>, String> {
        let (name, path) = file.split_once('/').unwrap_or((file, "."));
        let opened = self.directory(name).and_then(|directory| {
            let file = directory.open(path)?;
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("it is no file"));
            }
            let mut bytes = Vec::new();
            file.take(LONGEST_FILE + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        match opened {
            Ok(bytes) if bytes.len() as u64 > LONGEST_FILE => Err(format!("it has more than {LONGEST_FILE} bytes")),
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Left {
    /// Copies what is in a directory. Links are copied as links; what is neither a file, a directory nor a link can't be.
    fn copy(&mut self, from: &Path, to: &Path) -> Result<(), (PathBuf, io::Error)> {
        let mut folders = vec![(from.to_owned(), to.to_owned())];
        while let Some((from, to)) = folders.pop() {
            let of = |path: &Path| {
                let path = path.to_owned();
                move |error| (path, error)
            };
            for entry in fs::read_dir(&from).map_err(of(&from))? {
                let entry = entry.map_err(of(&from))?;
                let (source, target) = (entry.path(), to.join(entry.file_name()));
                let metadata = entry.metadata().map_err(of(&source))?;
                self.take(metadata.len()).map_err(of(&source))?;
                let kind = metadata.file_type();
                if kind.is_dir() {
                    fs::create_dir(&target).map_err(of(&source))?;
                    folders.push((source, target));
                } else if kind.is_file() {
                    fs::copy(&source, &target).map_err(of(&source))?;
                } else if kind.is_symlink() {
                    let link = fs::read_link(&source).map_err(of(&source))?;
                    std::os::unix::fs::symlink(link, &target).map_err(of(&source))?;
                } else {
                    return Err((source, io::Error::other("it is neither a file nor a directory")));
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, bytes: u64) -> io::Result<()> {
        let over = || io::Error::other(format!("at most {MOST_FILES} files of {MOST_BYTES} bytes in all are copied"));
        self.files = self.files.checked_sub(1).ok_or_else(over)?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(over)?;
        Ok(())
    }
}

/// A file of a fixture that is the body of an answer.
pub(super) fn read_body(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LONGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(io::Error::other(format!("it has more than {LONGEST_FILE} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::fixture::Fixture;

    #[test]
    fn a_fixture_is_copied_and_never_changed() {
        let fixture = tempfile::tempdir().unwrap();
        fs::create_dir_all(fixture.path().join("dist/sub")).unwrap();
        fs::write(fixture.path().join("dist/sub/a"), "a").unwrap();
        fs::write(fixture.path().join("outside"), "outside").unwrap();
        std::os::unix::fs::symlink("../outside", fixture.path().join("dist/link")).unwrap();
        let manifest = "[step]\nname = \"s\"\n[dirs.dist]\nmode = \"write\"\nwhy = \"w\"\n[dirs.out]\nmode = \"write\"\nwhy = \"w\"\n";
        let manifest = Manifest::parse(manifest.as_bytes()).unwrap();
        let case = |path: &str| format!("[[case]]\nname = \"c\"\ndirs.dist = \"{path}\"\n");
        let of = |path: &str| {
            let parsed = Fixture::parse(case(path).as_bytes()).unwrap();
            Folders::of(&parsed.cases[0], &manifest, fixture.path())
        };
        let folders = of("dist").unwrap();
        assert_eq!(folders.read("dist/sub/a").unwrap().unwrap(), b"a");
        assert_eq!(folders.read("out/a").unwrap(), None);
        assert!(folders.read("dist/link").is_err() && folders.read("dist/../out").is_err());
        assert!(folders.read("dist/sub").is_err());
        assert_eq!(folders.open(&manifest).unwrap().len(), 2);
        fs::write(folders.0.path().join("dist/sub/a"), "b").unwrap();
        assert_eq!(fs::read(fixture.path().join("dist/sub/a")).unwrap(), b"a");
        let copies = folders.0.path().to_owned();
        drop(folders);
        assert!(!copies.exists());
        assert!(matches!(of("none"), Err(RehearsalError::Material { path, .. }) if path.ends_with("none")));
    }
}
