//! The event log of the firmware: what was extended into which PCR at boot (TCG PC Client Platform Firmware Profile,
//! revision 1.06, §10).
//!
//! A log is a claim. [`EventLog::replay`] says which PCR values it leads to; where a quote holds the same values, its
//! digests and PCR indexes are what was measured. Event types and event data are covered by no digest: data counts only
//! where [`Event::is_measured`] says that it hashes to what was extended.

mod builder;
mod difference;
mod event_type;
mod header;
mod meaning;
mod replay;
mod words;

pub use builder::LogBuilder;
pub use difference::{Change, PcrDifference, difference};
pub use event_type::EventType;
pub use header::{Format, LogAlgorithm};
pub use meaning::{Meaning, Measured};
pub use replay::Replay;
pub use words::{ChangeLine, change_words};

use crate::bytes::{Malformed, Problem, Reader};
use crate::hash::{Digest, HashAlgorithm};
use crate::report::{Explain, Fault, Report};
use crate::tpm::PcrIndex;

/// The largest log that is read. Firmware reserves 64 KiB to 512 KiB for it.
pub const LARGEST_LOG: usize = 4 << 20;
/// Most events of one log. Real machines write 20 to 500.
pub const MOST_EVENTS: usize = 16_384;
/// The largest data of one event: a whole `dbx`, an ACPI table.
const LARGEST_EVENT: u32 = 1 << 20;

/// A log whose form is right. Nothing in it is believed.
#[derive(Debug, Clone)]
pub struct EventLog<'a> {
    format: Format,
    algorithms: Vec<LogAlgorithm>,
    startup_locality: Option<u8>,
    events: Vec<Event<'a>>,
}

/// One event (`TCG_PCR_EVENT`, §10.2.1, or `TCG_PCR_EVENT2`, §10.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its place in the log. The first is 0, and in a crypto-agile log it is the header.
    pub number: usize,
    /// Byte at which it begins.
    pub offset: usize,
    /// What firmware says it is. No digest covers this.
    pub kind: EventType,
    /// What firmware says of it. No digest covers this, unless it hashes to the event's own.
    pub data: &'a [u8],
    pcr: u32,
    digests: [Option<&'a [u8]>; HashAlgorithm::ALL.len()],
}

/// Why bytes are no event log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventLogRefused {
    /// Not of its form.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// Larger than any firmware writes.
    #[error("an event log of {size} bytes; at most {LARGEST_LOG} are read")]
    TooLarge {
        /// Its bytes.
        size: usize,
    },
    /// More events than any firmware writes.
    #[error("an event log of more than {MOST_EVENTS} events, at byte {offset}")]
    TooManyEvents {
        /// Where the first one too many begins.
        offset: usize,
    },
    /// A digest of an algorithm that its header does not list.
    #[error(
        "event {event} at byte {offset} has a digest of algorithm {algorithm:#06x}, which the log's header does not list"
    )]
    UnlistedAlgorithm {
        /// Which event.
        event: usize,
        /// Where it begins.
        offset: usize,
        /// `TPM_ALG_ID`.
        algorithm: u16,
    },
    /// Two digests of one algorithm in one event.
    #[error("event {event} at byte {offset} has two digests of algorithm {algorithm:#06x}")]
    DigestTwice {
        /// Which event.
        event: usize,
        /// Where it begins.
        offset: usize,
        /// `TPM_ALG_ID`.
        algorithm: u16,
    },
    /// A PCR that no TPM has.
    #[error("event {event} at byte {offset} was measured into PCR {pcr}; there are 0 to 23")]
    PcrIndex {
        /// Which event.
        event: usize,
        /// Where it begins.
        offset: usize,
        /// Its `PCRIndex`.
        pcr: u32,
    },
    /// A startup locality that can't be, is said twice, or comes after PCR 0 was extended (§10.4.5.3).
    #[error("event {event} at byte {offset} says that the TPM was started from locality {locality}: {problem}")]
    StartupLocality {
        /// Which event.
        event: usize,
        /// Where it begins.
        offset: usize,
        /// What it says.
        locality: u8,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl Explain for EventLogRefused {
    fn report(&self) -> Report {
        let report = |code, offset: usize| Report::new(code, Fault::Identity, self.to_string()).fact("byte", offset);
        match self {
            Self::Malformed(malformed) => report("AR-E501", malformed.offset).fact("structure", malformed.structure),
            Self::TooLarge { size } => {
                Report::new("AR-E502", Fault::Identity, self.to_string()).fact("bytes", size).fact("most", LARGEST_LOG)
            }
            Self::TooManyEvents { offset } => report("AR-E502", *offset),
            Self::UnlistedAlgorithm { offset, .. } | Self::DigestTwice { offset, .. } => report("AR-E503", *offset),
            Self::PcrIndex { offset, .. } => report("AR-E504", *offset),
            Self::StartupLocality { offset, .. } => report("AR-E505", *offset),
        }
    }
}

impl<'a> EventLog<'a> {
    /// Reads a whole log, of either format. Zeros or ones behind its last event are padding.
    ///
    /// # Errors
    /// See [`EventLogRefused`]: the first thing wrong, and where.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EventLogRefused> {
        if bytes.len() > LARGEST_LOG {
            return Err(EventLogRefused::TooLarge { size: bytes.len() });
        }
        let end = bytes.len() - padding(bytes);
        let mut reader = Reader::new("TCG event log", bytes);
        if end == 0 {
            return Err(reader.malformed(Problem::Text("no event")).into());
        }
        let (format, algorithms, first) = header::read(&mut reader)?;
        let mut log = Self { format, algorithms, startup_locality: None, events: Vec::new() };
        log.push(first)?;
        while reader.offset() < end {
            let (number, offset) = (log.events.len(), reader.offset());
            if number == MOST_EVENTS {
                return Err(EventLogRefused::TooManyEvents { offset });
            }
            let event = match format {
                Format::Sha1 => Event::read_sha1(&mut reader, number)?,
                Format::CryptoAgile => Event::read_agile(&mut reader, number, &log.algorithms)?,
            };
            log.push(event)?;
        }
        Ok(log)
    }

    fn push(&mut self, event: Event<'a>) -> Result<(), EventLogRefused> {
        let Event { number, offset, pcr, .. } = event;
        if event.kind == EventType::NO_ACTION {
            if let Some(locality) = event.startup_locality()? {
                let refused = |problem| EventLogRefused::StartupLocality { event: number, offset, locality, problem };
                if self.startup_locality.is_some() {
                    return Err(refused("it was said before"));
                }
                if self.events.iter().any(|event| event.extends().is_some_and(|pcr| pcr.get() == 0)) {
                    return Err(refused("PCR 0 had been extended before"));
                }
                self.startup_locality = Some(locality);
            }
        } else if event.extends().is_none() {
            return Err(EventLogRefused::PcrIndex { event: number, offset, pcr });
        }
        self.events.push(event);
        Ok(())
    }

    /// Its format.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The algorithms whose digests it holds, known ones and others, in its order.
    pub fn algorithms(&self) -> &[LogAlgorithm] {
        &self.algorithms
    }

    /// The banks that can be replayed.
    pub fn banks(&self) -> impl Iterator<Item = HashAlgorithm> {
        self.algorithms.iter().filter_map(|algorithm| HashAlgorithm::from_id(algorithm.id))
    }

    /// All events, as they lie in the log.
    pub fn events(&self) -> &[Event<'a>] {
        &self.events
    }

    /// The locality from which the log says that the TPM was started; PCR 0 begins with it (Part 1 §34.3).
    ///
    /// It says so by an event of its own, or by the first event of PCR 0 being firmware's measurement of itself from
    /// locality 4 (`EV_EFI_HCRTM_EVENT`).
    pub fn startup_locality(&self) -> u8 {
        self.startup_locality.unwrap_or_else(|| {
            let first = self.events.iter().find(|event| event.extends().is_some_and(|pcr| pcr.get() == 0));
            if first.is_some_and(|event| event.kind == EventType::EFI_HCRTM_EVENT) { 4 } else { 0 }
        })
    }
}

impl<'a> Event<'a> {
    /// The signature of the event that says from which locality the TPM was started (§10.4.5.3).
    const STARTUP_LOCALITY: &'static [u8; 16] = b"StartupLocality\0";

    fn read_sha1(reader: &mut Reader<'a>, number: usize) -> Result<Self, Malformed> {
        let offset = reader.offset();
        let pcr = reader.u32_le()?;
        let kind = EventType(reader.u32_le()?);
        let digest = reader.take(HashAlgorithm::Sha1.size())?;
        let data = reader.sized_u32_le("eventDataSize", LARGEST_EVENT)?;
        let mut event = Self { number, offset, kind, data, pcr, digests: Default::default() };
        event.set(HashAlgorithm::Sha1, digest);
        Ok(event)
    }

    fn read_agile(
        reader: &mut Reader<'a>,
        number: usize,
        algorithms: &[LogAlgorithm],
    ) -> Result<Self, EventLogRefused> {
        let offset = reader.offset();
        let pcr = reader.u32_le()?;
        let kind = EventType(reader.u32_le()?);
        let at_count = reader.clone();
        let count = reader.u32_le()?;
        let most = u32::try_from(algorithms.len()).unwrap_or(u32::MAX);
        if count > most {
            let problem = Problem::TooMany { field: "digests.count", value: count.into(), most: most.into() };
            return Err(at_count.malformed(problem).into());
        }
        let mut event = Self { number, offset, kind, data: &[], pcr, digests: Default::default() };
        let mut seen = 0_u32;
        for _ in 0..count {
            let id = reader.u16_le()?;
            let Some((position, algorithm)) = algorithms.iter().enumerate().find(|(_, algorithm)| algorithm.id == id)
            else {
                return Err(EventLogRefused::UnlistedAlgorithm { event: number, offset, algorithm: id });
            };
            if seen & (1 << position) != 0 {
                return Err(EventLogRefused::DigestTwice { event: number, offset, algorithm: id });
            }
            seen |= 1 << position;
            let digest = reader.take(algorithm.size.into())?;
            if let Some(known) = HashAlgorithm::from_id(id) {
                event.set(known, digest);
            }
        }
        event.data = reader.sized_u32_le("eventSize", LARGEST_EVENT)?;
        Ok(event)
    }

    fn set(&mut self, algorithm: HashAlgorithm, digest: &'a [u8]) {
        if let Some(place) = self.digests.get_mut(algorithm as usize) {
            *place = Some(digest);
        }
    }

    /// Its digest for a bank.
    pub fn digest(&self, bank: HashAlgorithm) -> Option<&'a [u8]> {
        self.digests.get(bank as usize).copied().flatten()
    }

    /// Its `PCRIndex`, as it stands in the log: for events that extend nothing, any number.
    pub const fn pcr(&self) -> u32 {
        self.pcr
    }

    /// The PCR that it extends. `EV_NO_ACTION` extends none.
    pub fn extends(&self) -> Option<PcrIndex> {
        if self.kind == EventType::NO_ACTION {
            return None;
        }
        u8::try_from(self.pcr).ok().and_then(PcrIndex::new)
    }

    fn startup_locality(&self) -> Result<Option<u8>, EventLogRefused> {
        if self.pcr != 0 {
            return Ok(None);
        }
        let Some(rest) = self.data.strip_prefix(Self::STARTUP_LOCALITY) else { return Ok(None) };
        let refused = |locality, problem| EventLogRefused::StartupLocality {
            event: self.number,
            offset: self.offset,
            locality,
            problem,
        };
        match rest {
            [locality @ (0 | 3 | 4)] => Ok(Some(*locality)),
            [locality] => Err(refused(*locality, "it is 0, 3 or 4")),
            _ => Err(refused(0, "it is one byte")),
        }
    }

    /// Whether `data` is what was extended: its digest in `bank` is the event's.
    pub fn is_digest_of(&self, bank: HashAlgorithm, data: &[u8]) -> bool {
        self.digest(bank).is_some_and(|digest| bank.hash(data).as_bytes() == digest)
    }

    /// Whether the whole of its data is what was extended.
    pub fn is_measured(&self, bank: HashAlgorithm) -> bool {
        self.is_digest_of(bank, self.data)
    }

    /// All digests of known algorithms.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        HashAlgorithm::ALL.into_iter().filter_map(|algorithm| Digest::from_bytes(algorithm, self.digest(algorithm)?))
    }
}

/// The number of bytes at the end that are all zeros, or all ones: what is left of the memory that was reserved. A log
/// always ends in front of them, since no event is made of these bytes alone.
fn padding(bytes: &[u8]) -> usize {
    let last = bytes.last().copied();
    match last {
        Some(filler @ (0x00 | 0xff)) => bytes.iter().rev().take_while(|byte| **byte == filler).count(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
