//! What the kernel of this machine measures (IMA): sent as far as the broker does not know it yet.

use attest_evidence::exchange::{LONGEST_MEASUREMENTS, logs};
use attest_evidence::ima::{Extension, Replay};
use attest_evidence::tpm::{PcrIndex, PcrValues};
use attest_evidence::{Digest, HashAlgorithm};
use attest_tpm::Transport;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The one bank that exchanges quote.
const BANK: HashAlgorithm = HashAlgorithm::Sha256;
/// Bytes that are read at once.
const PIECE: usize = 64 * 1024;

/// The kernel's measurement list, opened. It stays open: an agent has given up what it takes to open it.
#[derive(Debug, Clone)]
pub struct MeasurementList {
    path: PathBuf,
    file: Arc<File>,
}

impl MeasurementList {
    /// Opens the list of the kernel whose TPM this is. For root, before an agent gives up what it takes.
    ///
    /// None where there is none: a kernel without IMA, or a TPM that is not this machine's.
    pub fn of_kernel(tpm: &Transport) -> Option<Self> {
        let Transport::Device(_) = tpm else { return None };
        match Self::open(Path::new("/sys/kernel/security/ima/binary_runtime_measurements")) {
            Ok(list) => Some(list),
            Err(error) => {
                tracing::info!(%error, "what the kernel measures is not sent: reference values about it will not be met");
                None
            }
        }
    }

    /// Opens a list.
    ///
    /// # Errors
    /// What the operating system reports.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: Arc::new(File::open(path)?) })
    }

    /// All from `offset` on, and no more than a broker reads.
    fn read_from(&self, mut offset: u64) -> io::Result<Vec<u8>> {
        let mut list = Vec::new();
        let mut piece = vec![0; PIECE];
        loop {
            let read = self.file.read_at(&mut piece, offset)?;
            if read == 0 {
                return Ok(list);
            }
            list.extend(piece.get(..read).unwrap_or_default());
            if list.len() > logs::LARGEST_MEASUREMENTS {
                return Err(io::Error::other("it is longer than any broker reads"));
            }
            offset = offset.saturating_add(read as u64);
        }
    }
}

/// What the broker knows of the list.
#[derive(Debug)]
pub(crate) struct Measured {
    list: Option<MeasurementList>,
    known: Mutex<Known>,
}

/// A place in the list that a quote has vouched for.
#[derive(Debug, Clone, Copy)]
struct Known {
    replay: Replay,
    offset: u64,
}

impl Known {
    const BOOT: Self = Self { replay: Replay::from_boot(PcrIndex::IMA, BANK, Extension::Hashed), offset: 0 };
}

/// What goes along with a quote.
pub(crate) struct Unsent {
    from: Known,
    list: Vec<u8>,
    quoted: Digest,
    /// As it is sent.
    pub(crate) log: (u16, Vec<u8>),
}

impl Measured {
    pub(crate) const fn of(list: Option<MeasurementList>) -> Self {
        Self { list, known: Mutex::new(Known::BOOT) }
    }

    /// What has been measured since the broker was told last, up to the quote and beyond. The quote has to be made first: the
    /// kernel writes its list before it extends the PCR.
    pub(crate) async fn unsent(&self, pcrs: &PcrValues) -> Option<Unsent> {
        let list = self.list.clone()?;
        let quoted = pcrs.get(PcrIndex::IMA).and_then(|value| Digest::from_bytes(BANK, value))?;
        let from = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let path = list.path.clone();
        let read = tokio::task::spawn_blocking(move || {
            let list = list.read_from(from.offset)?;
            let log = logs::measurements(from.replay.count(), &list);
            if log.1.len() as u64 > LONGEST_MEASUREMENTS.into() {
                return Err(io::Error::other("compressed it is longer than any broker reads"));
            }
            Ok(Unsent { from, list, quoted, log })
        });
        let failed = match read.await {
            Ok(Ok(unsent)) => return Some(unsent),
            Ok(Err(error)) => error,
            Err(error) => io::Error::other(error),
        };
        tracing::warn!(path = %path.display(), error = %failed, "what the kernel measured is not sent");
        None
    }

    /// The broker knows it from now on.
    pub(crate) fn has_been_told(&self, sent: &Unsent) {
        let Ok(covered) = sent.from.replay.cover(&sent.list, &sent.quoted) else { return };
        let offset = sent.from.offset.saturating_add(covered.list().len() as u64);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.replay.count() < covered.state().count() {
            *known = Known { replay: *covered.state(), offset };
        }
    }

    /// The broker knows nothing of it: it has lost what it knew, or is another.
    pub(crate) fn forget(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Known::BOOT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attest_evidence::ima::Entries;
    use std::io::Write as _;

    /// An `ima` entry, the shortest.
    fn entry(name: &str) -> Vec<u8> {
        let mut hashed = vec![7; 20];
        hashed.extend(name.as_bytes());
        hashed.resize(20 + 256, 0);
        let mut out = 10_u32.to_le_bytes().to_vec();
        out.extend(HashAlgorithm::Sha1.hash(&hashed).as_bytes());
        out.extend(3_u32.to_le_bytes());
        out.extend(b"ima");
        out.extend([7; 20]);
        out.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
        out.extend(name.as_bytes());
        out
    }

    fn quoted(list: &[u8]) -> PcrValues {
        let value = Known::BOOT.replay.replayed(list).unwrap();
        PcrValues::new([(PcrIndex::IMA, value.value().as_bytes().try_into().unwrap())])
    }

    #[tokio::test]
    async fn what_is_known_is_not_sent_again() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let first: Vec<u8> = (0..2000).flat_map(|number| entry(&format!("/usr/bin/{number}"))).collect();
        file.write_all(&first).unwrap();
        let measured = Measured::of(Some(MeasurementList::open(file.path()).unwrap()));
        let quote = quoted(&first);
        // Between the quote and the reading the kernel goes on.
        let late = entry("/usr/bin/late");
        file.write_all(&late).unwrap();
        let unsent = measured.unsent(&quote).await.unwrap();
        assert_eq!(unsent.list, [first.as_slice(), &late].concat());
        measured.has_been_told(&unsent);

        let all = [first.as_slice(), &late].concat();
        let unsent = measured.unsent(&quoted(&all)).await.unwrap();
        assert_eq!((unsent.from.replay.count(), unsent.list.as_slice()), (2000, late.as_slice()));
        // An older quote that comes later puts nothing back.
        measured.has_been_told(&unsent);
        let nothing = measured.unsent(&quoted(&all)).await.unwrap();
        assert_eq!((nothing.from.replay.count(), nothing.list.len()), (2001, 0));
        measured.forget();
        let again = measured.unsent(&quoted(&all)).await.unwrap();
        assert_eq!(Entries::of(&again.list).unwrap().count(), 2001);
    }
}
