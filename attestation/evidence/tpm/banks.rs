//! Values of PCRs of several banks, as people and programs hand them around.

mod tpm2_tools;

use super::PcrIndex;
use crate::hash::{Digest, HashAlgorithm};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// Values of PCRs by bank. As JSON: `{"sha256":{"0":"hex",…}}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PcrBanks(BTreeMap<HashAlgorithm, BTreeMap<PcrIndex, Digest>>);

impl PcrBanks {
    /// The values of one bank.
    pub fn bank(&self, bank: HashAlgorithm) -> Option<&BTreeMap<PcrIndex, Digest>> {
        self.0.get(&bank)
    }

    /// All banks.
    pub fn iter(&self) -> impl Iterator<Item = (HashAlgorithm, &BTreeMap<PcrIndex, Digest>)> {
        self.0.iter().map(|(bank, values)| (*bank, values))
    }

    /// Adds a bank, or puts another in its place.
    pub fn insert(&mut self, bank: HashAlgorithm, values: BTreeMap<PcrIndex, Digest>) {
        self.0.insert(bank, values);
    }

    /// Whether there are no values at all.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(BTreeMap::is_empty)
    }
}

impl Serialize for PcrBanks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut banks = serializer.serialize_map(Some(self.0.len()))?;
        for (bank, values) in &self.0 {
            let values: Vec<_> = values.iter().map(|(pcr, digest)| (pcr.get(), digest.to_string())).collect();
            banks.serialize_entry(bank.as_str(), &Ascending(&values))?;
        }
        banks.end()
    }
}

/// PCRs by number, not by the text of it.
struct Ascending<'a>(&'a [(u8, String)]);

impl Serialize for Ascending<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(pcr, digest)| (pcr.to_string(), digest)))
    }
}

impl<'de> Deserialize<'de> for PcrBanks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Unique(banks) = Unique::<Unique<String>>::deserialize(deserializer)?;
        let mut all = Self::default();
        for (bank, Unique(values)) in banks {
            let bank: HashAlgorithm = bank.parse().map_err(|error| D::Error::custom(format!("`{bank}`: {error}")))?;
            let mut read = BTreeMap::new();
            for (pcr, digest) in values {
                let index = pcr.parse().ok().and_then(PcrIndex::new).filter(|index| index.to_string() == pcr);
                let index =
                    index.ok_or_else(|| D::Error::custom(format!("`{pcr}` is not the index of a PCR (0 to 23)")))?;
                let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(digest.as_bytes()).unwrap_or_default();
                let digest = Digest::from_bytes(bank, &bytes).ok_or_else(|| {
                    D::Error::custom(format!("PCR {index}: not {} hexadecimal digits", 2 * bank.size()))
                })?;
                read.insert(index, digest);
            }
            all.insert(bank, read);
        }
        Ok(all)
    }
}

/// A map whose members come once each.
struct Unique<V>(BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Members<V> {
            type Value = Unique<V>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, V>()? {
                    if all.contains_key(&name) {
                        return Err(A::Error::custom(format!("`{name}` stands there twice")));
                    }
                    all.insert(name, value);
                }
                Ok(Unique(all))
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_one_form_and_come_once() {
        let zeros = "00".repeat(32);
        let json = format!(r#"{{"sha256":{{"2":"{zeros}","10":"{zeros}"}}}}"#);
        let banks: PcrBanks = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&banks).unwrap(), json);
        for (wrong, reason) in [
            (format!(r#"{{"sha256":{{"2":"{zeros}","2":"{zeros}"}}}}"#), "`2` stands there twice"),
            (r#"{"sha256":{},"sha256":{}}"#.to_owned(), "`sha256` stands there twice"),
            (format!(r#"{{"sha256":{{"24":"{zeros}"}}}}"#), "`24` is not the index of a PCR"),
            (format!(r#"{{"sha256":{{"02":"{zeros}"}}}}"#), "`02` is not the index of a PCR"),
            (r#"{"sha256":{"2":"00"}}"#.to_owned(), "PCR 2: not 64 hexadecimal digits"),
            (r#"{"md5":{}}"#.to_owned(), "`md5`: a hash algorithm is"),
            (r#"{"sha256":{"2":0}}"#.to_owned(), "invalid type"),
        ] {
            let error = serde_json::from_str::<PcrBanks>(&wrong).unwrap_err().to_string();
            assert!(error.contains(reason), "{wrong}: {error}");
        }
    }
}
