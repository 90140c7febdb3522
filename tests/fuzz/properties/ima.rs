//! The measurement list of Linux IMA, beside a second implementation of its replay.

use crate::{next, next_bytes, next_u32, plain_hash};
use attest_evidence::ima::{Entries, Extension, ImaRefused, Replay};
use attest_evidence::tpm::PcrIndex;
use attest_evidence::{Digest, HashAlgorithm};

/// A whole list: replayed in every bank it is what [`PlainEntry`] makes of the same bytes, and the value after any of
/// its entries covers no more than what lies before it.
pub fn ima(bytes: &[u8]) {
    let mut entries = Vec::new();
    for entry in Entries::of(bytes).into_iter().flatten() {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(refused) => return within(bytes, &refused),
        }
    }
    let plain = PlainEntry::read_all(bytes);
    assert_eq!(plain.as_ref().map(Vec::len), Some(entries.len()));
    let plain = plain.unwrap_or_default();
    for entry in &entries {
        if let Err(refused) = entry.measurement() {
            within(bytes, &refused);
        }
    }
    // The PCR of the first entry: so there is one whose value changes.
    let Some(pcr) = entries.first().map_or(PcrIndex::new(10), |entry| Some(entry.pcr)) else { return };
    for bank in HashAlgorithm::ALL {
        for extension in [Extension::Hashed, Extension::Padded] {
            replayed(bytes, pcr, bank, extension, &plain);
        }
    }
}

fn replayed(bytes: &[u8], pcr: PcrIndex, bank: HashAlgorithm, extension: Extension, plain: &[PlainEntry<'_>]) {
    let start = Replay::from_boot(pcr, bank, extension);
    let Some(values) = PlainEntry::replay(plain, pcr.get(), bank.size(), extension) else {
        // Refused by the plain implementation, for a template digest that is not that of the data.
        assert!(matches!(start.replayed(bytes), Err(ImaRefused::WrongTemplateDigest { .. })));
        return;
    };
    let last = values.last().cloned().unwrap_or_else(|| vec![0; bank.size()]);
    let all = start.replayed(bytes);
    assert_eq!(all.as_ref().map(|all| all.value().as_bytes().to_vec()), Ok(last), "{bank} {extension:?}");
    let Some(quoted) = values.get(values.len() / 2).and_then(|value| Digest::from_bytes(bank, value)) else { return };
    let covered = start.cover(bytes, &quoted).expect("the list leads to this value");
    assert_eq!(covered.state().value(), &quoted);
    assert!(bytes.ends_with(covered.rest()));
    assert!(covered.entries().all(|entry| entry.pcr == pcr));
    let resumed = Replay::resumed(pcr, extension, covered.state().count(), quoted).replayed(covered.rest());
    assert_eq!(resumed, all, "{bank} {extension:?}");
    let never = plain_hash(bank.size(), b"never extended");
    let never = Digest::from_bytes(bank, &never).unwrap_or(quoted);
    assert!(matches!(start.cover(bytes, &never), Err(ImaRefused::NotQuoted { .. })));
}

fn within(bytes: &[u8], refused: &ImaRefused) {
    if let ImaRefused::Malformed { malformed, .. } = refused {
        assert!(malformed.offset <= bytes.len(), "{malformed} of {}", bytes.len());
    }
    assert!(!refused.to_string().chars().any(char::is_control), "{refused:?}");
}

/// An entry as the kernel's documentation reads it, with nothing checked but the template digest.
struct PlainEntry<'a> {
    pcr: u32,
    digest: [u8; 20],
    /// What was hashed.
    hashed: std::borrow::Cow<'a, [u8]>,
}

impl<'a> PlainEntry<'a> {
    fn read_all(bytes: &'a [u8]) -> Option<Vec<Self>> {
        let mut rest = bytes;
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let pcr = next_u32(&mut rest)?;
            let digest = next(&mut rest)?;
            let name_length = next_u32(&mut rest)?;
            let hashed = if next_bytes(&mut rest, name_length)? == b"ima" {
                let mut hashed = next_bytes(&mut rest, 20)?.to_vec();
                let length = next_u32(&mut rest)?;
                hashed.extend(next_bytes(&mut rest, length)?);
                hashed.resize(276, 0);
                hashed.into()
            } else {
                let length = next_u32(&mut rest)?;
                next_bytes(&mut rest, length)?.into()
            };
            entries.push(Self { pcr, digest, hashed });
        }
        Some(entries)
    }

    /// The value after each entry; `None` where a template digest is wrong.
    fn replay(entries: &[Self], pcr: u8, size: usize, extension: Extension) -> Option<Vec<Vec<u8>>> {
        let mut value = vec![0; size];
        let mut values = Vec::new();
        for entry in entries {
            let violation = entry.digest == [0; 20];
            if !violation && plain_hash(20, &entry.hashed) != entry.digest {
                return None;
            }
            if entry.pcr == u32::from(pcr) {
                let mut digest = match extension {
                    _ if violation => vec![0xff; size],
                    Extension::Hashed => plain_hash(size, &entry.hashed),
                    Extension::Padded => entry.digest.to_vec(),
                };
                digest.resize(size, 0);
                value = plain_hash(size, &[value, digest].concat());
            }
            values.push(value.clone());
        }
        Some(values)
    }
}
