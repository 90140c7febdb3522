//! The digest of what a step reads of a file, made while it reads: a ledger tells what went into a step, and a file may be
//! another one when the step has ended. It also saves reading the file once more.

use rustix::buffer::spare_capacity;
use rustix::io::{pread, retry_on_intr};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::bytes::Bytes;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{InputStream, StreamError, StreamResult};

/// Most bytes read at once: few calls for a large file, and what a processor's own memory holds.
const CHUNK: usize = 256 * 1024;

/// One file, opened for reading, and all that reads it by this descriptor.
pub(super) type SharedReading = Arc<Mutex<Reading>>;

/// How far a file has been read from its beginning, without a gap.
#[derive(Debug)]
pub(super) struct Reading {
    stamp: Option<Stamp>,
    /// Bytes that have been hashed.
    read: u64,
    so_far: SoFar,
}

#[derive(Debug)]
enum SoFar {
    Part(Sha256),
    Whole([u8; 32]),
}

/// What tells a file, and what is in it, from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// When its inode changed: seconds and nanoseconds. A program can't set it.
    changed: (i64, i64),
}

impl Stamp {
    /// That of an open file.
    pub(super) fn of(file: &File) -> Option<Self> {
        let known = file.metadata().ok()?;
        let changed = (known.ctime(), known.ctime_nsec());
        Some(Self { device: known.dev(), inode: known.ino(), size: known.size(), changed })
    }
}

impl Reading {
    /// The file is opened: as it was `before`, or for the first time. What has been read to its end is not hashed again as long
    /// as it is the same.
    pub(super) fn again(before: Option<&SharedReading>, stamp: Option<Stamp>) -> SharedReading {
        if let Some(before) = before {
            let known = lock(before);
            if known.is_whole() && known.stamp.is_some() && known.stamp == stamp {
                return Arc::clone(before);
            }
        }
        Arc::new(Mutex::new(Self { stamp, read: 0, so_far: SoFar::Part(Sha256::new()) }))
    }

    /// The digest of what was read, if that is all of the file.
    pub(super) fn digest(reading: &SharedReading) -> Option<[u8; 32]> {
        let mut reading = lock(reading);
        let size = reading.stamp.map(|stamp| stamp.size);
        // Whoever knows a file's size does not read on to see that nothing follows.
        if size == Some(reading.read) {
            reading.end();
        }
        match reading.so_far {
            SoFar::Whole(digest) => Some(digest),
            SoFar::Part(_) => None,
        }
    }

    /// These bytes were read, beginning at `at`.
    pub(super) fn bytes(reading: &SharedReading, at: u64, bytes: &[u8]) {
        let mut reading = lock(reading);
        if at == reading.read
            && let SoFar::Part(hash) = &mut reading.so_far
        {
            hash.update(bytes);
            reading.read = reading.read.saturating_add(bytes.len() as u64);
        }
    }

    /// There is nothing at `at`.
    pub(super) fn nothing(reading: &SharedReading, at: u64) {
        let mut reading = lock(reading);
        if at == reading.read {
            reading.end();
        }
    }

    const fn is_whole(&self) -> bool {
        matches!(self.so_far, SoFar::Whole(_))
    }

    fn end(&mut self) {
        if let SoFar::Part(hash) = &mut self.so_far {
            self.so_far = SoFar::Whole(std::mem::take(hash).finalize().into());
        }
    }
}

fn lock(reading: &SharedReading) -> MutexGuard<'_, Reading> {
    reading.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The stream of a file that is read: on this thread, as all files are.
pub(super) struct Read {
    pub(super) file: Arc<File>,
    /// Where in the file it is.
    pub(super) at: u64,
    /// None: nobody wants to know.
    pub(super) reading: Option<SharedReading>,
}

#[async_trait]
impl InputStream for Read {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut bytes = Vec::with_capacity(size.min(CHUNK));
        if bytes.capacity() == 0 {
            return Ok(Bytes::new());
        }
        let read = retry_on_intr(|| pread(&self.file, spare_capacity(&mut bytes), self.at));
        let count = read.map_err(|error| StreamError::LastOperationFailed(std::io::Error::from(error).into()))?;
        if let Some(reading) = &self.reading {
            match count {
                0 => Reading::nothing(reading, self.at),
                _ => Reading::bytes(reading, self.at, &bytes),
            }
        }
        if count == 0 {
            return Err(StreamError::Closed);
        }
        self.at = self.at.saturating_add(count as u64);
        Ok(bytes.into())
    }
}

#[async_trait]
impl Pollable for Read {
    /// A file is always ready.
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { device: 1, inode: 2, size: 3, changed: (4, 5) };
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn hex(reading: &SharedReading) -> Option<String> {
        Reading::digest(reading).map(|digest| digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    #[test]
    fn a_file_that_was_read_from_beginning_to_end_has_a_digest() {
        let reading = Reading::again(None, Some(STAMP));
        Reading::bytes(&reading, 0, b"a");
        assert_eq!(hex(&reading), None);
        // Read anew, and ahead.
        Reading::bytes(&reading, 0, b"a");
        Reading::bytes(&reading, 2, b"c");
        Reading::nothing(&reading, 3);
        assert_eq!(hex(&reading), None);
        Reading::bytes(&reading, 1, b"bc");
        assert_eq!(hex(&reading).as_deref(), Some(ABC));
    }

    #[test]
    fn an_end_that_was_seen_counts_where_the_size_was_another() {
        let reading = Reading::again(None, None);
        Reading::bytes(&reading, 0, b"abc");
        assert_eq!(hex(&reading), None);
        Reading::nothing(&reading, 3);
        // What follows later does not change what was read.
        Reading::bytes(&reading, 3, b"d");
        assert_eq!(hex(&reading).as_deref(), Some(ABC));
    }

    #[test]
    fn what_is_opened_again_is_hashed_again_if_it_may_be_another() {
        let first = Reading::again(None, Some(STAMP));
        // Not read to its end.
        assert!(!Arc::ptr_eq(&first, &Reading::again(Some(&first), Some(STAMP))));
        Reading::bytes(&first, 0, b"abc");
        Reading::nothing(&first, 3);
        assert!(Arc::ptr_eq(&first, &Reading::again(Some(&first), Some(STAMP))));
        for other in [
            None,
            Some(Stamp { device: 9, ..STAMP }),
            Some(Stamp { inode: 9, ..STAMP }),
            Some(Stamp { size: 9, ..STAMP }),
            Some(Stamp { changed: (4, 6), ..STAMP }),
        ] {
            assert!(!Arc::ptr_eq(&first, &Reading::again(Some(&first), other)), "{other:?}");
        }
        let unknown = Reading::again(None, None);
        Reading::nothing(&unknown, 0);
        assert!(!Arc::ptr_eq(&unknown, &Reading::again(Some(&unknown), None)));
    }
}
