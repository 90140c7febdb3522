//! Crypto-agile event logs, in parts that can be spoilt one by one.

use attest_evidence::eventlog::{EventLog, EventType};
use attest_evidence::tpm::{PcrBanks, PcrIndex, algorithm};
use attest_evidence::{Digest, HashAlgorithm};
use std::collections::BTreeMap;

const BANKS: [HashAlgorithm; 2] = [HashAlgorithm::Sha1, HashAlgorithm::Sha256];

/// A log of the crypto-agile format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogParts {
    pub(crate) header: HeaderParts,
    /// The events behind the header: the first has number 1.
    pub(crate) events: Vec<EventParts>,
}

/// `TCG_EfiSpecIdEvent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeaderParts {
    pub(crate) signature: [u8; 16],
    /// Platform class and versions.
    pub(crate) versions: [u8; 8],
    /// The number of algorithms, where it is not that of the list.
    pub(crate) count: Option<u32>,
    /// `TPM_ALG_ID` and size.
    pub(crate) algorithms: Vec<(u16, u16)>,
    pub(crate) vendor: Vec<u8>,
}

/// `TCG_PCR_EVENT2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventParts {
    pub(crate) pcr: u32,
    pub(crate) kind: EventType,
    /// The number of digests, where it is not that of the list.
    pub(crate) count: Option<u32>,
    pub(crate) digests: Vec<(u16, Vec<u8>)>,
    /// The size of the data, where it is not theirs.
    pub(crate) size: Option<u32>,
    pub(crate) data: Vec<u8>,
}

impl LogParts {
    /// The parts of a log of known algorithms.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let log = EventLog::parse(bytes).unwrap();
        let [header, events @ ..] = log.events() else { panic!("no header") };
        let algorithms: Vec<_> = log.algorithms().iter().map(|algorithm| (algorithm.id, algorithm.size)).collect();
        let (fixed, rest) = header.data.split_at(24);
        let header = HeaderParts {
            signature: fixed[..16].try_into().unwrap(),
            versions: fixed[16..].try_into().unwrap(),
            count: None,
            vendor: rest[4 + 4 * algorithms.len() + 1..].to_vec(),
            algorithms,
        };
        let events = events.iter().map(|event| EventParts {
            pcr: event.pcr(),
            kind: event.kind,
            count: None,
            digests: event.digests().map(|digest| (digest.algorithm().id(), digest.as_bytes().to_vec())).collect(),
            size: None,
            data: event.data.to_vec(),
        });
        Self { header, events: events.collect() }
    }

    /// A log as firmware, a boot loader and an operating system might write it, of a TPM started from locality 3.
    pub(crate) fn made() -> Self {
        let header = HeaderParts {
            signature: *b"Spec ID Event03\0",
            versions: [0, 0, 0, 0, 0, 2, 106, 2],
            count: None,
            algorithms: BANKS.map(|bank| (bank.id(), u16::try_from(bank.size()).unwrap())).to_vec(),
            vendor: Vec::new(),
        };
        let of = |pcr, kind, data: &[u8]| EventParts::measured(pcr, kind, data, data);
        let secure_boot = [&[0x61; 16], 1_u64.to_le_bytes().as_slice(), &1_u64.to_le_bytes(), b"S\0", &[1]].concat();
        let action = b"Calling EFI Application from Boot Option";
        let mut events = vec![
            EventParts::locality(3),
            of(0, EventType::S_CRTM_VERSION, b"1\0.\x000\0\0\0"),
            EventParts::measured(0, EventType::EFI_PLATFORM_FIRMWARE_BLOB, b"code of firmware", &[0xf0; 16]),
            of(7, EventType::EFI_VARIABLE_DRIVER_CONFIG, &secure_boot),
            EventParts::measured(1, EventType::EFI_VARIABLE_BOOT, &[1, 0], b"BootOrder"),
            of(4, EventType::EFI_ACTION, action),
        ];
        events.extend((0..8).map(|pcr| of(pcr, EventType::SEPARATOR, &[0; 4])));
        events.extend([
            EventParts::measured(4, EventType::EFI_BOOT_SERVICES_APPLICATION, b"a boot loader", &[0xb0; 40]),
            of(8, EventType::IPL, b"kernel_cmdline: quiet"),
            EventParts::measured(9, EventType::IPL, b"a kernel", b"/boot/vmlinuz"),
        ]);
        Self { header, events }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = self.header.bytes();
        self.events.iter().for_each(|event| event.put(&mut out));
        out
    }

    /// What its events lead to in the SHA-256 bank, by the specification and not by the code under test (Part 1 §17.4).
    pub(crate) fn pcrs(&self, locality: u8) -> PcrBanks {
        let bank = HashAlgorithm::Sha256;
        let mut values: BTreeMap<PcrIndex, Vec<u8>> = BTreeMap::new();
        for event in self.events.iter().filter(|event| event.kind != EventType::NO_ACTION) {
            let pcr = PcrIndex::new(event.pcr.try_into().unwrap()).unwrap();
            let value = values.entry(pcr).or_insert_with(|| {
                let last = if pcr.get() == 0 { locality } else { 0 };
                [vec![0; 31], vec![last]].concat()
            });
            let (_, digest) = event.digests.iter().find(|(id, _)| *id == bank.id()).unwrap();
            *value = bank.hash_parts([value.as_slice(), digest]).as_bytes().to_vec();
        }
        let digests = values.into_iter().map(|(pcr, value)| (pcr, Digest::from_bytes(bank, &value).unwrap()));
        let mut pcrs = PcrBanks::default();
        pcrs.insert(bank, digests.collect());
        pcrs
    }

    /// The place in `events` of the event with this number.
    pub(crate) fn event(&mut self, number: usize) -> &mut EventParts {
        &mut self.events[number - 1]
    }

    /// The number of the first event of this PCR and of this type.
    pub(crate) fn find(&self, pcr: u32, kind: EventType) -> usize {
        1 + self.events.iter().position(|event| event.pcr == pcr && event.kind == kind).unwrap()
    }
}

impl HeaderParts {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let count = self.count.unwrap_or(u32::try_from(self.algorithms.len()).unwrap());
        let mut data = [self.signature.as_slice(), &self.versions, &count.to_le_bytes()].concat();
        for (id, size) in &self.algorithms {
            data.extend(id.to_le_bytes());
            data.extend(size.to_le_bytes());
        }
        data.push(u8::try_from(self.vendor.len()).unwrap());
        data.extend(&self.vendor);
        let size = u32::try_from(data.len()).unwrap();
        [&0_u32.to_le_bytes(), EventType::NO_ACTION.0.to_le_bytes().as_slice(), &[0; 20], &size.to_le_bytes(), &data]
            .concat()
    }
}

impl EventParts {
    /// The event of a measurement of `measured`, with `data` beside it.
    pub(crate) fn measured(pcr: u32, kind: EventType, measured: &[u8], data: &[u8]) -> Self {
        let digests = BANKS.map(|bank| (bank.id(), bank.hash(measured).as_bytes().to_vec())).to_vec();
        Self { pcr, kind, count: None, digests, size: None, data: data.to_vec() }
    }

    /// The event that says from where the TPM was started.
    pub(crate) fn locality(locality: u8) -> Self {
        let digests = BANKS.map(|bank| (bank.id(), vec![0; bank.size()])).to_vec();
        let data = [b"StartupLocality\0".as_slice(), &[locality]].concat();
        Self { pcr: 0, kind: EventType::NO_ACTION, count: None, digests, size: None, data }
    }

    /// With a digest of this algorithm alone.
    pub(crate) fn with_only(mut self, bank: u16) -> Self {
        self.digests.retain(|(id, _)| *id == bank);
        self
    }

    /// Its SHA-256 digest.
    pub(crate) fn sha256(&mut self) -> &mut Vec<u8> {
        let digest = self.digests.iter_mut().find(|(id, _)| *id == algorithm::SHA256);
        &mut digest.unwrap().1
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.pcr.to_le_bytes());
        out.extend(self.kind.0.to_le_bytes());
        out.extend(self.count.unwrap_or(u32::try_from(self.digests.len()).unwrap()).to_le_bytes());
        for (id, digest) in &self.digests {
            out.extend(id.to_le_bytes());
            out.extend(digest);
        }
        out.extend(self.size.unwrap_or(u32::try_from(self.data.len()).unwrap()).to_le_bytes());
        out.extend(&self.data);
    }
}
