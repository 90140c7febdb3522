use super::*;
use proptest::prelude::*;

const END: [u8; 4] = [0x7f, 0xff, 4, 0];

fn node(kind: u8, subtype: u8, data: &[u8]) -> Vec<u8> {
    [&[kind, subtype], &u16::try_from(data.len() + 4).unwrap().to_le_bytes()[..], data].concat()
}

fn file(name: &str) -> Vec<u8> {
    let bytes: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    node(4, 4, &bytes)
}

fn hard_drive(signature: &[u8; 16], kinds: [u8; 2]) -> Vec<u8> {
    let numbers = [&1u32.to_le_bytes()[..], &0x800u64.to_le_bytes(), &0x20000u64.to_le_bytes()].concat();
    node(4, 1, &[&numbers[..], signature, &kinds].concat())
}

fn text(nodes: &[Vec<u8>]) -> String {
    let bytes = [nodes.concat(), END.to_vec()].concat();
    DevicePath::parse(&bytes).unwrap().to_string()
}

#[test]
fn paths_read_as_users_know_them() {
    let pci_root = node(2, 1, &[0xd0, 0x41, 0x03, 0x0a, 0, 0, 0, 0]);
    assert_eq!(text(&[pci_root.clone(), node(1, 1, &[2, 0x1f])]), "PciRoot(0x0)/Pci(0x1f,0x2)");
    let nvme = node(3, 23, &[1, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(text(&[nvme]), "NVMe(0x1,01-02-03-04-05-06-07-08)");
    let boot = [hard_drive(Guid::MICROSOFT.as_bytes(), [2, 2]), file("\\EFI\\BOOT\\BOOTX64.EFI\0")];
    assert_eq!(text(&boot), r"HD(1,GPT,77fa9abd-0359-4d32-bd60-28f4e78f784b,0x800,0x20000)/\EFI\BOOT\BOOTX64.EFI");
    let mbr = hard_drive(&[0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [1, 1]);
    assert_eq!(text(&[mbr]), "HD(1,MBR,0x12345678,0x800,0x20000)");
    let fv = [node(4, 7, Guid::MICROSOFT.as_bytes()), node(4, 6, Guid::SHIM_LOCK.as_bytes())];
    assert_eq!(text(&fv), "Fv(77fa9abd-0359-4d32-bd60-28f4e78f784b)/FvFile(605dab50-e046-4300-abb6-3dd810dd8b23)");
    let mut mac = vec![0x52, 0x54, 0, 0x12, 0x34, 0x56];
    mac.resize(32, 0);
    mac.push(1);
    let mut ipv4 = vec![0; 15];
    ipv4[12] = 17;
    assert_eq!(text(&[node(3, 11, &mac), node(3, 12, &ipv4)]), "MAC(525400123456,0x1)/IPv4(0.0.0.0,UDP,DHCP,0.0.0.0)");
    ipv4.extend([10, 0, 0, 1, 255, 255, 255, 0]);
    assert_eq!(text(&[node(3, 12, &ipv4)]), "IPv4(0.0.0.0,UDP,DHCP,0.0.0.0,10.0.0.1,255.255.255.0)");
    let instances = [pci_root.clone(), node(0x7f, 1, &[]), pci_root];
    assert_eq!(text(&instances), "PciRoot(0x0),PciRoot(0x0)");
    assert_eq!(text(&[node(5, 1, b"\x06\0\0\0IBA\0")]), "BBS(Network,IBA,0x0)");
    assert_eq!(text(&[]), "");
}

#[test]
fn what_has_no_known_shape_is_hexadecimal() {
    assert_eq!(text(&[node(9, 8, &[0xab, 1])]), "Path(9,8,ab01)");
    assert_eq!(text(&[node(1, 1, &[2])]), "Path(1,1,02)", "too short for a PCI node");
    assert_eq!(text(&[node(1, 1, &[2, 3, 4])]), "Path(1,1,020304)", "too long for a PCI node");
    assert_eq!(text(&[node(4, 4, &[0, 0xd8, 0, 0])]), "Path(4,4,00d80000)", "an unpaired surrogate");
    assert_eq!(text(&[node(3, 24, &[0xff])]), "Path(3,24,ff)", "an URI that is no UTF-8");
}

#[test]
fn files_and_partitions_are_for_comparing() {
    let path = |nodes: &[Vec<u8>]| [nodes.concat(), END.to_vec()].concat();
    let drive = hard_drive(Guid::MICROSOFT.as_bytes(), [2, 2]);
    let split = path(&[drive, file("\\EFI\0"), file("\\a.efi\0")]);
    let split = DevicePath::parse(&split).unwrap();
    assert_eq!(split.file().as_deref(), Some("\\EFI\\a.efi"));
    assert_eq!(split.partition(), Some(Guid::MICROSOFT));

    let two = path(&[file("\\a\0"), node(0x7f, 1, &[]), file("\\b\0")]);
    assert_eq!(DevicePath::parse(&two).unwrap().file(), None);
    for name in ["\\a", "\\a\0b\0", "\\a\0\0", ""] {
        let bytes = path(&[file(name)]);
        assert_eq!(DevicePath::parse(&bytes).unwrap().file(), None, "{name:?}");
    }
    let nothing = DevicePath::parse(&END).unwrap();
    assert_eq!((nothing.file(), nothing.partition()), (None, None));
}

#[test]
fn a_truncated_path_is_refused_at_every_byte() {
    let bytes = [file("\\a\0"), END.to_vec()].concat();
    for length in 0..bytes.len() {
        let problem = DevicePath::parse(&bytes[..length]).unwrap_err().problem;
        assert!(matches!(problem, Problem::Truncated { .. }), "{length}: {problem}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(DevicePath::parse(&longer).unwrap_err().problem, Problem::TrailingBytes(1));
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    for length in 0..4 {
        let refused = DevicePath::parse(&[1, 1, length, 0]).unwrap_err();
        assert!(matches!(refused.problem, Problem::Value { field: "Length", .. }), "{length}");
        assert_eq!(refused.offset, 2);
    }
    let reach = DevicePath::parse(&[1, 1, 0xff, 0xff]).unwrap_err().problem;
    assert_eq!(reach, Problem::Truncated { wanted: 0xfffb, left: 0 });
    let fat_end = DevicePath::parse(&[0x7f, 0xff, 5, 0, 0]).unwrap_err().problem;
    assert!(matches!(fat_end, Problem::Value { field: "Length", value: 5, .. }));
    let endless = node(1, 5, &[0; 4]).repeat(LONGEST_PATH / 8 + 1);
    let problem = Problem::TooMany { field: "path", value: LONGEST_PATH as u64 + 8, most: LONGEST_PATH as u64 };
    assert_eq!(DevicePath::parse(&endless).unwrap_err().problem, problem);
}

fn any_node() -> impl Strategy<Value = (u8, u8, Vec<u8>)> {
    (1u8..6, 0u8..32, prop::collection::vec(any::<u8>(), 0..60))
}

proptest! {
    #[test]
    fn parse_never_panics(bytes: Vec<u8>, nodes in prop::collection::vec(any_node(), 0..8)) {
        let _ = DevicePath::parse(&bytes);
        let framed: Vec<u8> = nodes.iter().flat_map(|(kind, subtype, data)| node(*kind, *subtype, data)).collect();
        let framed = [framed, END.to_vec()].concat();
        let path = DevicePath::parse(&framed).unwrap();
        prop_assert_eq!(path.nodes().count(), nodes.len());
        let _ = (path.to_string(), path.file(), path.partition());
    }
}
