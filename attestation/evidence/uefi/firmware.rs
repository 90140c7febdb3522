//! Firmware blobs and the tables that firmware hands over (PFP §10.2).

use super::cursor::bounded_u64;
use super::guid::Guid;
use crate::bytes::{Malformed, Reader};

/// Most tables in one event. Firmware has about twenty configuration tables, and mostly measures them one by one.
const MOST_TABLES: usize = 256;

/// Code that firmware measured: `UEFI_PLATFORM_FIRMWARE_BLOB` and `UEFI_PLATFORM_FIRMWARE_BLOB2`, the events of
/// `EV_EFI_PLATFORM_FIRMWARE_BLOB`, `EV_EFI_PLATFORM_FIRMWARE_BLOB2` and, of much firmware, `EV_POST_CODE`.
///
/// The digest is that of the blob. It covers nothing of what is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareBlob {
    /// `BlobDescription`, of a `BLOB2` only. U+FFFD where it is no UTF-8, to be escaped when printed.
    pub description: Option<String>,
    /// `BlobBase`: a physical address.
    pub base: u64,
    /// `BlobLength`, in bytes.
    pub length: u64,
}

/// Tables that firmware hands over: `UEFI_HANDOFF_TABLE_POINTERS` and `UEFI_HANDOFF_TABLE_POINTERS2`, the events of
/// `EV_EFI_HANDOFF_TABLES` and `EV_EFI_HANDOFF_TABLES2`.
///
/// The digest is that of the tables. It covers nothing of what is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandoffTables {
    /// `TableDescription`, of a `POINTERS2` only. U+FFFD where it is no UTF-8, to be escaped when printed.
    pub description: Option<String>,
    /// `TableEntry`.
    pub tables: Vec<HandoffTable>,
}

/// `EFI_CONFIGURATION_TABLE` (UEFI 2.10 §4.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandoffTable {
    /// `VendorGuid`: which table it is.
    pub kind: Guid,
    /// `VendorTable`: a physical address.
    pub address: u64,
}

impl FirmwareBlob {
    /// Reads a `UEFI_PLATFORM_FIRMWARE_BLOB`: 16 bytes.
    ///
    /// # Errors
    /// Refuses bytes that are missing or left over.
    pub fn parse(event: &[u8]) -> Result<Self, Malformed> {
        Self::read(Reader::new("UEFI_PLATFORM_FIRMWARE_BLOB", event), None)
    }

    /// Reads a `UEFI_PLATFORM_FIRMWARE_BLOB2`, which has a description.
    ///
    /// # Errors
    /// Refuses bytes that are missing or left over.
    pub fn parse_described(event: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("UEFI_PLATFORM_FIRMWARE_BLOB2", event);
        let description = description(&mut reader)?;
        Self::read(reader, Some(description))
    }

    fn read(mut reader: Reader<'_>, description: Option<String>) -> Result<Self, Malformed> {
        let (base, length) = (reader.u64_le()?, reader.u64_le()?);
        reader.end()?;
        Ok(Self { description, base, length })
    }
}

impl HandoffTables {
    /// Reads a `UEFI_HANDOFF_TABLE_POINTERS`.
    ///
    /// # Errors
    /// Refuses more than 256 tables, and bytes that are missing or left over.
    pub fn parse(event: &[u8]) -> Result<Self, Malformed> {
        Self::read(Reader::new("UEFI_HANDOFF_TABLE_POINTERS", event), None)
    }

    /// Reads a `UEFI_HANDOFF_TABLE_POINTERS2`, which has a description.
    ///
    /// # Errors
    /// Refuses more than 256 tables, and bytes that are missing or left over.
    pub fn parse_described(event: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("UEFI_HANDOFF_TABLE_POINTERS2", event);
        let description = description(&mut reader)?;
        Self::read(reader, Some(description))
    }

    fn read(mut reader: Reader<'_>, description: Option<String>) -> Result<Self, Malformed> {
        let count = bounded_u64(&mut reader, "NumberOfTables", MOST_TABLES)?;
        let mut tables = Vec::new();
        for _ in 0..count {
            tables.push(HandoffTable { kind: Guid::read(&mut reader)?, address: reader.u64_le()? });
        }
        reader.end()?;
        Ok(Self { description, tables })
    }
}

/// An 8-bit length and that many bytes. Some firmware counts a NUL at the end, some doesn't.
fn description(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    let length = reader.u8()?;
    let text = reader.take(length.into())?;
    Ok(String::from_utf8_lossy(text.strip_suffix(&[0]).unwrap_or(text)).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Problem;
    use proptest::prelude::*;

    fn described(text: &[u8], rest: &[u8]) -> Vec<u8> {
        [&[u8::try_from(text.len()).unwrap()], text, rest].concat()
    }

    fn numbers(values: &[u64]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn blobs_are_exact() {
        let bytes = numbers(&[0xffd2_0000, 0x8_0000]);
        let blob = FirmwareBlob::parse(&bytes).unwrap();
        assert_eq!(blob, FirmwareBlob { description: None, base: 0xffd2_0000, length: 0x8_0000 });
        let bytes = described(b"POST CODE\0", &bytes);
        assert_eq!(FirmwareBlob::parse_described(&bytes).unwrap().description.as_deref(), Some("POST CODE"));
        for length in 0..bytes.len() {
            let problem = FirmwareBlob::parse_described(&bytes[..length]).unwrap_err().problem;
            assert!(matches!(problem, Problem::Truncated { .. }), "{length}: {problem}");
        }
        let longer = [bytes, vec![0]].concat();
        assert_eq!(FirmwareBlob::parse_described(&longer).unwrap_err().problem, Problem::TrailingBytes(1));
    }

    #[test]
    fn tables_are_counted_and_named() {
        let bytes = [&numbers(&[1])[..], Guid::SMBIOS_TABLE.as_bytes(), &numbers(&[0x5fd7_0000])].concat();
        let table = HandoffTable { kind: Guid::SMBIOS_TABLE, address: 0x5fd7_0000 };
        assert_eq!(HandoffTables::parse(&bytes), Ok(HandoffTables { description: None, tables: vec![table] }));
        for length in 0..bytes.len() {
            let problem = HandoffTables::parse(&bytes[..length]).unwrap_err().problem;
            assert!(matches!(problem, Problem::Truncated { .. }), "{length}: {problem}");
        }
        let described = described(b"\xff", &bytes);
        assert_eq!(HandoffTables::parse_described(&described).unwrap().description.as_deref(), Some("\u{fffd}"));
        for count in [257, 1u64 << 31, 1 << 32, u64::MAX] {
            let problem = Problem::TooMany { field: "NumberOfTables", value: count, most: 256 };
            assert_eq!(HandoffTables::parse(&numbers(&[count])).unwrap_err().problem, problem);
        }
    }

    proptest! {
        #[test]
        fn parse_never_panics(count in 0u64..5, bytes: Vec<u8>) {
            let _ = FirmwareBlob::parse(&bytes);
            let _ = FirmwareBlob::parse_described(&bytes);
            let _ = HandoffTables::parse(&[numbers(&[count]), bytes.clone()].concat());
            let _ = HandoffTables::parse_described(&bytes);
        }
    }
}
