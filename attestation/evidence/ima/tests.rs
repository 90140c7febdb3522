//! Lists made here, of every template, and those of two real machines.

use super::*;
use crate::bytes::Problem;
use crate::tpm::PcrIndex;
use proptest::prelude::*;

const EXTENSIONS: [Extension; 2] = [Extension::Hashed, Extension::Padded];
/// Every template that is known, and one that isn't, with the number of the fields behind digest and name.
const TEMPLATES: [(&str, usize); 9] = [
    ("ima", 0),
    ("ima-ng", 0),
    ("ima-sig", 1),
    ("ima-ngv2", 0),
    ("ima-sigv2", 1),
    ("ima-buf", 1),
    ("ima-modsig", 3),
    ("evm-sig", 7),
    ("d-ng|n-ng|our-own", 1),
];

fn pcr(index: u8) -> PcrIndex {
    PcrIndex::new(index).unwrap()
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat()
}

fn entry(pcr: u32, template_digest: &[u8], template: &str, data: &[u8]) -> Vec<u8> {
    let data = if template == "ima" { data.to_vec() } else { sized(data) };
    [&pcr.to_le_bytes(), template_digest, &sized(template.as_bytes()), &data].concat()
}

/// The entry as the kernel writes it: hashed without the length, and with zeros behind the name, for `ima`.
fn measured(pcr: u32, template: &str, data: &[u8]) -> Vec<u8> {
    let mut hashed = data.to_vec();
    if template == "ima" {
        hashed.drain(20..24);
        hashed.resize(20 + 256, 0);
    }
    entry(pcr, HashAlgorithm::Sha1.hash(&hashed).as_bytes(), template, data)
}

fn violation(pcr: u32, name: &str) -> Vec<u8> {
    let digest = [b"sha256:\0".as_slice(), &[0; 20]].concat();
    entry(pcr, &[0; 20], "ima-ng", &[sized(&digest), sized(format!("{name}\0").as_bytes())].concat())
}

/// Template data whose fields hold a digest, a name, and each of `more`.
fn data(template: &str, content: &[u8], name: &str, more: &[&[u8]]) -> Vec<u8> {
    let sha256 = HashAlgorithm::Sha256.hash(content);
    let prefix = if template.ends_with("v2") { "verity:sha256:\0" } else { "sha256:\0" };
    if template == "ima" {
        return [HashAlgorithm::Sha1.hash(content).as_bytes(), &sized(name.as_bytes())].concat();
    }
    let mut data = sized(&[prefix.as_bytes(), sha256.as_bytes()].concat());
    data.extend(sized(format!("{name}\0").as_bytes()));
    more.iter().for_each(|field| data.extend(sized(field)));
    data
}

fn fields(count: usize) -> Vec<&'static [u8]> {
    match count {
        // Of `ima-modsig`, the second is a digest; of `evm-sig`, the last three are numbers.
        3 => vec![b"signature", b"sha1:\0twenty-bytes-of-hash", b"appended"],
        7 => {
            vec![b"signature", b"security.ima\0", &[1, 0, 0, 0], b"x", &[0xe8, 3, 0, 0], &[0; 4], &[0xa4, 0x81]]
        }
        _ => vec![b"signature"; count],
    }
}

/// One entry of each template: its entries apart.
fn one_of_each() -> Vec<Vec<u8>> {
    let each = TEMPLATES.iter().map(|(template, count)| {
        measured(10, template, &data(template, b"content", &format!("/usr/bin/{template}"), &fields(*count)))
    });
    each.collect()
}

fn banks() -> impl Iterator<Item = Replay> {
    let replays = |bank| EXTENSIONS.map(|extension| Replay::from_boot(pcr(10), bank, extension));
    HashAlgorithm::ALL.into_iter().flat_map(replays)
}

fn measurements(list: &[u8]) -> Vec<Result<Measurement<'_>, ImaRefused>> {
    Entries::of(list).unwrap().map(|entry| entry.unwrap().measurement()).collect()
}

fn first(list: &[u8]) -> Entry<'_> {
    Entries::of(list).unwrap().next().unwrap().unwrap()
}

#[test]
fn the_fields_of_every_template_are_read() {
    let list = one_of_each().concat();
    let read = measurements(&list);
    let (unknown, known) = read.split_last().unwrap();
    let name = "d-ng|n-ng|our-own".to_owned();
    assert_eq!(*unknown, Err(ImaRefused::UnknownTemplate { entry: 8, name }));
    for (measurement, (template, _)) in known.iter().zip(TEMPLATES) {
        let measurement = measurement.as_ref().unwrap();
        assert_eq!(measurement.name.to_text(), format!("/usr/bin/{template}"));
        assert!(measurement.digest.is_of(b"content"), "{template}");
        let of = if template.ends_with("v2") { DigestOf::Verity } else { DigestOf::Content };
        assert_eq!(measurement.digest.of, of);
    }
    let attached: Vec<_> = known.iter().map(|measurement| measurement.as_ref().unwrap().attached).collect();
    let appended = FileDigest { of: DigestOf::Content, algorithm: "sha1", bytes: b"twenty-bytes-of-hash" };
    assert_eq!(
        attached,
        [
            Attached::Nothing,
            Attached::Nothing,
            Attached::Signature(b"signature"),
            Attached::Nothing,
            Attached::Signature(b"signature"),
            Attached::Buffer(b"signature"),
            Attached::Appended { signature: b"signature", digest: Some(appended), appended: b"appended" },
            Attached::Evm(EvmAttributes {
                signature: b"signature",
                names: b"security.ima\0",
                lengths: &[1, 0, 0, 0],
                values: b"x",
                user: Some(1000),
                group: Some(0),
                mode: Some(0o100_644),
            }),
        ]
    );
}

#[test]
fn fields_of_what_has_no_file_may_be_empty() {
    let nothing: &[&[u8]] = &[b"", b"", b"", b"", b"", b"", b""];
    let evm = measured(10, "evm-sig", &data("evm-sig", b"", "boot_aggregate", nothing));
    let modsig = measured(10, "ima-modsig", &data("ima-modsig", b"", "boot_aggregate", &nothing[..3]));
    let list = [evm, modsig].concat();
    let read = measurements(&list);
    assert!(matches!(read[0].as_ref().unwrap().attached, Attached::Evm(EvmAttributes { user: None, mode: None, .. })));
    assert!(matches!(read[1].as_ref().unwrap().attached, Attached::Appended { digest: None, .. }));
}

#[test]
fn a_format_in_place_of_a_name_is_the_template_of_that_format() {
    let list = measured(10, "d-ng|n-ng|sig", &data("ima-sig", b"x", "/x", &[b"s"]));
    assert_eq!(measurements(&list)[0].as_ref().unwrap().attached, Attached::Signature(b"s"));
    // Not so the oldest: by this name its fields are hashed with their lengths.
    assert_eq!(Template::named(b"d|n"), Template::Other(b"d|n"));
}

#[test]
fn data_that_are_not_the_fields_of_the_template_are_refused_at_their_place() {
    let good = data("ima-ng", b"x", "/x", &[]);
    let digest = |prefix: &str| [sized(&[prefix.as_bytes(), &[7; 32]].concat()), sized(b"/x\0")].concat();
    let bad: [(&str, Vec<u8>, usize); 12] = [
        ("ima-ng", [good.as_slice(), &[0]].concat(), good.len()),
        ("ima-ng", good[..good.len() - 1].to_vec(), 4 + 40 + 4),
        ("ima-ng", [&good[..44], &sized(b"/x")].concat(), 44),
        ("ima-ng", [&good[..44], &sized(b"/x\0y\0")].concat(), 44),
        ("ima-ng", [&good[..44], &sized(b"")].concat(), 44),
        ("ima-ng", digest("sha256:"), 0),
        ("ima-ng", digest("sha256\0"), 0),
        ("ima-ng", digest(":\0"), 0),
        ("ima-ng", digest("sha 256:\0"), 0),
        ("ima-ng", digest("verity:sha256:\0"), 0),
        ("ima-ngv2", digest("sha256:\0"), 0),
        ("evm-sig", data("evm-sig", b"x", "/x", &[b"", b"", b"", b"", b"123", b"", b""]), 4 + 40 + 4 + 3 + 16),
    ];
    for (template, data, at) in bad {
        let list = [one_of_each()[1].clone(), measured(10, template, &data)].concat();
        let start = list.len() - data.len();
        match measurements(&list)[1] {
            Err(ImaRefused::Malformed { entry: 1, malformed }) => {
                assert_eq!(malformed.offset, start + at, "{malformed}")
            }
            ref other => panic!("{template}: {other:?}"),
        }
    }
}

#[test]
fn a_file_name_is_bytes_and_reads_as_text() {
    let mut bytes = data("ima-ng", b"x", "/a\nb?", &[]);
    let at = bytes.len() - 2;
    bytes[at] = 0xff;
    let list = measured(10, "ima-ng", &bytes);
    let name = measurements(&list)[0].as_ref().unwrap().name;
    assert_eq!(name.as_bytes(), b"/a\nb\xff");
    assert_eq!(name.to_text(), "/a\nb\u{fffd}");
    assert_eq!(format!("{name:?}"), r#""/a\nb\xff""#);
}

#[test]
fn a_buffer_is_what_was_measured_only_if_its_digest_says_so() {
    let list = measured(10, "ima-buf", &data("ima-buf", b"ro quiet", "kexec-cmdline", &[b"ro quiet"]));
    // The same entry under another name, which no digest covers: a file with a signature becomes a buffer.
    let forged = measured(10, "ima-buf", &data("ima-sig", b"#!/bin/sh", "/x", &[b"ro quiet"]));
    for (list, is_true) in [(list, true), (forged, false)] {
        let Measurement { digest, attached, .. } = measurements(&list).remove(0).unwrap();
        assert_eq!(attached, Attached::Buffer(b"ro quiet"));
        assert_eq!(digest.is_of(b"ro quiet"), is_true);
    }
}

#[test]
fn what_is_extended_is_what_the_kernel_extends() {
    let hashed = [HashAlgorithm::Sha1.hash(b"x").as_bytes(), b"/x", &[0; 254]].concat();
    let old = measured(10, "ima", &data("ima", b"x", "/x", &[]));
    let new_data = data("ima-ng", b"y", "/y", &[]);
    let new = measured(10, "ima-ng", &new_data);
    let list = [old, violation(10, "/z"), new].concat();
    for replay in banks() {
        let bank = replay.bank();
        let digest = |data: &[u8]| match replay.extension() {
            Extension::Hashed => bank.hash(data).as_bytes().to_vec(),
            Extension::Padded => {
                let mut digest = HashAlgorithm::Sha1.hash(data).as_bytes().to_vec();
                digest.resize(bank.size(), 0);
                digest
            }
        };
        let value = Digest::zero(bank).extended(&digest(&hashed)).extended(&vec![0xff; bank.size()]);
        let after = replay.replayed(&list).unwrap();
        assert_eq!(*after.value(), value.extended(&digest(&new_data)));
        assert_eq!(after.count(), 3);
        assert_eq!(after.is_weak(), bank == HashAlgorithm::Sha1 || replay.extension() == Extension::Padded);
    }
}

#[test]
fn truncated_anywhere_but_between_entries_it_is_refused() {
    let entries = one_of_each();
    let list = entries.concat();
    let ends: Vec<_> = (0..entries.len()).map(|count| entries[..count].concat().len()).collect();
    for replay in banks() {
        let whole = replay.replayed(&list).unwrap();
        for length in 0..list.len() {
            match replay.replayed(&list[..length]) {
                Ok(state) => {
                    assert!(ends.contains(&length));
                    assert_ne!(state.value(), whole.value());
                }
                Err(ImaRefused::Malformed { malformed, .. }) => {
                    assert!(!ends.contains(&length));
                    assert!(malformed.offset <= length);
                    assert!(matches!(malformed.problem, Problem::Truncated { .. }));
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn absurd_lengths_are_refused() {
    let replay = Replay::from_boot(pcr(10), HashAlgorithm::Sha256, Extension::Hashed);
    let head = [10u32.to_le_bytes().as_slice(), &[1; 20]].concat();
    let lengths = |name: u32, data: u32| [&head[..], &name.to_le_bytes(), b"ima-ng", &data.to_le_bytes()].concat();
    let (field, most) = ("template name", LONGEST_TEMPLATE_NAME.into());
    for value in [LONGEST_TEMPLATE_NAME + 1, u32::MAX] {
        let problem = Problem::TooMany { field, value: value.into(), most };
        let malformed = Malformed { structure: "IMA measurement list", offset: 24, problem };
        assert_eq!(replay.replayed(&lengths(value, 0)), Err(ImaRefused::Malformed { entry: 0, malformed }));
    }
    let (field, most) = ("template data", LONGEST_DATA.into());
    for value in [LONGEST_DATA + 1, u32::MAX] {
        let problem = Problem::TooMany { field, value: value.into(), most };
        let malformed = Malformed { structure: "IMA measurement list", offset: 34, problem };
        assert_eq!(replay.replayed(&lengths(6, value)), Err(ImaRefused::Malformed { entry: 0, malformed }));
    }
    for bad in [
        entry(10, &[1; 20], "", b""),
        entry(24, &[1; 20], "ima-ng", b""),
        entry(10 + 256, &[1; 20], "ima-ng", b""),
        measured(10, "ima", &data("ima", b"x", &"n".repeat(256), &[])),
        measured(10, "ima", &data("ima", b"x", "/x\0", &[])),
    ] {
        assert!(matches!(replay.replayed(&bad), Err(ImaRefused::Malformed { entry: 0, .. })));
    }
    let bytes = LONGEST_LIST + 1;
    assert_eq!(replay.replayed(&vec![0; bytes]), Err(ImaRefused::TooLong { bytes }));
}

#[test]
fn more_entries_than_are_counted_are_refused() {
    let most = usize::try_from(MOST_ENTRIES).unwrap();
    let list = entry(10, &[0; 20], "x", b"").repeat(most + 1);
    let size = list.len() / (most + 1);
    for first in [0, 7, u64::MAX - 1] {
        let mut entries = Entries::numbered(&list, first).unwrap();
        let wanted = most.min(usize::try_from(u64::MAX - first).unwrap());
        assert_eq!(entries.by_ref().take_while(Result::is_ok).count(), wanted);
        assert_eq!(entries.next(), None);
    }
    assert_eq!(Entries::of(&list[..most * size]).unwrap().filter(Result::is_ok).count(), most);
}

#[test]
fn another_template_digest_is_refused_in_every_bank() {
    let entries = one_of_each();
    let offset = entries[0].len() + entries[1].len();
    let mut list = entries.concat();
    let listed: [u8; 20] = list[offset + 4..offset + 24].try_into().unwrap();
    list[offset + 4] ^= 1;
    for replay in banks() {
        match replay.replayed(&list) {
            Err(ImaRefused::WrongTemplateDigest { entry: 2, offset: at, computed, .. }) => {
                assert_eq!((at, computed), (offset, listed));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_delta_costs_what_it_is_and_gives_the_same() {
    let entries = one_of_each();
    for replay in banks() {
        let whole = replay.replayed(&entries.concat()).unwrap();
        for split in 0..=entries.len() {
            let (before, after) = entries.split_at(split);
            let state = replay.replayed(&before.concat()).unwrap();
            assert_eq!(state.count(), u64::try_from(split).unwrap());
            let resumed = Replay::resumed(pcr(10), state.extension(), state.count(), *state.value());
            assert_eq!(resumed.replayed(&after.concat()).unwrap(), whole);
            let list = after.concat();
            let one_by_one = Entries::numbered(&list, state.count()).unwrap();
            assert_eq!(one_by_one.fold(resumed, |state, entry| state.extended(&entry.unwrap()).unwrap()), whole);
        }
    }
}

#[test]
fn the_shortest_beginning_that_gives_the_quoted_value_is_found() {
    // Entries of PCR 11 stand between those of PCR 10, and the last bytes are no entry at all.
    let entries: Vec<_> = (0..6)
        .map(|n: u8| measured(10 + u32::from(n % 2), "ima-ng", &data("ima-ng", &[n], &format!("/{n}"), &[])))
        .collect();
    let list = [entries.concat(), b"torn".to_vec()].concat();
    for replay in banks() {
        for (length, covering) in [(0, 0), (1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (6, 5)] {
            let quoted = *replay.replayed(&entries[..length].concat()).unwrap().value();
            let covered = replay.cover(&list, &quoted).unwrap();
            assert_eq!((covered.state().count(), covered.state().value()), (covering, &quoted));
            assert_eq!(covered.added(), covering);
            let numbers: Vec<_> = covered.entries().map(|entry| entry.number).collect();
            assert_eq!(numbers, (0..covering).filter(|n| n % 2 == 0).collect::<Vec<_>>());
            let behind = entries[..usize::try_from(covering).unwrap()].concat().len();
            assert_eq!(covered.rest(), &list[behind..]);
            // What comes later goes on from there.
            let last = *replay.replayed(&entries.concat()).unwrap().value();
            let delta = covered.state().cover(covered.rest(), &last).unwrap();
            assert_eq!(delta.state().count(), 5);
            assert_eq!(delta.added(), 5 - covering);
            assert!(delta.entries().all(|entry| entry.number >= covering));
        }
        let list = entries.concat();
        let (quoted, value) = (replay.bank().hash(b"?"), *replay.replayed(&list).unwrap().value());
        assert_eq!(replay.cover(&list, &quoted), Err(ImaRefused::NotQuoted { quoted, entries: 6, value }));
    }
}

#[test]
fn a_value_of_another_bank_is_not_looked_for() {
    let replay = Replay::from_boot(pcr(10), HashAlgorithm::Sha256, Extension::Hashed);
    let quoted = HashAlgorithm::Sha384;
    assert_eq!(
        replay.cover(&[], &Digest::zero(quoted)),
        Err(ImaRefused::OtherBank { replayed: HashAlgorithm::Sha256, quoted })
    );
}

#[test]
fn what_a_violation_says_is_vouched_for_by_nothing() {
    let [one, other] = ["/x", "/etc/shadow"].map(|name| violation(10, name));
    assert!(Entries::of(&one).unwrap().all(|entry| entry.unwrap().is_violation()));
    assert_eq!(measurements(&one)[0].as_ref().unwrap().digest.known(), None);
    for replay in banks() {
        assert_eq!(replay.replayed(&one), replay.replayed(&other));
    }
}

#[test]
fn errors_say_where_and_escape_what_comes_from_outside() {
    let list = measured(10, "x\n\u{1b}[2J", b"");
    let refused = measurements(&list).remove(0).unwrap_err();
    assert_eq!(refused.to_string(), r"entry 0: template `x\u{a}\u{1b}[2J` is not known");
    let mut list = one_of_each().remove(1);
    list[4..24].fill(0xab);
    let replay = Replay::from_boot(pcr(10), HashAlgorithm::Sha256, Extension::Hashed);
    let refused = replay.replayed(&list).unwrap_err().to_string();
    let wanted = format!("entry 0 at byte 0: its template digest is {}, that of its data is ", "ab".repeat(20));
    assert!(refused.starts_with(&wanted), "{refused}");
    let refused = replay.replayed(&list[..30]).unwrap_err().to_string();
    assert_eq!(refused, "entry 0: IMA measurement list is malformed at byte 28: 6 bytes wanted, 2 left");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), template in 0usize..9) {
        let (template, _) = TEMPLATES[template];
        let sha1 = HashAlgorithm::Sha1.hash(&bytes);
        let digest = if bytes.len() % 2 == 0 { &[0; 20] } else { sha1.as_bytes() };
        for list in [entry(10, digest, template, &bytes), bytes] {
            for entry in Entries::of(&list).unwrap().flatten() {
                let _ = entry.measurement();
            }
            for replay in banks() {
                let _ = replay.replayed(&list);
            }
        }
    }

    #[test]
    fn what_was_written_is_what_is_read(
        written in proptest::collection::vec((0usize..9, any::<u64>(), "[^\0]{0,60}", 0u32..24), 1..8),
    ) {
        let bytes: Vec<_> = written.iter().map(|(template, content, name, index)| {
            let (template, count) = TEMPLATES[*template];
            measured(*index, template, &data(template, &content.to_le_bytes(), name, &fields(count)))
        }).collect();
        let list = bytes.concat();
        let mut offset = 0;
        for (number, entry) in Entries::of(&list).unwrap().enumerate() {
            let entry = entry.unwrap();
            let (template, content, name, index) = &written[number];
            prop_assert_eq!(entry.number, u64::try_from(number).unwrap());
            prop_assert_eq!(entry.offset, offset);
            prop_assert_eq!(u32::from(entry.pcr.get()), *index);
            if let Ok(measurement) = entry.measurement() {
                prop_assert_eq!(measurement.name.as_bytes(), name.as_bytes());
                prop_assert!(measurement.digest.is_of(&content.to_le_bytes()));
            } else {
                prop_assert_eq!(*template, 8);
            }
            offset += bytes[number].len();
        }
        prop_assert_eq!(offset, list.len());
    }

    #[test]
    fn one_changed_byte_anywhere_never_leaves_the_replay_equal(at in any::<usize>(), change in 1u8..) {
        let mut list = one_of_each().concat();
        let at = at % list.len();
        check_changed(&mut list, at, change)?;
    }
}

#[test]
fn no_byte_is_left_out_when_one_is_changed() {
    let mut list = one_of_each().concat();
    for at in 0..list.len() {
        check_changed(&mut list, at, 1 << (at % 8)).unwrap();
    }
}

/// Changes one byte and changes it back. Only the name of a template may change without a trace in the value, and then
/// the entry has another template.
fn check_changed(list: &mut [u8], at: usize, change: u8) -> Result<(), TestCaseError> {
    let templates = |list: &[u8]| -> Vec<_> {
        Entries::of(list).unwrap().map(|entry| format!("{:?}", entry.unwrap().template)).collect()
    };
    let before = templates(list);
    for replay in banks() {
        let value = *replay.replayed(list).unwrap().value();
        list[at] ^= change;
        if replay.replayed(list).is_ok_and(|after| *after.value() == value) {
            prop_assert_ne!(&templates(list), &before, "byte {}", at);
        }
        list[at] ^= change;
    }
    Ok(())
}

/// A Lenovo SR630, whose policy measures executables into PCR 11.
const SR630: &[u8] = include_bytes!("../../../tests/testdata/ima/guard-sr630.binary_measurements");
const SR630_EXPECT: &str = include_str!("../../../tests/testdata/ima/guard-sr630.binary_measurements.expect.json");
/// The machine that reported its PCRs with its list.
const LUDMILLA: &[u8] = include_bytes!("../../../tests/testdata/ima/ludmilla-2/ima.bin");
const LUDMILLA_PCRS: &str = include_str!("../../../tests/testdata/ima/ludmilla-2/pcrs.json");
const LUDMILLA_EXPECT: &str = include_str!("../../../tests/testdata/ima/ludmilla-2/expect.json");

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

fn digest(bank: HashAlgorithm, hexadecimal: &serde_json::Value) -> Digest {
    let bytes = data_encoding::HEXLOWER.decode(hexadecimal.as_str().unwrap().as_bytes()).unwrap();
    Digest::from_bytes(bank, &bytes).unwrap()
}

#[test]
fn the_list_of_a_server_replays() {
    let expect = json(SR630_EXPECT);
    let entries: Vec<_> = Entries::of(SR630).unwrap().map(Result::unwrap).collect();
    assert_eq!(entries.len(), 3696);
    assert_eq!(entries.len(), usize::try_from(expect["n"].as_u64().unwrap()).unwrap());
    let violations = entries.iter().filter(|entry| entry.is_violation());
    assert_eq!(violations.count(), usize::try_from(expect["violations"].as_u64().unwrap()).unwrap());
    for entry in &entries {
        assert_eq!(entry.template, Template::ImaSig);
        assert!(entry.measurement().unwrap().digest.known().is_some());
    }
    // Each PCR by itself, as another program computed it.
    for (index, value) in [
        (10, "6d4c6f32810ab397b620e081d6d8f8c0303bda5338b361c6c28f08cf93519f6d"),
        (11, "c0d817b81b00d39fd4790b0c4a8953c2cabd32bfa8a782a1d2dde3fd6d17595c"),
    ] {
        let replay = Replay::from_boot(pcr(index), HashAlgorithm::Sha256, Extension::Hashed);
        assert_eq!(replay.replayed(SR630).unwrap().value().to_string(), value);
    }
    // The known answer takes all entries for those of PCR 10.
    let mut all_of_10 = SR630.to_vec();
    entries.iter().for_each(|entry| all_of_10[entry.offset] = 10);
    for (bank, member) in [(HashAlgorithm::Sha1, "pcr10_sha1"), (HashAlgorithm::Sha256, "pcr10_sha256")] {
        let replay = Replay::from_boot(pcr(10), bank, Extension::Hashed);
        let covered = replay.cover(&all_of_10, &digest(bank, &expect[member])).unwrap();
        assert_eq!((covered.state().count(), covered.rest().len()), (3696, 0));
    }
}

#[test]
fn the_list_of_a_machine_is_what_its_tpm_reported() {
    let [reported, expect] = [LUDMILLA_PCRS, LUDMILLA_EXPECT].map(json);
    // A kernel since 5.8: every bank has its own digests, SHA-384 too, which the firmware left at zero.
    for bank in [HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha384] {
        let quoted = digest(bank, &reported[bank.as_str()]["10"]);
        let covered = Replay::from_boot(pcr(10), bank, Extension::Hashed).cover(LUDMILLA, &quoted).unwrap();
        assert_eq!((covered.added(), covered.rest().len()), (1, 0));
        let padded = Replay::from_boot(pcr(10), bank, Extension::Padded).cover(LUDMILLA, &quoted);
        assert_eq!(padded.is_ok(), bank == HashAlgorithm::Sha1);
    }
    for (bank, member) in [(HashAlgorithm::Sha1, "pcr10_sha1"), (HashAlgorithm::Sha256, "pcr10_sha256")] {
        assert_eq!(digest(bank, &expect["ima"][member]), digest(bank, &reported[bank.as_str()]["10"]));
    }
}

#[test]
fn the_boot_aggregate_of_a_machine_is_that_of_its_pcrs() {
    let reported = json(LUDMILLA_PCRS);
    let pcrs = |bank: HashAlgorithm| std::array::from_fn(|n| digest(bank, &reported[bank.as_str()][n.to_string()]));
    let sha1: [Digest; 10] = pcrs(HashAlgorithm::Sha1);
    let first = first(LUDMILLA);
    assert_eq!(BootAggregate::find(&first, &sha1), Some(BootAggregate::To7));
    assert_eq!(BootAggregate::find(&first, &pcrs(HashAlgorithm::Sha256)), None);
    for index in 0..8 {
        let mut other = sha1;
        other[index] = Digest::zero(HashAlgorithm::Sha1);
        assert_eq!(BootAggregate::find(&first, &other), None);
    }
    let mut mixed = sha1;
    mixed[9] = Digest::zero(HashAlgorithm::Sha256);
    assert_eq!(BootAggregate::To9.of(&mixed), None);
}

#[test]
fn a_boot_aggregate_of_ten_pcrs_is_known_and_another_event_is_none() {
    let pcrs: [Digest; 10] = std::array::from_fn(|n| HashAlgorithm::Sha256.hash(&n.to_le_bytes()));
    let all = pcrs.iter().map(Digest::as_bytes).collect::<Vec<_>>().concat();
    for (content, name, found) in [
        (&all[..], "boot_aggregate", Some(BootAggregate::To9)),
        (&all[..8 * 32], "boot_aggregate", Some(BootAggregate::To7)),
        (&all[..9 * 32], "boot_aggregate", None),
        (&all[..], "/boot_aggregate", None),
    ] {
        let list = measured(10, "ima-ng", &data("ima-ng", content, name, &[]));
        assert_eq!(BootAggregate::find(&first(&list), &pcrs), found);
    }
    // Not the first, or covered by nothing.
    let list = measured(10, "ima-ng", &data("ima-ng", &all, "boot_aggregate", &[]));
    let second = Entries::numbered(&list, 1).unwrap().next().unwrap().unwrap();
    assert_eq!(BootAggregate::find(&second, &pcrs), None);
    let list = entry(10, &[0; 20], "ima-ng", &data("ima-ng", &all, "boot_aggregate", &[]));
    assert_eq!(BootAggregate::find(&first(&list), &pcrs), None);
}
