//! The event log of the firmware, beside a second implementation of its replay.

use crate::{length, next, next_bytes, next_u32, plain_hash, uefi};
use attest_evidence::HashAlgorithm;
use attest_evidence::eventlog::{Event, EventLog, EventLogRefused, EventType, MOST_EVENTS};
use attest_evidence::report::Explain as _;
use attest_evidence::uefi::Variable;
use std::collections::BTreeMap;

/// A whole log: replayed in every bank it is what [`PlainLog`] makes of the same bytes.
pub fn eventlog(bytes: &[u8]) {
    let log = match EventLog::parse(bytes) {
        Ok(log) => log,
        Err(refused) => {
            if let EventLogRefused::Malformed(malformed) = refused {
                assert!(malformed.offset <= bytes.len(), "{malformed} of {}", bytes.len());
            }
            crate::shown(&refused.report());
            return;
        }
    };
    assert!(log.events().len() <= MOST_EVENTS);
    let plain = PlainLog::read(bytes);
    for bank in HashAlgorithm::ALL {
        let replay = log.replay(bank);
        let values = replay.values().iter().map(|(pcr, value)| (pcr.get(), value.as_bytes().to_vec()));
        let plainly = plain.as_ref().map(|plain| plain.replay(bank));
        assert_eq!(Some(values.collect::<BTreeMap<_, _>>()), plainly, "{bank}");
    }
    for event in log.events() {
        assert!(bytes.len() >= event.offset);
        for bank in HashAlgorithm::ALL {
            assert_eq!(event.is_measured(bank), event.digests().any(|digest| digest == bank.hash(event.data)));
        }
        interpret(event);
    }
}

/// Reads what firmware put into an event, by the type that it says.
fn interpret(event: &Event<'_>) {
    let data = event.data;
    match event.kind {
        EventType::EFI_VARIABLE_DRIVER_CONFIG
        | EventType::EFI_VARIABLE_BOOT
        | EventType::EFI_VARIABLE_BOOT2
        | EventType::EFI_VARIABLE_AUTHORITY => {
            uefi::uefi_variable(data);
            if let Ok(variable) = Variable::parse(data) {
                for digest in event.digests() {
                    let covered = variable.covered_by(&digest).is_some();
                    assert!(covered || !event.is_measured(digest.algorithm()), "event {}", event.number);
                }
            }
        }
        EventType::EFI_GPT_EVENT | EventType::EFI_GPT_EVENT2 => uefi::gpt(data),
        EventType::EFI_BOOT_SERVICES_APPLICATION
        | EventType::EFI_BOOT_SERVICES_DRIVER
        | EventType::EFI_RUNTIME_SERVICES_DRIVER => uefi::image_load(data),
        EventType::EVENT_TAG => uefi::tagged(data),
        EventType::POST_CODE
        | EventType::EFI_PLATFORM_FIRMWARE_BLOB
        | EventType::EFI_PLATFORM_FIRMWARE_BLOB2
        | EventType::EFI_HANDOFF_TABLES
        | EventType::EFI_HANDOFF_TABLES2 => uefi::firmware(data),
        _ => {}
    }
}

/// A log as the specification's tables read it, with nothing checked.
struct PlainLog<'a> {
    locality: u8,
    /// PCR and digests of events that extend something.
    events: Vec<(u32, PlainDigests<'a>)>,
}

/// Digests with the ids of their algorithms.
type PlainDigests<'a> = Vec<(u16, &'a [u8])>;

impl<'a> PlainLog<'a> {
    /// `None` where something ends too early: then the parser must have refused it.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        const SHA1: u16 = 4;
        let filler = bytes.last().copied().filter(|byte| [0, 0xff].contains(byte));
        let is_padding = |rest: &[u8]| rest.iter().all(|byte| Some(*byte) == filler);
        let mut rest = bytes;
        let mut sizes: Option<BTreeMap<u16, u16>> = None;
        let mut log = Self { locality: 0, events: Vec::new() };
        let mut said = None;
        let mut first = true;
        while first || !is_padding(rest) {
            let (pcr, kind) = (next_u32(&mut rest)?, next_u32(&mut rest)?);
            let mut digests = Vec::new();
            match &sizes {
                None => digests.push((SHA1, next_bytes(&mut rest, 20)?)),
                Some(sizes) => {
                    for _ in 0..next_u32(&mut rest)? {
                        let algorithm = u16::from_le_bytes(next(&mut rest)?);
                        let size = *sizes.get(&algorithm)?;
                        digests.push((algorithm, next_bytes(&mut rest, size.into())?));
                    }
                }
            }
            let size = next_u32(&mut rest)?;
            let data = next_bytes(&mut rest, size)?;
            if first && kind == EventType::NO_ACTION.0 && data.starts_with(b"Spec ID Event03\0") {
                let mut header = data.get(24..)?;
                let mut listed = BTreeMap::new();
                for _ in 0..next_u32(&mut header)? {
                    let [id, size] = [next(&mut header)?, next(&mut header)?].map(u16::from_le_bytes);
                    listed.insert(id, size);
                }
                sizes = Some(listed);
            } else if kind == EventType::NO_ACTION.0 {
                if pcr == 0
                    && let Some(locality) = data.strip_prefix(b"StartupLocality\0")
                {
                    said = locality.first().copied();
                }
            } else {
                if pcr == 0 && kind == EventType::EFI_HCRTM_EVENT.0 && log.events.iter().all(|(pcr, _)| *pcr != 0) {
                    log.locality = 4;
                }
                log.events.push((pcr, digests));
            }
            first = false;
        }
        log.locality = said.unwrap_or(log.locality);
        Some(log)
    }

    fn replay(&self, bank: HashAlgorithm) -> BTreeMap<u8, Vec<u8>> {
        let mut values = BTreeMap::new();
        for (pcr, digests) in &self.events {
            let Some((_, digest)) = digests.iter().find(|(algorithm, _)| *algorithm == bank.id()) else { continue };
            let pcr = u8::try_from(*pcr).unwrap_or(u8::MAX);
            let value = values.entry(pcr).or_insert_with(|| {
                let mut start = vec![0; bank.size()];
                if let Some(last) = start.last_mut().filter(|_| pcr == 0) {
                    *last = self.locality;
                }
                start
            });
            assert_eq!(length(digest), length(value));
            *value = plain_hash(bank.size(), &[value.as_slice(), digest].concat());
        }
        values
    }
}
