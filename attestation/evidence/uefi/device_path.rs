//! `EFI_DEVICE_PATH_PROTOCOL`: where a file or a device is (UEFI 2.10 §10).

mod text;

use super::cursor::strict_text;
use super::guid::Guid;
use crate::bytes::{Malformed, Problem, Reader};
use std::fmt;

/// Most bytes of a path: what the 16-bit length of a load option can say, and far more than any path has.
pub(super) const LONGEST_PATH: usize = 1 << 16;
/// `Type`, `SubType`, `Length`.
const NODE_HEADER: u16 = 4;

/// Types of nodes (UEFI 2.10 §10.3.1).
mod kind {
    pub(super) const HARDWARE: u8 = 0x01;
    pub(super) const ACPI: u8 = 0x02;
    pub(super) const MESSAGING: u8 = 0x03;
    pub(super) const MEDIA: u8 = 0x04;
    pub(super) const BIOS_BOOT: u8 = 0x05;
    pub(super) const END: u8 = 0x7f;
}

/// Subtypes that this module treats by more than their text.
mod subtype {
    /// End This Instance of a Device Path (§10.3.1).
    pub(super) const END_INSTANCE: u8 = 0x01;
    /// End Entire Device Path (§10.3.1).
    pub(super) const END_ENTIRE: u8 = 0xff;
    /// Hard Drive Media Device Path (§10.3.5.1).
    pub(super) const HARD_DRIVE: u8 = 0x01;
    /// File Path Media Device Path (§10.3.5.4).
    pub(super) const FILE_PATH: u8 = 0x04;
}

/// One device path, all nodes of which have been found.
///
/// Its [`Display`](fmt::Display) is the text of UEFI 2.10 §10.6: `HD(1,GPT,…,0x800,0x20000)/\EFI\BOOT\BOOTX64.EFI`,
/// `PciRoot(0x0)/Pci(0x1f,0x2)`. It is for people. File names in it are what the log says, so it must be escaped when
/// printed, and it must not be compared: a name may look like nodes. [`file`](Self::file) is for comparing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DevicePath<'a> {
    /// Whole nodes, the last of which is End Entire and the only such.
    nodes: &'a [u8],
}

/// One node of a path, or the end of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node<'a> {
    /// `Type` (§10.3.1).
    pub kind: u8,
    /// `SubType`.
    pub subtype: u8,
    /// What follows the four bytes of the header.
    pub data: &'a [u8],
}

impl<'a> DevicePath<'a> {
    /// Reads one whole path.
    ///
    /// # Errors
    /// Refuses more than 64 KiB, nodes with a length that doesn't fit, a path without its end, and bytes left over.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("EFI_DEVICE_PATH_PROTOCOL", bytes);
        let path = Self::read(&mut reader)?;
        reader.end()?;
        Ok(path)
    }

    /// Reads one path up to its End Entire node.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let start = reader.clone();
        loop {
            let node = Node::read(reader)?;
            let length = reader.offset() - start.offset();
            if length > LONGEST_PATH {
                let (value, most) = (length as u64, LONGEST_PATH as u64);
                return Err(start.malformed(Problem::TooMany { field: "path", value, most }));
            }
            if node.is_end_entire() {
                let nodes = start.clone().take(length)?;
                return Ok(Self { nodes });
            }
        }
    }

    /// The nodes before the end, over all instances.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'a>> + use<'a> {
        let mut reader = Reader::new("EFI_DEVICE_PATH_PROTOCOL", self.nodes);
        // `read` has found all of them, so no node is lost to an error here.
        std::iter::from_fn(move || Node::read(&mut reader).ok().filter(|node| !node.is_end_entire()))
    }

    /// The file that the path names: its File Path nodes, joined (UEFI 2.10 §10.3.5.4). With backslashes, as in the
    /// path.
    ///
    /// `None` without such a node, when there is more than one instance, and when a name is not UTF-16 with a NUL at
    /// its end and nowhere else.
    pub fn file(&self) -> Option<String> {
        let mut file: Option<String> = None;
        for node in self.nodes() {
            match (node.kind, node.subtype) {
                (kind::END, _) => return None,
                (kind::MEDIA, subtype::FILE_PATH) => file.get_or_insert_default().push_str(&node.file_name()?),
                _ => {}
            }
        }
        file
    }

    /// The partition that the path names, if its first Hard Drive node is on a disk with GPT (UEFI 2.10 §10.3.5.1).
    pub fn partition(&self) -> Option<Guid> {
        let node = self.nodes().find(|node| (node.kind, node.subtype) == (kind::MEDIA, subtype::HARD_DRIVE))?;
        HardDrive::parse(node.data).ok()?.partition()
    }
}

impl fmt::Display for DevicePath<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for node in self.nodes() {
            if node.is_end_instance() {
                out.write_str(",")?;
                separator = "";
            } else {
                write!(out, "{separator}{node}")?;
                separator = "/";
            }
        }
        Ok(())
    }
}

impl<'a> Node<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (kind, subtype) = (reader.u8()?, reader.u8()?);
        let at_length = reader.clone();
        let length = reader.u16_le()?;
        let wrong = |wanted| Problem::Value { field: "Length", value: length.into(), wanted };
        let rest = length
            .checked_sub(NODE_HEADER)
            .ok_or_else(|| at_length.malformed(wrong("at least the 4 bytes of the node's header are wanted")))?;
        let node = Self { kind, subtype, data: reader.take(rest.into())? };
        if (node.is_end_entire() || node.is_end_instance()) && rest != 0 {
            return Err(at_length.malformed(wrong("4 is wanted at an end")));
        }
        Ok(node)
    }

    fn is_end_entire(&self) -> bool {
        (self.kind, self.subtype) == (kind::END, subtype::END_ENTIRE)
    }

    fn is_end_instance(&self) -> bool {
        (self.kind, self.subtype) == (kind::END, subtype::END_INSTANCE)
    }

    /// The `PathName` of a File Path node.
    fn file_name(&self) -> Option<String> {
        strict_text(self.data.strip_suffix(&[0, 0])?)
    }
}

/// The text of one node: `Pci(0x1f,0x2)`. `Path(type,subtype,bytes)` for types that this crate doesn't know and for
/// nodes that don't have the shape of their type (UEFI 2.10 §10.6.1).
impl fmt::Display for Node<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write(self, out)
    }
}

/// A Hard Drive node (UEFI 2.10 §10.3.5.1).
struct HardDrive {
    /// Counted from 1; 0 is the whole disk.
    number: u32,
    first_block: u64,
    blocks: u64,
    signature: [u8; 16],
    /// `SignatureType`: 1 for the 32-bit signature of an MBR, 2 for a GUID.
    signature_kind: u8,
}

impl HardDrive {
    fn parse(data: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("HARDDRIVE_DEVICE_PATH", data);
        let number = reader.u32_le()?;
        let first_block = reader.u64_le()?;
        let blocks = reader.u64_le()?;
        let signature = reader.array()?;
        // `PartitionFormat` says MBR or GPT, and so does the type of the signature.
        reader.u8()?;
        let signature_kind = reader.u8()?;
        reader.end()?;
        Ok(Self { number, first_block, blocks, signature, signature_kind })
    }

    fn partition(&self) -> Option<Guid> {
        (self.signature_kind == 2).then_some(Guid::from_bytes(self.signature))
    }
}

#[cfg(test)]
mod tests;
