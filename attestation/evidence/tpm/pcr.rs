//! Platform configuration registers: indexes, selections, values.

use crate::bytes::{Malformed, Reader};
use crate::digest::{Sha256Digest, to_hex};
use crate::hash::{Digest, HashAlgorithm};
use crate::tpm::algorithm;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// Index of a PCR of the PC client profile: 0 to 23.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PcrIndex(u8);

impl PcrIndex {
    /// The number of PCRs in a bank (PC Client Platform TPM Profile §4.6).
    pub const COUNT: u8 = 24;

    /// Where firmware measures Secure Boot (PC Client Platform Firmware Profile §3.3.4.8).
    pub const SECURE_BOOT: Self = Self(7);
    /// Where Linux measures the files that it uses (`CONFIG_IMA_MEASURE_PCR_IDX`).
    pub const IMA: Self = Self(10);

    /// The index, if the bank has it.
    pub const fn new(index: u8) -> Option<Self> {
        if index < Self::COUNT { Some(Self(index)) } else { None }
    }

    /// What the PCR holds after a reset from locality 0: ones from 17 to 22, which dynamic launches reset to zeros, and
    /// zeros elsewhere (PC Client Platform TPM Profile §4.6).
    pub fn at_reset(self, bank: HashAlgorithm) -> Digest {
        let ones = [0xff; HashAlgorithm::LARGEST];
        match self.0 {
            17..=22 => {
                ones.get(..bank.size()).and_then(|ones| Digest::from_bytes(bank, ones)).unwrap_or(Digest::zero(bank))
            }
            _ => Digest::zero(bank),
        }
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for PcrIndex {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A selection of PCRs of the SHA-256 bank, the only bank this project trusts.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PcrSelection([u8; 3]);

/// Text or bytes that select no PCRs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PcrSelectionError {
    /// An index that is no number or not below 24.
    #[error("`{0}` is not the index of a PCR (0 to 23)")]
    Index(String),
    /// Nothing selected.
    #[error("no PCR selected")]
    Empty,
}

impl PcrSelection {
    /// The selection of these indexes.
    pub fn of(indexes: impl IntoIterator<Item = PcrIndex>) -> Self {
        let mut bits = [0; 3];
        for index in indexes {
            if let Some(byte) = bits.get_mut(usize::from(index.0 / 8)) {
                *byte |= 1 << (index.0 % 8);
            }
        }
        Self(bits)
    }

    /// `TPMS_PCR_SELECTION.pcrSelect`, three octets (Part 2 §10.6.1).
    pub const fn from_bits(bits: [u8; 3]) -> Self {
        Self(bits)
    }

    /// The three octets.
    pub const fn bits(self) -> [u8; 3] {
        self.0
    }

    /// The selected indexes, ascending: the order in which a quote hashes them (Part 1 §17.5).
    pub fn indexes(self) -> impl Iterator<Item = PcrIndex> {
        (0..PcrIndex::COUNT).map(PcrIndex).filter(move |index| self.contains(*index))
    }

    /// Whether this PCR is selected.
    pub fn contains(self, index: PcrIndex) -> bool {
        self.0.get(usize::from(index.0 / 8)).is_some_and(|byte| byte & (1 << (index.0 % 8)) != 0)
    }

    /// Number of selected PCRs.
    pub fn len(self) -> usize {
        self.indexes().count()
    }

    /// Whether nothing is selected.
    pub fn is_empty(self) -> bool {
        self.0 == [0; 3]
    }

    /// `TPML_PCR_SELECTION` with this one bank (Part 2 §10.9.7): the bytes that a quote must repeat.
    pub fn to_tpml(self) -> [u8; 10] {
        let [hash_high, hash_low] = algorithm::SHA256.to_be_bytes();
        let [a, b, c] = self.0;
        [0, 0, 0, 1, hash_high, hash_low, 3, a, b, c]
    }
}

impl fmt::Display for PcrSelection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("sha256:")?;
        for (position, index) in self.indexes().enumerate() {
            write!(out, "{}{index}", if position == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Debug for PcrSelection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// `0,1,7`: decimal indexes with commas between them.
impl std::str::FromStr for PcrSelection {
    type Err = PcrSelectionError;

    fn from_str(text: &str) -> Result<Self, PcrSelectionError> {
        let selection = text
            .split(',')
            .map(|part| {
                part.trim().parse().ok().and_then(PcrIndex::new).ok_or(PcrSelectionError::Index(part.to_owned()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        if selection.is_empty() { Err(PcrSelectionError::Empty) } else { Ok(Self::of(selection)) }
    }
}

/// In JSON: the indexes, ascending, each once. So a selection has one spelling.
impl Serialize for PcrSelection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.indexes().map(PcrIndex::get).collect::<Vec<_>>().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PcrSelection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let numbers = Vec::<u8>::deserialize(deserializer)?;
        let selection = Self::of(numbers.iter().filter_map(|number| PcrIndex::new(*number)));
        if !numbers.is_empty() && selection.indexes().map(PcrIndex::get).eq(numbers) {
            Ok(selection)
        } else {
            Err(D::Error::custom("PCRs are numbers from 0 to 23, ascending"))
        }
    }
}

/// Values of PCRs of the SHA-256 bank, ascending by index.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PcrValues(BTreeMap<PcrIndex, [u8; 32]>);

impl PcrValues {
    /// These values; a later value of one index replaces an earlier one.
    pub fn new(values: impl IntoIterator<Item = (PcrIndex, [u8; 32])>) -> Self {
        Self(values.into_iter().collect())
    }

    /// Exactly one value for each selected PCR, 32 bytes each, ascending, and nothing else.
    pub fn parse(selection: PcrSelection, bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("PCR values", bytes);
        let values = selection.indexes().map(|index| Ok((index, reader.array()?))).collect::<Result<_, Malformed>>()?;
        reader.end()?;
        Ok(Self(values))
    }

    /// The inverse of [`PcrValues::parse`].
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.values().flatten().copied().collect()
    }

    /// The values of all others.
    #[must_use]
    pub fn without(&self, index: PcrIndex) -> Self {
        Self(self.0.iter().filter(|(other, _)| **other != index).map(|(index, value)| (*index, *value)).collect())
    }

    /// The PCRs that have a value.
    pub fn selection(&self) -> PcrSelection {
        PcrSelection::of(self.0.keys().copied())
    }

    /// What a quote over these values holds as `pcrDigest` (Part 2 §10.12.1).
    pub fn digest(&self) -> Sha256Digest {
        Sha256Digest::of_parts(self.0.values().map(<[u8; 32]>::as_slice))
    }

    /// The value of one PCR.
    pub fn get(&self, index: PcrIndex) -> Option<&[u8; 32]> {
        self.0.get(&index)
    }

    /// All values, ascending by index.
    pub fn iter(&self) -> impl Iterator<Item = (PcrIndex, &[u8; 32])> {
        self.0.iter().map(|(index, value)| (*index, value))
    }
}

impl fmt::Debug for PcrValues {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_map().entries(self.0.iter().map(|(index, value)| (index.0, to_hex(value)))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_is_the_tpm_s_own_bytes() {
        let selection: PcrSelection = "0,7,10,23".parse().unwrap();
        assert_eq!(selection.to_tpml(), [0, 0, 0, 1, 0, 0x0b, 3, 0x81, 0x04, 0x80]);
        assert_eq!(selection.to_string(), "sha256:0,7,10,23");
        assert_eq!("24".parse::<PcrSelection>(), Err(PcrSelectionError::Index("24".into())));
        assert_eq!("".parse::<PcrSelection>(), Err(PcrSelectionError::Index(String::new())));
    }

    #[test]
    fn values_come_one_for_each_selected_pcr() {
        let selection: PcrSelection = "1,2".parse().unwrap();
        let values = PcrValues::parse(selection, &[[1; 32], [2; 32]].concat()).unwrap();
        assert_eq!(values.selection(), selection);
        assert_eq!(values.to_bytes(), [[1; 32], [2; 32]].concat());
        assert!(PcrValues::parse(selection, &[0; 63]).is_err());
        assert!(PcrValues::parse(selection, &[0; 65]).is_err());
    }
}
