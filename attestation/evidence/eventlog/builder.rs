//! Writing a log: for a TPM whose boot this project measures itself.

use super::EventType;
use crate::digest::Sha256Digest;
use crate::hash::HashAlgorithm;
use crate::tpm::PcrIndex;

/// A crypto-agile log of one bank, SHA-256, as firmware would write it (§10.2.2).
#[derive(Debug, Clone)]
pub struct LogBuilder {
    bytes: Vec<u8>,
    extended: Vec<(PcrIndex, Sha256Digest)>,
}

impl Default for LogBuilder {
    fn default() -> Self {
        let mut header = b"Spec ID Event03\0".to_vec();
        header.extend(0_u32.to_le_bytes()); // platformClass: a client
        header.extend([0, 2, 106, 2]); // version 2.00, errata, UINTN of 64 bits
        header.extend(1_u32.to_le_bytes());
        header.extend(HashAlgorithm::Sha256.id().to_le_bytes());
        header.extend([32, 0]);
        header.push(0); // vendorInfoSize
        let mut bytes = 0_u32.to_le_bytes().to_vec();
        bytes.extend(EventType::NO_ACTION.0.to_le_bytes());
        bytes.extend([0; 20]);
        put_sized(&mut bytes, &header);
        Self { bytes, extended: Vec::new() }
    }
}

impl LogBuilder {
    /// Adds an event whose data are what is measured.
    pub fn measured(&mut self, pcr: PcrIndex, kind: EventType, data: &[u8]) {
        self.event(pcr, kind, Sha256Digest::of(data), data);
    }

    /// Adds an event of something that is not in the log: `label` says what.
    pub fn event(&mut self, pcr: PcrIndex, kind: EventType, digest: Sha256Digest, label: &[u8]) {
        self.bytes.extend(u32::from(pcr.get()).to_le_bytes());
        self.bytes.extend(kind.0.to_le_bytes());
        self.bytes.extend(1_u32.to_le_bytes());
        self.bytes.extend(HashAlgorithm::Sha256.id().to_le_bytes());
        self.bytes.extend(digest.as_bytes());
        put_sized(&mut self.bytes, label);
        self.extended.push((pcr, digest));
    }

    /// The log, and what has to be extended for it to be true, in this order.
    pub fn finish(self) -> (Vec<u8>, Vec<(PcrIndex, Sha256Digest)>) {
        (self.bytes, self.extended)
    }
}

/// Labels are short: what doesn't fit the length of an event is cut.
fn put_sized(out: &mut Vec<u8>, data: &[u8]) {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX).min(super::LARGEST_EVENT);
    out.extend(length.to_le_bytes());
    out.extend(data.iter().take(usize::try_from(length).unwrap_or(0)));
}
