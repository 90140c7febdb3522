//! IMA measurement lists, in parts that can be spoilt one by one.

use attest_evidence::ima::Entries;
use attest_evidence::tpm::{PcrBanks, PcrIndex};
use attest_evidence::{Digest, HashAlgorithm};
use std::collections::BTreeMap;

/// A list, entry by entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List(pub(crate) Vec<EntryParts>);

/// An entry of any template but `ima`, whose data have no length in front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntryParts {
    pub(crate) pcr: u32,
    pub(crate) template_digest: Vec<u8>,
    /// The length of the name, where it is not the name's.
    pub(crate) name_length: Option<u32>,
    pub(crate) name: Vec<u8>,
    /// The length of the data, where it is not theirs.
    pub(crate) data_length: Option<u32>,
    pub(crate) data: Vec<u8>,
}

impl List {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(EntryParts::bytes).collect()
    }

    /// What the entries lead to in the SHA-256 bank, as the kernel extends it (`ima_pcr_extend`).
    pub(crate) fn pcrs(&self) -> PcrBanks {
        let bank = HashAlgorithm::Sha256;
        let mut values: BTreeMap<PcrIndex, Digest> = BTreeMap::new();
        for entry in &self.0 {
            let extension =
                if entry.is_violation() { vec![0xff; 32] } else { bank.hash(&entry.data).as_bytes().to_vec() };
            let value = values.entry(entry.index()).or_insert(Digest::zero(bank));
            *value = bank.hash_parts([value.as_bytes(), &extension]);
        }
        let mut pcrs = PcrBanks::default();
        pcrs.insert(bank, values);
        pcrs
    }

    /// Per PCR, the number of entries up to its last one.
    pub(crate) fn covered(&self) -> BTreeMap<String, u64> {
        (1..).zip(&self.0).map(|(count, entry)| (entry.index().to_string(), count)).collect()
    }
}

impl EntryParts {
    /// An entry of PCR 10 as the kernel makes it.
    pub(crate) fn measured(name: &str, data: Vec<u8>) -> Self {
        let template_digest = HashAlgorithm::Sha1.hash(&data).as_bytes().to_vec();
        Self { pcr: 10, template_digest, name_length: None, name: name.into(), data_length: None, data }
    }

    pub(crate) fn is_violation(&self) -> bool {
        self.template_digest == [0; 20]
    }

    /// With the template digest that its data have.
    pub(crate) fn digested(&mut self) {
        self.template_digest = HashAlgorithm::Sha1.hash(&self.data).as_bytes().to_vec();
    }

    fn index(&self) -> PcrIndex {
        PcrIndex::new(self.pcr.try_into().unwrap()).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        let length =
            |said: Option<u32>, bytes: &[u8]| said.unwrap_or(u32::try_from(bytes.len()).unwrap()).to_le_bytes();
        let mut out = self.pcr.to_le_bytes().to_vec();
        out.extend(&self.template_digest);
        out.extend(length(self.name_length, &self.name));
        out.extend(&self.name);
        out.extend(length(self.data_length, &self.data));
        out.extend(&self.data);
        out
    }
}

/// These entries of a list.
pub(crate) fn pieces(list: &[u8], wanted: impl Fn(u64) -> bool) -> List {
    let entries = Entries::of(list).unwrap().map(Result::unwrap);
    let entries = entries.filter(|entry| wanted(entry.number));
    let parts = entries.map(|entry| {
        let name_at = entry.offset + 4 + 20 + 4;
        let length: [u8; 4] = list[name_at - 4..name_at].try_into().unwrap();
        let name = &list[name_at..name_at + usize::try_from(u32::from_le_bytes(length)).unwrap()];
        EntryParts {
            pcr: entry.pcr.get().into(),
            template_digest: entry.template_digest.to_vec(),
            name_length: None,
            name: name.to_vec(),
            data_length: None,
            data: entry.data.to_vec(),
        }
    });
    List(parts.collect())
}

/// Template data: fields with a length in front of each.
pub(crate) fn fields(fields: &[&[u8]]) -> Vec<u8> {
    let sized = fields.iter().map(|field| [&u32::try_from(field.len()).unwrap().to_le_bytes(), *field].concat());
    sized.collect::<Vec<_>>().concat()
}

/// `d-ng` and `n-ng` of a file with this content.
pub(crate) fn file(content: &[u8], name: &str) -> [Vec<u8>; 2] {
    let digest = HashAlgorithm::Sha256.hash(content);
    [[b"sha256:\0".as_slice(), digest.as_bytes()].concat(), format!("{name}\0").into_bytes()]
}

/// A list with an entry of each common template, and a violation.
pub(crate) fn made() -> List {
    let entry = |template: &str, content: &[u8], name: &str, more: &[&[u8]]| {
        let [digest, name] = file(content, name);
        EntryParts::measured(template, fields(&[&[&digest, name.as_slice()], more].concat()))
    };
    let verity = {
        let digest = HashAlgorithm::Sha256.hash(b"a Merkle tree");
        let digest = [b"verity:sha256:\0".as_slice(), digest.as_bytes()].concat();
        EntryParts::measured("ima-ngv2", fields(&[&digest, b"/usr/bin/verity\0"]))
    };
    let violation = {
        let digest = [b"sha256:\0".as_slice(), &[0; 32]].concat();
        let data = fields(&[&digest, b"/var/log/messages\0"]);
        EntryParts { template_digest: vec![0; 20], ..EntryParts::measured("ima-ng", data) }
    };
    List(vec![
        entry("ima-ng", b"PCRs 0 to 9", "boot_aggregate", &[]),
        entry("ima-ng", b"a shell", "/usr/bin/bash", &[]),
        entry("ima-sig", b"a program", "/usr/bin/tool", &[b"\x03\x02\x04signature"]),
        violation,
        entry("ima-buf", b"quiet splash", "kexec-cmdline", &[b"quiet splash"]),
        verity,
        entry("ima-ng", b"a library", "/usr/lib/lib.so", &[]),
    ])
}
