//! A kernel that measures what the test says.

use attest_evidence::ima::Entries;
use attest_evidence::tpm::PcrIndex;
use attest_evidence::{HashAlgorithm, Sha256Digest};
use attest_tpm::Tpm;

/// What a kernel measures: its list, and what it extends PCR 10 with.
#[derive(Default)]
pub(crate) struct Kernel {
    pub(crate) list: Vec<u8>,
    pub(crate) entries: u64,
    /// Not extended yet.
    extended: Vec<(PcrIndex, Sha256Digest)>,
}

impl Kernel {
    /// A file is used, measured by `ima-ng`.
    pub(crate) fn measures(&mut self, path: &str, content: &[u8]) {
        self.entry(path, &[b"sha256:\0".as_slice(), Sha256Digest::of(content).as_bytes()].concat(), false);
    }

    /// A file is used that is open for writing.
    pub(crate) fn violates(&mut self, path: &str) {
        self.entry(path, &[b"sha256:\0".as_slice(), &[0; 32]].concat(), true);
    }

    pub(crate) fn entry(&mut self, path: &str, digest: &[u8], violation: bool) {
        let mut data = Vec::new();
        for field in [digest, &[path.as_bytes(), b"\0"].concat()] {
            data.extend(u32::try_from(field.len()).unwrap().to_le_bytes());
            data.extend(field);
        }
        let template = if violation { vec![0; 20] } else { HashAlgorithm::Sha1.hash(&data).as_bytes().to_vec() };
        self.list.extend(10_u32.to_le_bytes());
        self.list.extend(template);
        for part in [b"ima-ng".as_slice(), &data] {
            self.list.extend(u32::try_from(part.len()).unwrap().to_le_bytes());
            self.list.extend(part);
        }
        self.entries += 1;
        let extended = if violation { Sha256Digest::from_bytes([0xff; 32]) } else { Sha256Digest::of(&data) };
        self.extended.push((PcrIndex::IMA, extended));
    }

    /// What another kernel measured.
    pub(crate) fn of_list(list: Vec<u8>) -> Self {
        let entries: Vec<_> = Entries::of(&list).unwrap().map(Result::unwrap).collect();
        let extended = entries.iter().filter(|entry| entry.pcr == PcrIndex::IMA).map(|entry| {
            let violation = Sha256Digest::from_bytes([0xff; 32]);
            (PcrIndex::IMA, if entry.is_violation() { violation } else { Sha256Digest::of(entry.data) })
        });
        let (extended, entries) = (extended.collect(), entries.len() as u64);
        Self { list, entries, extended }
    }

    /// Extends PCR 10.
    pub(crate) async fn extend(&mut self, tpm: &Tpm) {
        let extended = std::mem::take(&mut self.extended);
        tpm.run(move |device| device.extend_pcrs(&extended)).await.unwrap();
    }
}
