//! The text of device path nodes (UEFI 2.10 §10.6.1).

use super::{HardDrive, Node, kind, subtype};
use crate::bytes::{Malformed, Problem, Reader};
use crate::digest::to_hex;
use crate::uefi::guid::Guid;
use core::net::{Ipv4Addr, Ipv6Addr};
use std::fmt;

/// Writes the text of a node.
pub(super) fn write(node: &Node<'_>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    match known(node) {
        Some(text) => out.write_str(&text),
        None => write!(out, "Path({},{},{})", node.kind, node.subtype, to_hex(node.data)),
    }
}

/// The text of a node that has the type and the shape of one that is known.
fn known(node: &Node<'_>) -> Option<String> {
    let mut reader = Reader::new("EFI_DEVICE_PATH_PROTOCOL", node.data);
    let text = match node.kind {
        kind::HARDWARE => hardware(node.subtype, &mut reader),
        kind::ACPI => acpi(node.subtype, &mut reader),
        kind::MESSAGING => messaging(node.subtype, &mut reader),
        kind::MEDIA => media(node, &mut reader),
        kind::BIOS_BOOT => bios_boot(node.subtype, &mut reader),
        _ => return None,
    };
    let text = text.ok()?;
    reader.end().ok()?;
    Some(text)
}

/// The error for a node that has no text of its own. Nobody sees it: the node becomes a `Path(…)`.
fn no_text(reader: &Reader<'_>) -> Malformed {
    reader.malformed(Problem::Text("the node has no text"))
}

/// All that is left.
fn rest<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    reader.take(reader.rest().len())
}

/// Hardware (§10.3.2).
fn hardware(subtype: u8, node: &mut Reader<'_>) -> Result<String, Malformed> {
    Ok(match subtype {
        1 => {
            let (function, device) = (node.u8()?, node.u8()?);
            format!("Pci({device:#x},{function:#x})")
        }
        2 => format!("PcCard({:#x})", node.u8()?),
        3 => format!("MemoryMapped({:#x},{:#x},{:#x})", node.u32_le()?, node.u64_le()?, node.u64_le()?),
        4 => vendor("VenHw", node)?,
        5 => format!("Ctrl({:#x})", node.u32_le()?),
        6 => format!("BMC({:#x},{:#x})", node.u8()?, node.u64_le()?),
        _ => return Err(no_text(node)),
    })
}

/// ACPI (§10.3.3).
fn acpi(subtype: u8, node: &mut Reader<'_>) -> Result<String, Malformed> {
    /// `PNP` as a compressed EISA id: the low half of the ids of all that has a name here.
    const PNP: u32 = 0x41d0;

    Ok(match subtype {
        1 => {
            let (hid, uid) = (node.u32_le()?, node.u32_le()?);
            let product = hid >> 16;
            match (hid & 0xffff, product) {
                (PNP, 0x0a03) => format!("PciRoot({uid:#x})"),
                (PNP, 0x0a08) => format!("PcieRoot({uid:#x})"),
                (PNP, 0x0604) => format!("Floppy({uid:#x})"),
                (PNP, 0x0301) => format!("Keyboard({uid:#x})"),
                (PNP, 0x0501) => format!("Serial({uid:#x})"),
                (PNP, 0x0401) => format!("ParallelPort({uid:#x})"),
                (PNP, _) => format!("Acpi(PNP{product:04X},{uid:#x})"),
                _ => format!("Acpi({hid:#010x},{uid:#x})"),
            }
        }
        3 => {
            let mut text = format!("AcpiAdr({:#x}", node.u32_le()?);
            while !node.is_empty() {
                text.push_str(&format!(",{:#x}", node.u32_le()?));
            }
            text + ")"
        }
        _ => return Err(no_text(node)),
    })
}

/// Messaging (§10.3.4).
fn messaging(subtype: u8, node: &mut Reader<'_>) -> Result<String, Malformed> {
    Ok(match subtype {
        1 => {
            let primary = choice(node, ["Primary", "Secondary"])?;
            let master = choice(node, ["Master", "Slave"])?;
            format!("Ata({primary},{master},{:#x})", node.u16_le()?)
        }
        2 => format!("Scsi({:#x},{:#x})", node.u16_le()?, node.u16_le()?),
        3 => {
            node.u32_le()?; // Reserved
            format!("Fibre({:#x},{:#x})", node.u64_le()?, node.u64_le()?)
        }
        4 => {
            node.u32_le()?; // Reserved
            format!("I1394({:016x})", node.u64_le()?)
        }
        5 => format!("USB({:#x},{:#x})", node.u8()?, node.u8()?),
        6 => format!("I2O({:#x})", node.u32_le()?),
        10 => vendor("VenMsg", node)?,
        11 => mac(node)?,
        12 => ipv4(node)?,
        13 => ipv6(node)?,
        14 => uart(node)?,
        15 => {
            let (vendor, product) = (node.u16_le()?, node.u16_le()?);
            let (class, subclass, protocol) = (node.u8()?, node.u8()?, node.u8()?);
            format!("UsbClass({vendor:#x},{product:#x},{class:#x},{subclass:#x},{protocol:#x})")
        }
        16 => {
            let (interface, vendor, product) = (node.u16_le()?, node.u16_le()?, node.u16_le()?);
            let serial = super::strict_text(rest(node)?).ok_or_else(|| no_text(node))?;
            format!("UsbWwid({vendor:#x},{product:#x},{interface:#x},\"{serial}\")")
        }
        17 => format!("Unit({:#x})", node.u8()?),
        18 => format!("Sata({:#x},{:#x},{:#x})", node.u16_le()?, node.u16_le()?, node.u16_le()?),
        20 => format!("Vlan({})", node.u16_le()?),
        23 => {
            let namespace = node.u32_le()?;
            let [a, b, c, d, e, f, g, h] = node.array::<8>()?;
            format!("NVMe({namespace:#x},{h:02x}-{g:02x}-{f:02x}-{e:02x}-{d:02x}-{c:02x}-{b:02x}-{a:02x})")
        }
        24 => format!("Uri({})", std::str::from_utf8(rest(node)?).map_err(|_| no_text(node))?),
        25 => format!("UFS({:#x},{:#x})", node.u8()?, node.u8()?),
        26 => format!("SD({:#x})", node.u8()?),
        27 => format!("Bluetooth({})", to_hex(&node.array::<6>()?)),
        29 => format!("eMMC({:#x})", node.u8()?),
        30 => format!("BluetoothLE({},{:#x})", to_hex(&node.array::<6>()?), node.u8()?),
        _ => return Err(no_text(node)),
    })
}

/// Media (§10.3.5).
fn media(whole: &Node<'_>, node: &mut Reader<'_>) -> Result<String, Malformed> {
    Ok(match whole.subtype {
        subtype::HARD_DRIVE => hard_drive(&HardDrive::parse(rest(node)?)?),
        2 => format!("CDROM({:#x},{:#x},{:#x})", node.u32_le()?, node.u64_le()?, node.u64_le()?),
        3 => vendor("VenMedia", node)?,
        subtype::FILE_PATH => {
            rest(node)?;
            whole.file_name().ok_or_else(|| no_text(node))?
        }
        5 => format!("Media({})", Guid::read(node)?),
        6 => format!("FvFile({})", Guid::read(node)?),
        7 => format!("Fv({})", Guid::read(node)?),
        8 => {
            node.u32_le()?; // Reserved
            format!("Offset({:#x},{:#x})", node.u64_le()?, node.u64_le()?)
        }
        9 => {
            let (start, end) = (node.u64_le()?, node.u64_le()?);
            let disk = Guid::read(node)?;
            format!("RamDisk({start:#x},{end:#x},{},{disk})", node.u16_le()?)
        }
        _ => return Err(no_text(node)),
    })
}

/// BIOS Boot Specification (§10.3.6).
fn bios_boot(subtype: u8, node: &mut Reader<'_>) -> Result<String, Malformed> {
    if subtype != 1 {
        return Err(no_text(node));
    }
    let (device, status) = (node.u16_le()?, node.u16_le()?);
    let description = rest(node)?.split(|byte| *byte == 0).next().unwrap_or_default();
    let description = std::str::from_utf8(description).map_err(|_| no_text(node))?;
    let device = match device {
        1 => "Floppy",
        2 => "HD",
        3 => "CDROM",
        4 => "PCMCIA",
        5 => "USB",
        6 => "Network",
        other => return Ok(format!("BBS({other:#x},{description},{status:#x})")),
    };
    Ok(format!("BBS({device},{description},{status:#x})"))
}

/// A vendor's node: a GUID, and what only the vendor knows.
fn vendor(name: &str, node: &mut Reader<'_>) -> Result<String, Malformed> {
    let vendor = Guid::read(node)?;
    let data = rest(node)?;
    Ok(if data.is_empty() { format!("{name}({vendor})") } else { format!("{name}({vendor},{})", to_hex(data)) })
}

/// A byte that chooses one of two words.
fn choice(node: &mut Reader<'_>, words: [&'static str; 2]) -> Result<&'static str, Malformed> {
    let [first, second] = words;
    match node.u8()? {
        0 => Ok(first),
        1 => Ok(second),
        _ => Err(no_text(node)),
    }
}

fn hard_drive(drive: &HardDrive) -> String {
    let HardDrive { number, first_block, blocks, signature, signature_kind } = drive;
    let signature = match (signature_kind, drive.partition()) {
        (_, Some(partition)) => format!("GPT,{partition}"),
        (1, _) => {
            let [a, b, c, d, ..] = *signature;
            format!("MBR,{:#010x}", u32::from_le_bytes([a, b, c, d]))
        }
        (other, _) => format!("{other},0"),
    };
    format!("HD({number},{signature},{first_block:#x},{blocks:#x})")
}

/// A MAC address, in a field of 32 bytes of which Ethernet and "other" use six (§10.3.4).
fn mac(node: &mut Reader<'_>) -> Result<String, Malformed> {
    let field = node.take(32)?;
    let kind = node.u8()?;
    let address = if matches!(kind, 0 | 1) { field.get(..6).unwrap_or(field) } else { field };
    Ok(format!("MAC({},{kind:#x})", to_hex(address)))
}

/// IPv4 (§10.3.4). The gateway and the mask came with UEFI 2.3.1.
fn ipv4(node: &mut Reader<'_>) -> Result<String, Malformed> {
    let address = |node: &mut Reader<'_>| node.array::<4>().map(Ipv4Addr::from);
    let (local, remote) = (address(node)?, address(node)?);
    node.take(4)?; // LocalPort, RemotePort
    let protocol = protocol(node)?;
    let origin = choice(node, ["DHCP", "Static"])?;
    let mut text = format!("IPv4({remote},{protocol},{origin},{local}");
    if !node.is_empty() {
        text.push_str(&format!(",{},{}", address(node)?, address(node)?));
    }
    Ok(text + ")")
}

/// IPv6 (§10.3.4). The prefix and the gateway came with UEFI 2.3.1.
fn ipv6(node: &mut Reader<'_>) -> Result<String, Malformed> {
    let address = |node: &mut Reader<'_>| node.array::<16>().map(Ipv6Addr::from);
    let (local, remote) = (address(node)?, address(node)?);
    node.take(4)?; // LocalPort, RemotePort
    let protocol = protocol(node)?;
    let origin = match node.u8()? {
        0 => "Static",
        1 => "StatelessAutoConfigure",
        2 => "StatefulAutoConfigure",
        _ => return Err(no_text(node)),
    };
    let mut text = format!("IPv6({remote},{protocol},{origin},{local}");
    if !node.is_empty() {
        text.push_str(&format!(",{:#x},{}", node.u8()?, address(node)?));
    }
    Ok(text + ")")
}

/// A protocol number of IANA's.
fn protocol(node: &mut Reader<'_>) -> Result<String, Malformed> {
    Ok(match node.u16_le()? {
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        other => format!("{other:#x}"),
    })
}

/// A serial line (§10.3.4).
fn uart(node: &mut Reader<'_>) -> Result<String, Malformed> {
    node.u32_le()?; // Reserved
    let (rate, bits) = (node.u64_le()?, node.u8()?);
    let parity = match node.u8()? {
        0 => "D",
        1 => "N",
        2 => "E",
        3 => "O",
        4 => "M",
        5 => "S",
        _ => return Err(no_text(node)),
    };
    let stop = match node.u8()? {
        0 => "D",
        1 => "1",
        2 => "1.5",
        3 => "2",
        _ => return Err(no_text(node)),
    };
    Ok(format!("Uart({rate},{bits},{parity},{stop})"))
}
