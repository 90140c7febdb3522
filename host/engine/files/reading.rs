//! The digest of what a step reads of a file, made while it reads: a ledger tells what went into a step, and a file may be
//! another one when the step has ended. It also saves reading the file once more.

use rustix::buffer::spare_capacity;
use rustix::io::{pread, retry_on_intr};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::bytes::Bytes;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{InputStream, StreamError, StreamResult};

/// Most bytes read at once: few calls for a large file, and what a processor's own memory holds.
const CHUNK: usize = 256 * 1024;

/// Most contents of one file that are told apart.
const MOST_CONTENTS: usize = 4;

/// The digests of what was read of one file, from its beginning to its end: more than one, if somebody else changed it.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) digests: Vec<[u8; 32]>,
    /// Whether there were more.
    pub(super) more: bool,
}

impl Contents {
    fn add(&mut self, digest: [u8; 32]) {
        if self.digests.contains(&digest) {
            return;
        }
        if self.digests.len() >= MOST_CONTENTS {
            self.more = true;
            return;
        }
        self.digests.push(digest);
    }

    /// What was read of another file that has this one's name now.
    pub(super) fn join(&mut self, other: Self) {
        other.digests.into_iter().for_each(|digest| self.add(digest));
        self.more |= other.more;
    }
}

/// A file's contents, and all that reads it.
pub(super) type SharedContents = Arc<Mutex<Contents>>;
/// One descriptor that a file is read by, and the streams of it.
pub(super) type SharedReading = Arc<Mutex<Reading>>;

/// How far a file has been read by one descriptor from its beginning, without a gap. Whoever begins again is followed again.
#[derive(Debug)]
pub(super) struct Reading {
    contents: SharedContents,
    /// The file's size when it was opened: whoever knows it does not read on to see that nothing follows.
    size: Option<u64>,
    hash: Sha256,
    read: u64,
    /// Whether this pass has been told.
    told: bool,
}

impl Reading {
    /// A file was opened.
    pub(super) fn begin(contents: &SharedContents, file: &File) -> SharedReading {
        let size = file.metadata().ok().map(|metadata| metadata.len());
        Self::of_size(contents, size)
    }

    fn of_size(contents: &SharedContents, size: Option<u64>) -> SharedReading {
        let contents = Arc::clone(contents);
        Arc::new(Mutex::new(Self { contents, size, hash: Sha256::new(), read: 0, told: false }))
    }

    /// These bytes were read, beginning at `at`.
    pub(super) fn bytes(reading: &SharedReading, at: u64, bytes: &[u8]) {
        let mut reading = lock(reading);
        if at == 0 && reading.read > 0 {
            reading.over();
            (reading.hash, reading.read, reading.told) = (Sha256::new(), 0, false);
        }
        if at == reading.read && !reading.told {
            reading.hash.update(bytes);
            reading.read = reading.read.saturating_add(bytes.len() as u64);
        }
    }

    /// There is nothing at `at`.
    pub(super) fn nothing(reading: &SharedReading, at: u64) {
        let mut reading = lock(reading);
        if at == reading.read {
            reading.tell();
        }
    }

    /// Nothing more is read by it.
    pub(super) fn end(reading: &SharedReading) {
        lock(reading).over();
    }

    /// This pass is over, wherever it stands.
    fn over(&mut self) {
        if self.read > 0 && self.size == Some(self.read) {
            self.tell();
        }
    }

    fn tell(&mut self) {
        if !self.told {
            self.told = true;
            lock(&self.contents).add(std::mem::take(&mut self.hash).finalize().into());
        }
    }
}

pub(super) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
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

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const X: &str = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";

    fn hex(contents: &SharedContents) -> Vec<String> {
        let hex = |digest: &[u8; 32]| digest.iter().map(|byte| format!("{byte:02x}")).collect();
        lock(contents).digests.iter().map(hex).collect()
    }

    #[test]
    fn a_file_that_was_read_from_beginning_to_end_has_a_digest() {
        let contents = SharedContents::default();
        let reading = Reading::of_size(&contents, Some(3));
        Reading::bytes(&reading, 0, b"a");
        // Ahead, and an end that is not the next.
        Reading::bytes(&reading, 2, b"c");
        Reading::nothing(&reading, 3);
        Reading::end(&reading);
        assert_eq!(hex(&contents), [""; 0]);
        // Begun anew.
        Reading::bytes(&reading, 0, b"a");
        Reading::bytes(&reading, 1, b"bc");
        Reading::end(&reading);
        assert_eq!(hex(&contents), [ABC]);
    }

    #[test]
    fn an_end_that_was_seen_counts_where_the_size_was_another() {
        let contents = SharedContents::default();
        let reading = Reading::of_size(&contents, Some(2));
        Reading::bytes(&reading, 0, b"abc");
        Reading::end(&reading);
        assert_eq!(hex(&contents), [""; 0]);
        Reading::nothing(&reading, 3);
        // What follows later does not change what was read.
        Reading::bytes(&reading, 3, b"d");
        Reading::end(&reading);
        assert_eq!(hex(&contents), [ABC]);
        // That nothing was read of what was empty when it was opened is no digest of nothing.
        let empty = Reading::of_size(&contents, Some(0));
        Reading::bytes(&empty, 1, b"x");
        Reading::end(&empty);
        assert_eq!(hex(&contents), [ABC]);
    }

    #[test]
    fn what_is_read_again_is_told_if_it_is_another() {
        let contents = SharedContents::default();
        let reading = Reading::of_size(&contents, Some(3));
        for _ in 0..3 {
            Reading::bytes(&reading, 0, b"abc");
        }
        let another = Reading::of_size(&contents, Some(3));
        Reading::bytes(&another, 0, b"abc");
        Reading::nothing(&another, 3);
        Reading::bytes(&another, 0, b"x");
        Reading::nothing(&another, 1);
        Reading::end(&reading);
        assert_eq!(hex(&contents), [ABC, X]);
        for byte in 0..10u8 {
            Reading::bytes(&reading, 0, &[byte; 3]);
        }
        let contents = lock(&contents);
        assert_eq!((contents.digests.len(), contents.more), (MOST_CONTENTS, true));
    }
}
