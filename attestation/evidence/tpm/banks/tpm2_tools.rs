//! PCR values in the files of tpm2-tools.

use super::PcrBanks;
use crate::bytes::{Malformed, Problem, Reader};
use crate::hash::{Digest, HashAlgorithm};
use crate::tpm::PcrIndex;
use std::collections::BTreeMap;

/// Entries of `TPML_PCR_SELECTION` in memory.
const SELECTIONS: u32 = 16;
/// Digests of one `TPML_DIGEST`.
const DIGESTS: u32 = 8;
/// Bytes of the buffer in a `TPM2B_DIGEST` in memory.
const BUFFER: usize = 64;
/// Most `TPML_DIGEST`s: 24 PCRs of 16 banks.
const MOST_LISTS: u32 = 48;

impl PcrBanks {
    /// Reads what `tpm2_quote -o` writes: `TPML_PCR_SELECTION`, a count, and as many `TPML_DIGEST`, as they lie in a
    /// little-endian machine's memory.
    ///
    /// # Errors
    /// Refuses banks that are not known, other sizes, and bytes missing or left over.
    pub fn read_quote_file(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("PCR values of tpm2_quote", bytes);
        let mut selected: Vec<(HashAlgorithm, PcrIndex)> = Vec::new();
        let count = bounded(&mut reader, "selections", SELECTIONS)?;
        for number in 0..SELECTIONS {
            let at = reader.clone();
            let (id, size) = (reader.u16_le()?, reader.u8()?);
            let bits: [u8; 4] = reader.array()?;
            reader.u8()?; // padding
            if number >= count {
                continue;
            }
            let unknown = Problem::Value { field: "hash", value: id.into(), wanted: "sha1, sha256, sha384 or sha512" };
            let bank = HashAlgorithm::from_id(id).ok_or_else(|| at.malformed(unknown))?;
            if size != 3 {
                let wanted = "3 octets are wanted";
                return Err(at.malformed(Problem::Value { field: "sizeofSelect", value: size.into(), wanted }));
            }
            let pcrs = (0..PcrIndex::COUNT)
                .filter(|pcr| bits.get(usize::from(pcr / 8)).is_some_and(|octet| octet & (1 << (pcr % 8)) != 0));
            selected.extend(pcrs.filter_map(PcrIndex::new).map(|pcr| (bank, pcr)));
        }
        let mut digests = Vec::new();
        for _ in 0..bounded(&mut reader, "lists of digests", MOST_LISTS)? {
            let count = bounded(&mut reader, "digests", DIGESTS)?;
            for number in 0..DIGESTS {
                let size = reader.u16_le()?;
                let buffer = reader.take(BUFFER)?;
                if number < count {
                    digests.push(buffer.get(..usize::from(size)).unwrap_or_default());
                }
            }
        }
        let wrong = reader.clone();
        reader.end()?;
        if digests.len() != selected.len() {
            return Err(wrong.malformed(Problem::Text("another number of digests than of selected PCRs")));
        }
        let mut banks: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for ((bank, pcr), digest) in selected.into_iter().zip(digests) {
            let digest = Digest::from_bytes(bank, digest)
                .ok_or_else(|| wrong.malformed(Problem::Text("a digest of another size than its bank's")))?;
            banks.entry(bank).or_default().insert(pcr, digest);
        }
        Ok(Self(banks))
    }

    /// Reads what `tpm2_pcrread` prints: `sha256:`, and below it a line `0 : 0x…` for each PCR.
    ///
    /// # Errors
    /// Refuses any other line, and a PCR that comes twice.
    pub fn read_listing(text: &str) -> Result<Self, Malformed> {
        let reader = Reader::new("listing of tpm2_pcrread", text.as_bytes());
        let mut banks: BTreeMap<HashAlgorithm, BTreeMap<PcrIndex, Digest>> = BTreeMap::new();
        let mut bank = None;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let wrong = |problem| reader.malformed(Problem::Text(problem));
            let (name, value) = line.split_once(':').ok_or_else(|| wrong("a line without a colon"))?;
            let (name, value) = (name.trim(), value.trim());
            if value.is_empty() {
                let found = name.parse().map_err(|_| wrong("a bank that is not known"))?;
                banks.entry(found).or_default();
                bank = Some(found);
                continue;
            }
            let bank = bank.ok_or_else(|| wrong("a value before any bank"))?;
            let pcr = name.parse().ok().and_then(PcrIndex::new).ok_or_else(|| wrong("not the index of a PCR"))?;
            let digest = value
                .strip_prefix("0x")
                .and_then(|hex| data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok())
                .and_then(|bytes| Digest::from_bytes(bank, &bytes))
                .ok_or_else(|| wrong("a value that is no digest of its bank"))?;
            if banks.entry(bank).or_default().insert(pcr, digest).is_some() {
                return Err(wrong("a PCR that comes twice"));
            }
        }
        Ok(Self(banks))
    }
}

fn bounded(reader: &mut Reader<'_>, field: &'static str, most: u32) -> Result<u32, Malformed> {
    let at = reader.clone();
    let value = reader.u32_le()?;
    if value > most {
        return Err(at.malformed(Problem::TooMany { field, value: value.into(), most: most.into() }));
    }
    Ok(value)
}
