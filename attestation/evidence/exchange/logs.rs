//! The logs that come with a quote: whole, or by the digest of what the broker has seen before.

use super::{LONGEST_LOG, LONGEST_MEASUREMENTS};
use crate::bytes::{Malformed, Problem, Reader};
use crate::digest::Sha256Digest;
use crate::eventlog::LARGEST_LOG;
use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;

/// An event log, compressed (RFC 1950).
const EVENT_LOG: u16 = 1;
/// The SHA-256 digest of an event log that the broker has.
const KNOWN_EVENT_LOG: u16 = 2;
/// What the kernel measured, from some entry on: number of that entry, and the list, compressed (RFC 1950).
const MEASUREMENTS: u16 = 3;
/// Most bytes of measurements, decompressed: some 250,000 entries, more than a machine makes in weeks.
pub const LARGEST_MEASUREMENTS: usize = 32 * 1024 * 1024;
/// Fast, and within a few per cent of the best: logs are digests and text.
const LEVEL: u8 = 4;

/// How an event log is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventLogSent<'a> {
    /// All of it, compressed.
    Whole(&'a [u8]),
    /// By its digest: it is the same for as long as a machine is up, and the broker has it.
    Known(Sha256Digest),
}

/// What the kernel measured since the broker was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeasurementsSent<'a> {
    /// The number of its first entry: 0 is the first after boot.
    pub first: u64,
    /// The list from there on, compressed.
    pub compressed: &'a [u8],
}

/// The logs of one exchange.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logs<'a> {
    /// The firmware's event log.
    pub event_log: Option<EventLogSent<'a>>,
    /// The kernel's measurement list, as far as it is new.
    pub measurements: Option<MeasurementsSent<'a>>,
}

/// Why logs can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogsRefused {
    /// Of a kind that this version does not know. What is not appraised proves nothing.
    #[error("a log of kind {0} came with the quote, which this broker can't appraise")]
    UnknownKind(u16),
    /// Two of one kind.
    #[error("two logs of one kind came with the quote")]
    Twice,
    /// Not of its form.
    #[error("{0}")]
    Malformed(#[from] Malformed),
}

impl<'a> Logs<'a> {
    /// Reads what an exchange carries.
    ///
    /// # Errors
    /// See [`LogsRefused`].
    pub fn read(raw: &[(u16, &'a [u8])]) -> Result<Self, LogsRefused> {
        let mut logs = Self::default();
        for (kind, bytes) in raw {
            let again = match *kind {
                EVENT_LOG => logs.event_log.replace(EventLogSent::Whole(bytes)).is_some(),
                KNOWN_EVENT_LOG => {
                    let mut reader = Reader::new("digest of an event log", bytes);
                    let digest = Sha256Digest::from_bytes(reader.array()?);
                    reader.end()?;
                    logs.event_log.replace(EventLogSent::Known(digest)).is_some()
                }
                MEASUREMENTS => {
                    let mut reader = Reader::new("measurements", bytes);
                    let first = u64::from_be_bytes(reader.array()?);
                    let sent = MeasurementsSent { first, compressed: reader.rest() };
                    logs.measurements.replace(sent).is_some()
                }
                other => return Err(LogsRefused::UnknownKind(other)),
            };
            if again {
                return Err(LogsRefused::Twice);
            }
        }
        Ok(logs)
    }
}

/// An event log as it is sent when the broker does not have it.
pub fn event_log(log: &[u8]) -> (u16, Vec<u8>) {
    (EVENT_LOG, compress(log))
}

/// An event log as it is sent when the broker has it.
pub fn known_event_log(digest: &Sha256Digest) -> (u16, Vec<u8>) {
    (KNOWN_EVENT_LOG, digest.as_bytes().to_vec())
}

/// What the kernel measured, from entry `first` on, as it is sent.
pub fn measurements(first: u64, list: &[u8]) -> (u16, Vec<u8>) {
    let mut bytes = first.to_be_bytes().to_vec();
    bytes.extend(compress(list));
    (MEASUREMENTS, bytes)
}

/// Most bytes of a log of this kind, as it is sent.
pub(super) const fn longest(kind: u16) -> u32 {
    match kind {
        MEASUREMENTS => LONGEST_MEASUREMENTS,
        _ => LONGEST_LOG,
    }
}

/// As logs are compressed.
pub fn compress(log: &[u8]) -> Vec<u8> {
    compress_to_vec_zlib(log, LEVEL)
}

/// Undoes [`event_log`]. Never more than [`LARGEST_LOG`] bytes, whatever `compressed` would come to.
///
/// # Errors
/// Refuses what is not compressed, or comes to more.
pub fn decompress_event_log(compressed: &[u8]) -> Result<Vec<u8>, Malformed> {
    decompress("event log", compressed, LARGEST_LOG)
}

/// The list in [`measurements`]. Never more than [`LARGEST_MEASUREMENTS`] bytes.
///
/// # Errors
/// Refuses what is not compressed, or comes to more.
pub fn decompress_measurements(compressed: &[u8]) -> Result<Vec<u8>, Malformed> {
    decompress("measurements", compressed, LARGEST_MEASUREMENTS)
}

fn decompress(what: &'static str, compressed: &[u8], largest: usize) -> Result<Vec<u8>, Malformed> {
    decompress_to_vec_zlib_with_limit(compressed, largest).map_err(|_| {
        let reader = Reader::new(what, compressed);
        reader.malformed(Problem::Text("not compressed as RFC 1950 says, or larger than any may be"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_sent_whole_or_by_its_digest() {
        let log = vec![7; 100_000];
        let (kind, compressed) = event_log(&log);
        assert!(compressed.len() < 1000);
        let logs = [(kind, compressed.as_slice())];
        let Some(EventLogSent::Whole(sent)) = Logs::read(&logs).unwrap().event_log else { panic!() };
        assert_eq!(decompress_event_log(sent).unwrap(), log);
        let (kind, digest) = known_event_log(&Sha256Digest::of(&log));
        assert_eq!(
            Logs::read(&[(kind, &digest)]).unwrap().event_log,
            Some(EventLogSent::Known(Sha256Digest::of(&log)))
        );
        assert_eq!(Logs::read(&[(kind, &digest), (EVENT_LOG, sent)]), Err(LogsRefused::Twice));
        assert_eq!(Logs::read(&[(9, &digest)]), Err(LogsRefused::UnknownKind(9)));
        assert!(matches!(Logs::read(&[(kind, &digest[1..])]), Err(LogsRefused::Malformed(_))));
    }

    #[test]
    fn what_would_fill_memory_is_refused() {
        let (_, bomb) = event_log(&vec![0; LARGEST_LOG + 1]);
        assert!(bomb.len() < 10_000);
        assert!(decompress_event_log(&bomb).is_err());
        assert!(decompress_event_log(b"no such thing").is_err());
        let (_, whole) = event_log(&[1; 100]);
        for length in 0..whole.len() {
            assert!(decompress_event_log(&whole[..length]).is_err(), "{length}");
        }
    }
}
