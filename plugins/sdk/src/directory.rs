//! Directories and files of the runner.

use crate::bindings::attest::step::directories;
use crate::bindings::wasi::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorType, ErrorCode, OpenFlags, PathFlags,
};
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

    /// Writes a file in it: whoever looks sees the old contents or the new ones, never a part.
    pub fn write(&self, name: &str, contents: &[u8]) -> Result {
        let temporary = format!("{name}.part");
        let result = self
            .write_in_place(&temporary, contents)
            .and_then(|()| self.0.rename_at(&temporary, &self.0, name).map_err(|error| Error::file(name, error)));
        if result.is_err() {
            // It may not be there at all.
            let _ = self.0.unlink_file_at(&temporary);
        }
        result
    }

    fn write_in_place(&self, name: &str, contents: &[u8]) -> Result {
        let failed = |error: ErrorCode| Error::file(name, error);
        let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE;
        let file = self.0.open_at(PathFlags::empty(), name, flags, DescriptorFlags::WRITE).map_err(failed)?;
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
