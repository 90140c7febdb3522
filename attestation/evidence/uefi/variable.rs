//! `UEFI_VARIABLE_DATA`: the variables in the log (PFP §10.2).

use super::cursor::{bounded_u64, padding, strict_text, utf16};
use super::guid::Guid;
use crate::bytes::{Malformed, Problem, Reader};
use crate::hash::Digest;

/// Most code units in a name. The longest that firmware uses are under 40; no allocation follows a greater claim.
const LONGEST_NAME: usize = 1024;
/// Most bytes of data. `dbx` is the largest variable that is measured, and firmware keeps it in flash: 1 MiB is more
/// than any has for all variables together.
const LONGEST_DATA: usize = 1 << 20;

/// One variable that was measured (`UEFI_VARIABLE_DATA`, PFP §10.2): the event of `EV_EFI_VARIABLE_DRIVER_CONFIG`,
/// `EV_EFI_VARIABLE_BOOT`, `EV_EFI_VARIABLE_BOOT2` and `EV_EFI_VARIABLE_AUTHORITY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable<'a> {
    /// `VariableName`: whose variable it is.
    pub vendor: Guid,
    /// `UnicodeName`. Without unpaired surrogates and NUL; to be escaped when printed.
    pub name: String,
    /// `VariableData`. Empty when firmware measured that there is no such variable.
    pub data: &'a [u8],
    /// What follows, at most [`MOST_PADDING`](super::MOST_PADDING) bytes without meaning.
    pub padding: &'a [u8],
    /// All of it.
    event: &'a [u8],
}

/// How much of a variable event its digest covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// Vendor, name and data, as PFP §10.4.1 wants it for all but `EV_EFI_VARIABLE_BOOT`.
    Whole,
    /// The data only, as most firmware does it for `EV_EFI_VARIABLE_BOOT`, and some of the time of TPM 1.2 for all.
    /// Vendor and name are nobody's word: who writes the log may put any name to these data. No statement about
    /// `SecureBoot` or `db` can rest on it.
    Data,
}

impl<'a> Variable<'a> {
    /// Reads one event.
    ///
    /// # Errors
    /// Refuses a name of more than 1024 code units, or with a NUL or an unpaired surrogate in it; data of more than a
    /// mebibyte; missing bytes; more than [`MOST_PADDING`](super::MOST_PADDING) bytes after the end.
    pub fn parse(event: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("UEFI_VARIABLE_DATA", event);
        let vendor = Guid::read(&mut reader)?;
        let name_length = bounded_u64(&mut reader, "UnicodeNameLength", LONGEST_NAME)?;
        let data_length = bounded_u64(&mut reader, "VariableDataLength", LONGEST_DATA)?;
        let at_name = reader.clone();
        let name = strict_text(utf16(&mut reader, name_length)?)
            .ok_or_else(|| at_name.malformed(Problem::Text("the name is not UTF-16 without NUL")))?;
        let data = reader.take(data_length)?;
        Ok(Self { vendor, name, data, padding: padding(&reader)?, event })
    }

    /// Whether this is the variable `name` of `vendor`.
    pub fn is(&self, vendor: Guid, name: &str) -> bool {
        self.vendor == vendor && self.name == name
    }

    /// The value of a variable that is one byte, 0 or 1: `SecureBoot`, `SetupMode`, `AuditMode`, `DeployedMode`
    /// (UEFI 2.10 §3.3), `MokListTrusted`. `None` when it is empty, as firmware measures a variable that isn't there.
    ///
    /// # Errors
    /// Refuses any other value and length.
    pub fn as_flag(&self) -> Result<Option<bool>, Malformed> {
        let reader = Reader::new("VariableData", self.data);
        match self.data {
            [] => Ok(None),
            [0] => Ok(Some(false)),
            [1] => Ok(Some(true)),
            [other] => Err(reader.malformed(Problem::Value {
                field: "flag",
                value: (*other).into(),
                wanted: "0 or 1 is wanted",
            })),
            [_, rest @ ..] => Err(reader.malformed(Problem::TrailingBytes(rest.len()))),
        }
    }

    /// How much of this event `digest` covers, if it is a digest of this event at all.
    ///
    /// Shim, where it left [`padding`](Self::padding), measured all of the event but its last byte. That counts as
    /// [`Coverage::Whole`].
    pub fn covered_by(&self, digest: &Digest) -> Option<Coverage> {
        let is_digest_of = |bytes: &[u8]| digest.algorithm().hash(bytes) == *digest;
        let shim_measured = match self.event {
            [measured @ .., _] if !self.padding.is_empty() => Some(measured),
            _ => None,
        };
        if is_digest_of(self.event) || shim_measured.is_some_and(is_digest_of) {
            Some(Coverage::Whole)
        } else if is_digest_of(self.data) {
            Some(Coverage::Data)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::HashAlgorithm;
    use proptest::prelude::*;

    fn encode(vendor: Guid, name: &str, data: &[u8]) -> Vec<u8> {
        let units: Vec<u16> = name.encode_utf16().collect();
        let mut out = vendor.as_bytes().to_vec();
        out.extend((units.len() as u64).to_le_bytes());
        out.extend((data.len() as u64).to_le_bytes());
        out.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        out.extend(data);
        out
    }

    #[test]
    fn a_truncated_event_is_refused_at_every_byte() {
        let bytes = encode(Guid::GLOBAL_VARIABLE, "SecureBoot", &[1]);
        let variable = Variable::parse(&bytes).unwrap();
        assert!(variable.is(Guid::GLOBAL_VARIABLE, "SecureBoot"));
        assert_eq!(variable.as_flag(), Ok(Some(true)));
        for length in 0..bytes.len() {
            let problem = Variable::parse(&bytes[..length]).unwrap_err().problem;
            assert!(matches!(problem, Problem::Truncated { .. }), "{length}: {problem}");
        }
    }

    #[test]
    fn absurd_lengths_are_refused_before_anything_is_read() {
        for value in [1u64 << 31, 1 << 32, 1 << 63, u64::MAX] {
            for (offset, field, most) in [(16, "UnicodeNameLength", 1024), (24, "VariableDataLength", 1 << 20)] {
                let mut bytes = encode(Guid::GLOBAL_VARIABLE, "SecureBoot", &[1]);
                bytes[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
                let refused = Variable::parse(&bytes).unwrap_err();
                assert_eq!((refused.offset, refused.problem), (offset, Problem::TooMany { field, value, most }));
            }
        }
    }

    #[test]
    fn names_that_could_be_read_as_two_are_refused() {
        let mut bytes = encode(Guid::GLOBAL_VARIABLE, "db", &[]);
        bytes[34] = 0;
        assert_eq!(Variable::parse(&bytes).unwrap_err().offset, 32);
        bytes[34..36].copy_from_slice(&[0, 0xdc]);
        assert_eq!(Variable::parse(&bytes).unwrap_err().offset, 32);
    }

    #[test]
    fn a_flag_is_one_byte_of_zero_or_one() {
        let flag = |data: &[u8]| {
            let bytes = encode(Guid::GLOBAL_VARIABLE, "SecureBoot", data);
            Variable::parse(&bytes).unwrap().as_flag().map_err(|refused| refused.problem)
        };
        assert_eq!(flag(&[]), Ok(None));
        assert_eq!(flag(&[0]), Ok(Some(false)));
        assert!(matches!(flag(&[2]), Err(Problem::Value { value: 2, .. })));
        assert_eq!(flag(&[1, 0]), Err(Problem::TrailingBytes(1)));
    }

    #[test]
    fn padding_is_bounded_and_shim_measured_all_but_its_last_byte() {
        let exact = encode(Guid::SHIM_LOCK, "Shim", &[0x30]);
        let mut bytes = exact.clone();
        bytes.extend([0, 0, 0, 0, 0, 0xaf]);
        let variable = Variable::parse(&bytes).unwrap();
        assert_eq!((variable.data, variable.padding.len()), (&[0x30][..], 6));
        let digest = |bytes: &[u8]| HashAlgorithm::Sha256.hash(bytes);
        assert_eq!(variable.covered_by(&digest(&bytes)), Some(Coverage::Whole));
        assert_eq!(variable.covered_by(&digest(&bytes[..bytes.len() - 1])), Some(Coverage::Whole));
        assert_eq!(variable.covered_by(&digest(&bytes[..bytes.len() - 2])), None);
        bytes.extend([0; 4]);
        assert_eq!(Variable::parse(&bytes).unwrap_err().problem, Problem::TrailingBytes(10));

        let variable = Variable::parse(&exact).unwrap();
        assert_eq!(variable.covered_by(&digest(&exact)), Some(Coverage::Whole));
        assert_eq!(variable.covered_by(&digest(&exact[..exact.len() - 1])), None, "no padding, so all must be covered");
        assert_eq!(variable.covered_by(&digest(&[0x30])), Some(Coverage::Data));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read(vendor: [u8; 16], name in "[^\0]{0,40}", data: Vec<u8>) {
            let bytes = encode(Guid::from_bytes(vendor), &name, &data);
            let variable = Variable::parse(&bytes).unwrap();
            prop_assert!(variable.is(Guid::from_bytes(vendor), &name));
            prop_assert_eq!(variable.data, &data[..]);
        }

        #[test]
        fn parse_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..99), name in 0u8..9, data in 0u8..9) {
            let _ = Variable::parse(&bytes);
            // Lengths that can be met lead further into the structure.
            if let Some(lengths) = bytes.get_mut(16..32) {
                lengths.fill(0);
                lengths[0] = name;
                lengths[8] = data;
            }
            let _ = Variable::parse(&bytes).map(|variable| variable.as_flag());
        }
    }
}
