//! Directories and files of the runner.

use crate::bindings::attest::step::directories;
use crate::bindings::wasi::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorType, ErrorCode, OpenFlags, PathFlags,
};
use crate::bindings::wasi::io::streams::OutputStream;
use crate::error::{Error, Result};

/// Bytes read or written at once.
const CHUNK: u64 = 256 * 1024;

/// A declared directory, or one below it.
pub struct Directory(Descriptor);

/// A file, open for reading.
pub struct File {
    pub(crate) name: String,
    pub(crate) descriptor: Descriptor,
}

/// What a directory holds under one name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// Whether it is a regular file.
    pub is_file: bool,
    /// Whether it is a directory.
    pub is_directory: bool,
}

impl Directory {
    /// A declared directory.
    pub fn open(name: &str) -> Result<Self> {
        directories::open(name).map(Self).map_err(|error| Error::not_declared("directory", name, error))
    }

    /// What it holds, sorted by name.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let stream = self.0.read_directory().map_err(|error| Error::file(".", error))?;
        let mut entries = Vec::new();
        while let Some(entry) = stream.read_directory_entry().map_err(|error| Error::file(".", error))? {
            entries.push(Entry {
                is_file: entry.type_ == DescriptorType::RegularFile,
                is_directory: entry.type_ == DescriptorType::Directory,
                name: entry.name,
            });
        }
        entries.sort();
        Ok(entries)
    }

    /// A directory below this one.
    pub fn directory(&self, name: &str) -> Result<Self> {
        let flags = DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY;
        let open = |flags| self.0.open_at(PathFlags::empty(), name, OpenFlags::DIRECTORY, flags);
        open(flags).or_else(|_| open(DescriptorFlags::READ)).map(Self).map_err(|error| Error::file(name, error))
    }

    /// A file in it, for reading.
    pub fn file(&self, name: &str) -> Result<File> {
        self.0
            .open_at(PathFlags::empty(), name, OpenFlags::empty(), DescriptorFlags::READ)
            .map(|descriptor| File { name: name.to_owned(), descriptor })
            .map_err(|error| Error::file(name, error))
    }

    /// The contents of a file in it.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let mut contents = Vec::new();
        self.file(name)?.read_each(|chunk| contents.extend_from_slice(chunk))?;
        Ok(contents)
    }

    /// The contents of a file in it that has at most so many bytes.
    pub fn read_up_to(&self, name: &str, most: u64) -> Result<Vec<u8>> {
        let file = self.file(name)?;
        // One byte more shows that there is more; what the file says of its size may change.
        let mut contents = Vec::new();
        while contents.len() as u64 <= most {
            let left = (most + 1 - contents.len() as u64).min(CHUNK);
            let (part, end) =
                file.descriptor.read(left, contents.len() as u64).map_err(|error| Error::file(name, error))?;
            contents.extend_from_slice(&part);
            if end || part.is_empty() {
                return Ok(contents);
            }
        }
        Err(Error::new(format!("`{name}` has more than {most} bytes")))
    }

    /// Writes a file in it: whoever looks sees the old contents or the new ones, never a part.
    pub fn write(&self, name: &str, contents: &[u8]) -> Result {
        self.replace(name, |temporary| self.write_in_place(temporary, contents))
    }

    /// The same, of what `write` streams into it.
    pub(crate) fn write_with<T>(&self, name: &str, write: impl FnOnce(&OutputStream) -> Result<T>) -> Result<T> {
        self.replace(name, |temporary| {
            let failed = |error: ErrorCode| Error::file(temporary, error);
            let file = self.create(temporary)?;
            let stream = file.write_via_stream(0).map_err(failed)?;
            let written = write(&stream)?;
            // It is a child of the file (wasi:filesystem), and has to go first.
            drop(stream);
            file.sync().map_err(failed)?;
            Ok(written)
        })
    }

    fn replace<T>(&self, name: &str, write: impl FnOnce(&str) -> Result<T>) -> Result<T> {
        let temporary = format!("{name}.part");
        let result = write(&temporary).and_then(|written| {
            self.0.rename_at(&temporary, &self.0, name).map_err(|error| Error::file(name, error))?;
            Ok(written)
        });
        if result.is_err() {
            // It may not be there at all.
            let _ = self.0.unlink_file_at(&temporary);
        }
        result
    }

    fn create(&self, name: &str) -> Result<Descriptor> {
        let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE;
        let file = self.0.open_at(PathFlags::empty(), name, flags, DescriptorFlags::WRITE);
        file.map_err(|error| Error::file(name, error))
    }

    fn write_in_place(&self, name: &str, contents: &[u8]) -> Result {
        let failed = |error: ErrorCode| Error::file(name, error);
        let file = self.create(name)?;
        let mut written = 0;
        while let Some(rest) = contents.get(written..).filter(|rest| !rest.is_empty()) {
            let part = rest.get(..CHUNK as usize).unwrap_or(rest);
            let count = file.write(part, written as u64).map_err(failed)?;
            written += usize::try_from(count).unwrap_or(0).min(part.len());
        }
        file.sync().map_err(failed)
    }

    /// Removes a file in it.
    pub fn remove(&self, name: &str) -> Result {
        self.0.unlink_file_at(name).map_err(|error| Error::file(name, error))
    }
}

impl File {
    /// Its name, as it was opened.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its length in bytes.
    pub fn size(&self) -> Result<u64> {
        self.descriptor.stat().map(|stat| stat.size).map_err(|error| Error::file(&self.name, error))
    }

    /// Reads it from start to end, a part at a time.
    pub fn read_each(&self, mut each: impl FnMut(&[u8])) -> Result {
        let mut offset = 0;
        loop {
            let (part, end) = self.descriptor.read(CHUNK, offset).map_err(|error| Error::file(&self.name, error))?;
            each(&part);
            offset += part.len() as u64;
            if end || part.is_empty() {
                return Ok(());
            }
        }
    }
}
