use super::*;
use proptest::prelude::*;

fn sha1_event(pcr: u32, kind: EventType, data: &[u8]) -> Vec<u8> {
    let digest = HashAlgorithm::Sha1.hash(data);
    let size = u32::try_from(data.len()).unwrap().to_le_bytes();
    [&pcr.to_le_bytes(), &kind.0.to_le_bytes(), digest.as_bytes(), &size, data].concat()
}

fn header(algorithms: &[(u16, u16)]) -> Vec<u8> {
    let mut data = b"Spec ID Event03\0".to_vec();
    data.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    data.extend(u32::try_from(algorithms.len()).unwrap().to_le_bytes());
    for (id, size) in algorithms {
        data.extend(id.to_le_bytes());
        data.extend(size.to_le_bytes());
    }
    data.push(0);
    let mut event = sha1_event(0, EventType::NO_ACTION, &data);
    event[8..28].fill(0);
    event
}

fn agile(banks: &[HashAlgorithm], pcr: u32, kind: EventType, data: &[u8]) -> Vec<u8> {
    let mut event = [pcr, kind.0, u32::try_from(banks.len()).unwrap()].map(u32::to_le_bytes).concat();
    for bank in banks {
        event.extend(bank.id().to_le_bytes());
        event.extend(bank.hash(data).as_bytes());
    }
    event.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    event.extend(data);
    event
}

const BANKS: [HashAlgorithm; 2] = [HashAlgorithm::Sha1, HashAlgorithm::Sha256];

fn log(events: &[Vec<u8>]) -> Vec<u8> {
    [header(&[(4, 20), (0xb, 32)]), events.concat()].concat()
}

fn locality(value: &[u8]) -> Vec<u8> {
    agile(&BANKS, 0, EventType::NO_ACTION, &[Event::STARTUP_LOCALITY, value].concat())
}

fn example() -> Vec<u8> {
    log(&[
        locality(&[3]),
        agile(&BANKS, 0, EventType::S_CRTM_VERSION, b"1\0.\x000\0"),
        agile(&BANKS, 7, EventType::SEPARATOR, &[0; 4]),
        agile(&BANKS, 0, EventType::SEPARATOR, &[0; 4]),
    ])
}

#[test]
fn a_log_is_replayed_from_its_locality() {
    let bytes = example();
    let log = EventLog::parse(&bytes).unwrap();
    assert_eq!((log.events().len(), log.startup_locality(), log.format()), (5, 3, Format::CryptoAgile));
    let sha256 = HashAlgorithm::Sha256;
    let mut start = [0; 32];
    start[31] = 3;
    let pcr0 = Digest::from_bytes(sha256, &start)
        .unwrap()
        .extended(sha256.hash(b"1\0.\x000\0").as_bytes())
        .extended(sha256.hash(&[0; 4]).as_bytes());
    let pcr7 = Digest::zero(sha256).extended(sha256.hash(&[0; 4]).as_bytes());
    let values: Vec<_> = log.replay(sha256).values().iter().map(|(pcr, value)| (pcr.get(), *value)).collect();
    assert_eq!(values, [(0, pcr0), (7, pcr7)]);
    assert!(log.events()[2].is_measured(sha256));
    assert_eq!(log.replay(sha256).without_digest(), None);
    assert_eq!(log.replay(HashAlgorithm::Sha384).without_digest(), Some(2));
}

#[test]
fn firmware_that_measures_itself_from_locality_4_starts_pcr_0_there() {
    let bytes = log(&[agile(&BANKS, 0, EventType::EFI_HCRTM_EVENT, b"HCRTM")]);
    assert_eq!(EventLog::parse(&bytes).unwrap().startup_locality(), 4);
    let bytes =
        log(&[agile(&BANKS, 0, EventType::POST_CODE, b"x"), agile(&BANKS, 0, EventType::EFI_HCRTM_EVENT, b"x")]);
    assert_eq!(EventLog::parse(&bytes).unwrap().startup_locality(), 0);
}

#[test]
fn a_locality_is_said_once_before_anything_else_and_can_be() {
    let post = || agile(&BANKS, 0, EventType::POST_CODE, b"POST CODE");
    for (events, problem) in [
        (vec![locality(&[3]), locality(&[3])], "it was said before"),
        (vec![post(), locality(&[3])], "PCR 0 had been extended before"),
        (vec![locality(&[1])], "it is 0, 3 or 4"),
        (vec![locality(&[3, 0])], "it is one byte"),
        (vec![locality(&[])], "it is one byte"),
    ] {
        match EventLog::parse(&log(&events)).unwrap_err() {
            EventLogRefused::StartupLocality { problem: found, .. } => assert_eq!(found, problem),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn events_hold_digests_of_listed_algorithms_once_each() {
    let twice = [HashAlgorithm::Sha256, HashAlgorithm::Sha256];
    let error = EventLog::parse(&log(&[agile(&twice, 1, EventType::ACTION, b"x")])).unwrap_err();
    assert_eq!(error, EventLogRefused::DigestTwice { event: 1, offset: 69, algorithm: 0xb });
    let unlisted = [HashAlgorithm::Sha384];
    let error = EventLog::parse(&log(&[agile(&unlisted, 1, EventType::ACTION, b"x")])).unwrap_err();
    assert_eq!(error, EventLogRefused::UnlistedAlgorithm { event: 1, offset: 69, algorithm: 0xc });
    let error = EventLog::parse(&log(&[agile(&BANKS, 24, EventType::ACTION, b"x")])).unwrap_err();
    assert_eq!(error, EventLogRefused::PcrIndex { event: 1, offset: 69, pcr: 24 });
    // An algorithm that is not known here is skipped by its size.
    let mut with_sm3 = header(&[(0xb, 32), (0x12, 32)]);
    let mut event = agile(&[HashAlgorithm::Sha256], 1, EventType::ACTION, b"");
    event[8] = 2;
    event.splice(46..46, [&[0x12, 0][..], &[9; 32]].concat());
    with_sm3.extend(event);
    let log = EventLog::parse(&with_sm3).unwrap();
    assert_eq!((log.algorithms().len(), log.banks().collect::<Vec<_>>()), (2, vec![HashAlgorithm::Sha256]));
    assert!(log.events()[1].is_measured(HashAlgorithm::Sha256));
}

#[test]
fn padding_ends_a_log_and_nothing_else_does() {
    for filler in [0x00, 0xff] {
        let whole = example();
        let padded = [whole.clone(), vec![filler; 1000]].concat();
        assert_eq!(EventLog::parse(&padded).unwrap().events().len(), 5);
        let mut spoilt = padded;
        *spoilt.last_mut().unwrap() = 7;
        assert!(EventLog::parse(&spoilt).is_err());
    }
    // Windows ends its own with an event of no PCR.
    let trailer = agile(&BANKS, u32::MAX, EventType::NO_ACTION, b"\x04\0\x01\xc0");
    assert_eq!(EventLog::parse(&log(&[trailer])).unwrap().events().len(), 2);
}

#[test]
fn a_log_cut_short_anywhere_is_refused_or_lacks_whole_events() {
    let bytes = example();
    let ends: Vec<usize> = EventLog::parse(&bytes).unwrap().events().iter().map(|event| event.offset).collect();
    for length in 0..bytes.len() {
        let cut = &bytes[..length];
        match EventLog::parse(cut) {
            // The zeros that are left of an event can't be told from padding.
            Ok(log) => {
                let end = ends.iter().rev().find(|end| **end <= length).unwrap();
                assert!(log.events().len() < 5 && cut[*end..].iter().all(|byte| *byte == 0), "{length}");
            }
            Err(EventLogRefused::Malformed(malformed)) => assert!(malformed.offset <= length),
            Err(other) => panic!("{length}: {other}"),
        }
    }
}

#[test]
fn absurd_sizes_are_refused_before_anything_is_reserved() {
    for size in [1 << 20, 1 << 31, u32::MAX] {
        let mut bytes = sha1_event(0, EventType::POST_CODE, b"POST CODE");
        bytes[28..32].copy_from_slice(&size.to_le_bytes());
        assert!(matches!(EventLog::parse(&bytes), Err(EventLogRefused::Malformed(_))), "{size}");
        let mut bytes = example();
        bytes[77..81].copy_from_slice(&size.to_le_bytes()); // digests.count of the first event
        assert!(matches!(EventLog::parse(&bytes), Err(EventLogRefused::Malformed(_))), "{size}");
        let mut bytes = header(&[(4, 20)]);
        bytes[56..60].copy_from_slice(&size.to_le_bytes()); // numberOfAlgorithms
        assert!(matches!(EventLog::parse(&bytes), Err(EventLogRefused::Malformed(_))), "{size}");
    }
    let many: Vec<u8> = (0..=MOST_EVENTS).flat_map(|_| sha1_event(1, EventType::ACTION, b"x")).collect();
    let error = EventLog::parse(&many).unwrap_err();
    assert_eq!(error, EventLogRefused::TooManyEvents { offset: 33 * MOST_EVENTS });
    let large = vec![0; LARGEST_LOG + 1];
    assert_eq!(EventLog::parse(&large).unwrap_err(), EventLogRefused::TooLarge { size: LARGEST_LOG + 1 });
}

proptest! {
    #[test]
    fn one_changed_byte_is_seen_in_the_values_or_no_longer_measured(at in 0_usize..1000, flip in 1_u8..) {
        let bytes = example();
        let at = at % bytes.len();
        let mut changed = bytes.clone();
        changed[at] ^= flip;
        let facts = |bytes: &[u8]| {
            let log = EventLog::parse(bytes).ok()?;
            let sha256 = HashAlgorithm::Sha256;
            let measured = log.events().iter().filter(|event| event.extends().is_some() && event.is_measured(sha256));
            let measured: Vec<_> = measured.map(|event| (event.extends(), event.data.to_vec())).collect();
            Some((log.replay(sha256).values().clone(), measured))
        };
        let (before, after) = (facts(&bytes).unwrap(), facts(&changed));
        if let Some(after) = after
            && after.0 == before.0
        {
            prop_assert!(after.1.iter().all(|event| before.1.contains(event)));
        }
    }

    #[test]
    fn no_bytes_are_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = EventLog::parse(&bytes);
        let _ = EventLog::parse(&log(&[bytes]));
    }
}

#[test]
fn events_say_what_was_measured_and_what_is_only_claimed() {
    let grub = "grub_cmd: menuentry 'Debian' {\n\tlinux /vmlinuz\n}\0".as_bytes();
    let wide: Vec<u8> = "quiet root=/dev/sda\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let measured_as = |pcr, kind, data: &[u8], measured: &[u8]| {
        let mut event = agile(&[HashAlgorithm::Sha256], pcr, kind, data);
        event[14..46].copy_from_slice(HashAlgorithm::Sha256.hash(measured).as_bytes());
        event
    };
    let bytes = [
        header(&[(0xb, 32)]),
        measured_as(8, EventType::IPL, grub, &grub[10..grub.len() - 1]),
        measured_as(8, EventType::IPL, grub, b"something else"),
        measured_as(12, EventType::IPL, &wide, &wide),
        measured_as(12, EventType::IPL, &wide[..wide.len() - 1], &wide),
        measured_as(9, EventType::IPL, b"/vmlinuz\0", b"the kernel"),
    ]
    .concat();
    let log = EventLog::parse(&bytes).unwrap();
    let said: Vec<_> = log.events()[1..]
        .iter()
        .map(|event| (event.meaning().to_string(), event.measured(HashAlgorithm::Sha256)))
        .collect();
    let menu = "grub_cmd: menuentry 'Debian' {\\u{a}\\u{9}linux /vmlinuz\\u{a}}".to_owned();
    let line = "command line: quiet root=/dev/sda".to_owned();
    assert_eq!(
        said,
        [
            (menu.clone(), Measured::Value),
            (menu, Measured::No),
            (line.clone(), Measured::Whole),
            (line, Measured::Whole),
            ("/vmlinuz".to_owned(), Measured::No)
        ]
    );
}

#[test]
fn a_difference_names_what_is_gone_new_and_changed() {
    let one = |kernel: &str| agile(&BANKS, 8, EventType::ACTION, kernel.as_bytes());
    let (old, new) = (
        log(&[locality(&[3]), one("a"), one("b"), one("c"), agile(&BANKS, 7, EventType::SEPARATOR, &[0; 4])]),
        log(&[locality(&[3]), one("a"), one("c"), one("d"), agile(&BANKS, 7, EventType::SEPARATOR, &[0; 4])]),
    );
    let (old, new) = (EventLog::parse(&old).unwrap(), EventLog::parse(&new).unwrap());
    let found = difference(&old, &new, HashAlgorithm::Sha256);
    assert_eq!(found.iter().map(|pcr| pcr.pcr.get()).collect::<Vec<_>>(), [8]);
    let Change::Changed { before, after } = found[0].changes[0] else { panic!("{found:?}") };
    assert_eq!((before.data, after.data, found[0].changes.len()), (&b"b"[..], &b"d"[..], 1));
    let swapped = log(&[locality(&[3]), one("b"), one("a"), one("c"), agile(&BANKS, 7, EventType::SEPARATOR, &[0; 4])]);
    let swapped = EventLog::parse(&swapped).unwrap();
    assert_eq!(difference(&old, &swapped, HashAlgorithm::Sha256)[0].changes, [Change::Reordered]);
    assert_eq!(difference(&old, &old, HashAlgorithm::Sha256), []);
}
