//! What UEFI firmware measures.

use crate::read;
use attest_evidence::HashAlgorithm;
use attest_evidence::uefi::device_path::DevicePath;
use attest_evidence::uefi::firmware::{FirmwareBlob, HandoffTables};
use attest_evidence::uefi::load_option::{boot_number, parse_boot_order};
use attest_evidence::uefi::signature_list::{Authority, SignatureKind, skip_authentication};
use attest_evidence::uefi::variable::Coverage;
use attest_evidence::uefi::{Guid, ImageLoad, LoadOption, PartitionTable, Signature, TaggedEvent, Variable};

/// `UEFI_VARIABLE_DATA`, and what its name says of its data: written again it is the same bytes.
pub fn uefi_variable(bytes: &[u8]) {
    let Some(variable) = read(bytes, Variable::parse(bytes)) else { return };
    let units: Vec<u16> = variable.name.encode_utf16().collect();
    let lengths = [units.len() as u64, variable.data.len() as u64].map(u64::to_le_bytes);
    let name: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let parts = [variable.vendor.as_bytes(), lengths.as_flattened(), &name, variable.data, variable.padding];
    assert_eq!(parts.concat(), bytes);
    for bank in HashAlgorithm::ALL {
        assert_eq!(variable.covered_by(&bank.hash(bytes)), Some(Coverage::Whole));
    }
    read(variable.data, variable.as_flag());
    match variable.name.as_str() {
        "PK" | "KEK" | "db" | "dbx" | "MokList" | "MokListX" => signature_list(variable.data),
        "BootOrder" => {
            if let Some(order) = read(variable.data, parse_boot_order(variable.data)) {
                assert_eq!(order.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>(), variable.data);
            }
        }
        name if boot_number(name).is_some() => {
            assert_eq!(boot_number(name).map(|number| format!("Boot{number:04X}")).as_deref(), Some(name));
            load_option(variable.data);
        }
        _ => {}
    }
}

/// `EFI_SIGNATURE_LIST`: each signature, put into a list of its own, is read as the same.
pub fn signature_list(bytes: &[u8]) {
    if let Some(authority) = read(bytes, Authority::parse(bytes)) {
        assert!(authority.owner.is_some() || bytes.starts_with(&[0x30]));
    }
    if let Some(rest) = read(bytes, skip_authentication(bytes)) {
        assert!(bytes.ends_with(rest));
    }
    let Some(signatures) = read(bytes, Signature::parse_lists(bytes)) else { return };
    let lists: Vec<u8> = signatures.iter().flat_map(one_list).collect();
    assert_eq!(Signature::parse_lists(&lists), Ok(signatures));
}

fn one_list(signature: &Signature<'_>) -> Vec<u8> {
    let digest = |kinds: [Guid; 4], digest: &attest_evidence::Digest, rest: &[u8]| {
        let of_kind = HashAlgorithm::ALL.into_iter().zip(kinds).find(|(hash, _)| *hash == digest.algorithm());
        (of_kind.map_or(Guid::ZERO, |(_, kind)| kind), [digest.as_bytes(), rest].concat())
    };
    let images = [Guid::CERT_SHA1, Guid::CERT_SHA256, Guid::CERT_SHA384, Guid::CERT_SHA512];
    let certificates = [Guid::ZERO, Guid::CERT_X509_SHA256, Guid::CERT_X509_SHA384, Guid::CERT_X509_SHA512];
    let (kind, data) = match &signature.kind {
        SignatureKind::X509(der) => (Guid::CERT_X509, der.to_vec()),
        SignatureKind::Hash(of_image) => digest(images, of_image, &[]),
        SignatureKind::X509Hash { digest: of_certificate, revoked } => digest(certificates, of_certificate, revoked),
        SignatureKind::Other { kind, data } => (*kind, data.to_vec()),
    };
    let size = crate::length(&data).saturating_add(16);
    let sizes = [size.saturating_add(28), 0, size].map(u32::to_le_bytes);
    [kind.as_bytes(), sizes.as_flattened(), signature.owner.as_bytes(), &data].concat()
}

/// `UEFI_GPT_DATA`: nothing of it is left out.
pub fn gpt(bytes: &[u8]) {
    /// `UEFI_PARTITION_TABLE_HEADER` and `NumberOfPartitions`.
    const HEADER: usize = 100;
    let Some(table) = read(bytes, PartitionTable::parse(bytes)) else { return };
    let size = bytes.get(84..).and_then(|mut rest| crate::next_u32(&mut rest)).and_then(|size| size.try_into().ok());
    assert_eq!(size.map(|size: usize| HEADER + table.partitions.len() * size), Some(bytes.len()));
    assert!(table.partitions.iter().all(|partition| partition.name.chars().count() <= 36));
}

/// `EFI_DEVICE_PATH_PROTOCOL`: its nodes, written again, are the same bytes.
pub fn device_path(bytes: &[u8]) {
    let Some(path) = read(bytes, DevicePath::parse(bytes)) else { return };
    assert_eq!(nodes(&path), bytes);
    if let Some(file) = path.file() {
        assert!(!file.contains('\0'));
    }
    // A node is shown by its bytes at the most, in hexadecimal, or by some words.
    assert!(path.to_string().len() <= 100 * bytes.len());
    path.partition();
}

fn nodes(path: &DevicePath<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for node in path.nodes() {
        let length = u16::try_from(node.data.len() + 4).unwrap_or_default();
        out.extend([node.kind, node.subtype]);
        out.extend(length.to_le_bytes());
        out.extend(node.data);
    }
    out.extend([0x7f, 0xff, 4, 0]);
    out
}

/// `UEFI_IMAGE_LOAD_EVENT`: written again it is the same bytes.
pub fn image_load(bytes: &[u8]) {
    let Some(image) = read(bytes, ImageLoad::parse(bytes)) else { return };
    let path = image.path.as_ref().map(nodes).unwrap_or_default();
    let numbers = [image.address, image.length, image.link_time_address, path.len() as u64].map(u64::to_le_bytes);
    assert_eq!([numbers.as_flattened(), &path, image.padding].concat(), bytes);
    device_path(&path);
}

/// `EFI_LOAD_OPTION`: its paths and what follows are at the end of its bytes.
pub fn load_option(bytes: &[u8]) {
    read(bytes, parse_boot_order(bytes));
    let Some(option) = read(bytes, LoadOption::parse(bytes)) else { return };
    let mut end = nodes(&option.path);
    for path in &option.other_paths {
        end.extend(nodes(path));
    }
    end.extend(option.optional_data);
    assert!(bytes.ends_with(&end));
    assert!(option.description.chars().count() <= 1024);
    assert_eq!(bytes.first().map(|first| first & 1 != 0), Some(option.is_active()));
    device_path(&nodes(&option.path));
}

/// Firmware blobs and handed-over tables, of both editions: written again they are the same bytes.
pub fn firmware(bytes: &[u8]) {
    if let Some(blob) = read(bytes, FirmwareBlob::parse(bytes)) {
        assert_eq!([blob.base, blob.length].map(u64::to_le_bytes).as_flattened(), bytes);
    }
    if let Some(tables) = read(bytes, HandoffTables::parse(bytes)) {
        assert_eq!(written(&tables), bytes);
    }
    if let Some(blob) = read(bytes, FirmwareBlob::parse_described(bytes)) {
        assert!(blob.description.is_some() && bytes.ends_with(&blob.length.to_le_bytes()));
    }
    if let Some(tables) = read(bytes, HandoffTables::parse_described(bytes)) {
        assert!(tables.description.is_some() && bytes.ends_with(&written(&tables)));
    }
}

fn written(tables: &HandoffTables) -> Vec<u8> {
    let mut out = (tables.tables.len() as u64).to_le_bytes().to_vec();
    for table in &tables.tables {
        out.extend(table.kind.as_bytes());
        out.extend(table.address.to_le_bytes());
    }
    out
}

/// `TCG_PCClientTaggedEvent`: written again it is the same bytes.
pub fn tagged(bytes: &[u8]) {
    let Some(event) = read(bytes, TaggedEvent::parse(bytes)) else { return };
    let numbers = [event.id, crate::length(event.data)].map(u32::to_le_bytes);
    assert_eq!([numbers.as_flattened(), event.data].concat(), bytes);
}
