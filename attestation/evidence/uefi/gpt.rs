//! `UEFI_GPT_DATA`: the partition table of the disk that booted (PFP §10.2, UEFI 2.10 §5.3).

use super::cursor::{bounded_u64, lenient_text};
use super::guid::Guid;
use crate::bytes::{Malformed, Problem, Reader};

/// `EFI PART`.
const SIGNATURE: u64 = 0x5452_4150_2049_4645;
/// Most partitions in use. Tables have room for 128; some tools make them larger.
const MOST_PARTITIONS: usize = 1024;
/// The entry as UEFI 2.10 defines it. Entries may be larger, by a power of two.
const ENTRY: u32 = 128;
/// The largest entry accepted, 32 times the defined one: nobody has made a larger one than that.
const LARGEST_ENTRY: u32 = 4096;

/// The table, as `EV_EFI_GPT_EVENT` and `EV_EFI_GPT_EVENT2` hold it. The digest covers all of the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionTable {
    /// `DiskGUID`.
    pub disk: Guid,
    /// `FirstUsableLBA` and `LastUsableLBA`.
    pub usable: Blocks,
    /// The entries in use.
    pub partitions: Vec<Partition>,
}

/// One `EFI_PARTITION_ENTRY` (UEFI 2.10 §5.3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// `PartitionTypeGUID`.
    pub kind: Guid,
    /// `UniquePartitionGUID`: the one that device paths and `/dev/disk/by-partuuid` name.
    pub unique: Guid,
    /// `StartingLBA` and `EndingLBA`.
    pub blocks: Blocks,
    /// `Attributes`.
    pub attributes: u64,
    /// `PartitionName`, up to its NUL. For people: U+FFFD where it is no UTF-16, to be escaped when printed.
    pub name: String,
}

/// A range of logical blocks, as the table says it: `last` may be before `first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// The first block.
    pub first: u64,
    /// The last block, which is part of the range.
    pub last: u64,
}

impl PartitionTable {
    /// Reads one event.
    ///
    /// The checksums in the header are not looked at: they are about the disk, and the digest covers more.
    ///
    /// # Errors
    /// Refuses a header without `EFI PART`, an entry size that isn't 128 times a small power of two, more than 1024
    /// partitions, and bytes that are missing or left over.
    pub fn parse(event: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("UEFI_GPT_DATA", event);
        let at_signature = reader.clone();
        let signature = reader.u64_le()?;
        if signature != SIGNATURE {
            return Err(at_signature.malformed(Problem::Value {
                field: "Signature",
                value: signature,
                wanted: "`EFI PART` is wanted",
            }));
        }
        // Revision, HeaderSize, HeaderCRC32, Reserved, MyLBA, AlternateLBA.
        reader.take(4 + 4 + 4 + 4 + 8 + 8)?;
        let usable = Blocks::read(&mut reader)?;
        let disk = Guid::read(&mut reader)?;
        // PartitionEntryLBA, NumberOfPartitionEntries.
        reader.take(8 + 4)?;
        let at_size = reader.clone();
        let size = reader.u32_le()?;
        if !(ENTRY..=LARGEST_ENTRY).contains(&size) || !size.is_power_of_two() {
            return Err(at_size.malformed(Problem::Value {
                field: "SizeOfPartitionEntry",
                value: size.into(),
                wanted: "128 times a power of two, at most 4096, is wanted",
            }));
        }
        // PartitionEntryArrayCRC32.
        reader.take(4)?;
        let count = bounded_u64(&mut reader, "NumberOfPartitions", MOST_PARTITIONS)?;
        let mut partitions = Vec::new();
        for _ in 0..count {
            partitions.push(Partition::read(&mut reader, size)?);
        }
        reader.end()?;
        Ok(Self { disk, usable, partitions })
    }
}

impl Partition {
    fn read(reader: &mut Reader<'_>, size: u32) -> Result<Self, Malformed> {
        let kind = Guid::read(reader)?;
        let unique = Guid::read(reader)?;
        let blocks = Blocks::read(reader)?;
        let attributes = reader.u64_le()?;
        // Behind the NUL, Windows leaves what was in memory there.
        let name = lenient_text(reader.take(72)?);
        let reserved = size.saturating_sub(ENTRY);
        reader.take(usize::try_from(reserved).unwrap_or(usize::MAX))?;
        Ok(Self { kind, unique, blocks, attributes, name })
    }
}

impl Blocks {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { first: reader.u64_le()?, last: reader.u64_le()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(entry: u32, count: u64) -> Vec<u8> {
        let mut out = b"EFI PART".to_vec();
        out.extend([0; 32]);
        out.extend(34u64.to_le_bytes());
        out.extend(9000u64.to_le_bytes());
        out.extend(Guid::MICROSOFT.as_bytes());
        out.extend([0; 12]);
        out.extend(entry.to_le_bytes());
        out.extend([0; 4]);
        out.extend(count.to_le_bytes());
        out
    }

    fn partition(name: &[u16]) -> Vec<u8> {
        let mut out = Guid::EFI_SYSTEM_PARTITION.as_bytes().to_vec();
        out.extend(Guid::MICROSOFT.as_bytes());
        for value in [2048u64, 4095, 1] {
            out.extend(value.to_le_bytes());
        }
        out.extend(name.iter().flat_map(|unit| unit.to_le_bytes()));
        out.resize(128, 0);
        out
    }

    #[test]
    fn a_table_is_read_and_refused_when_truncated() {
        // Behind the NUL: leftovers, which here are no UTF-16.
        let name = [0x45, 0xd800, 0x53, 0, 0xdc00, 0x58];
        let bytes = [encode(128, 2), partition(&name), partition(&[])].concat();
        let table = PartitionTable::parse(&bytes).unwrap();
        assert_eq!((table.disk, table.usable), (Guid::MICROSOFT, Blocks { first: 34, last: 9000 }));
        let first = &table.partitions[0];
        assert_eq!((first.kind, first.unique), (Guid::EFI_SYSTEM_PARTITION, Guid::MICROSOFT));
        assert_eq!((first.blocks, first.attributes), (Blocks { first: 2048, last: 4095 }, 1));
        assert_eq!(first.name, "E\u{fffd}S");
        assert_eq!(table.partitions[1].name, "");
        for length in 0..bytes.len() {
            let problem = PartitionTable::parse(&bytes[..length]).unwrap_err().problem;
            assert!(matches!(problem, Problem::Truncated { .. }), "{length}: {problem}");
        }
        let longer = [bytes, vec![0]].concat();
        assert_eq!(PartitionTable::parse(&longer).unwrap_err().problem, Problem::TrailingBytes(1));
    }

    #[test]
    fn larger_entries_are_skipped_to_their_end() {
        let mut wide = partition(&[0x41]);
        wide.resize(256, 9);
        let bytes = [encode(256, 2), wide.clone(), wide].concat();
        assert_eq!(PartitionTable::parse(&bytes).unwrap().partitions[1].name, "A");
    }

    #[test]
    fn absurd_counts_and_sizes_are_refused() {
        for count in [1025, 1u64 << 31, 1 << 32, u64::MAX] {
            let refused = PartitionTable::parse(&encode(128, count)).unwrap_err();
            let problem = Problem::TooMany { field: "NumberOfPartitions", value: count, most: 1024 };
            assert_eq!((refused.offset, refused.problem), (92, problem));
        }
        for size in [0, 1, 127, 129, 192, 8192, 1 << 31, u32::MAX] {
            let refused = PartitionTable::parse(&encode(size, 0)).unwrap_err();
            assert!(matches!(refused.problem, Problem::Value { field: "SizeOfPartitionEntry", .. }), "{size}");
        }
        let mut other = encode(128, 0);
        other[0] = b'e';
        assert_eq!(PartitionTable::parse(&other).unwrap_err().offset, 0);
    }

    proptest! {
        #[test]
        fn parse_never_panics(count in 0u64..4, shift in 0u32..6, bytes: Vec<u8>) {
            let _ = PartitionTable::parse(&bytes);
            let _ = PartitionTable::parse(&[encode(ENTRY << shift, count), bytes].concat());
        }
    }
}
