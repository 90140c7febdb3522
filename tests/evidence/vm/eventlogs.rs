//! What firmware, shim, GRUB and the kernel's stub say of these boots, and how much of it the digests cover.

use super::{BEFORE_LINUX, Boot, boot, boots, pcr};
use attest_evidence::HashAlgorithm;
use attest_evidence::eventlog::{Event, EventLog, EventType, Format};
use attest_evidence::uefi::signature_list::{Authority, AuthorityKind, SignatureKind};
use attest_evidence::uefi::variable::Coverage;
use attest_evidence::uefi::{Guid, Signature, TaggedEvent, Variable};

const SHA256: HashAlgorithm = HashAlgorithm::Sha256;

/// Runs a test for every boot that has a log.
fn for_each_log(test: impl Fn(&Boot, &EventLog<'_>)) {
    let mut logs = 0;
    for boot in boots().filter(Boot::has_log) {
        let bytes = boot.read("eventlog.bin");
        test(&boot, &EventLog::parse(&bytes).unwrap_or_else(|refused| panic!("{}: {refused}", boot.name)));
        logs += 1;
    }
    assert_eq!(logs, 6);
}

/// The events of a type, in any PCR.
fn of_type<'a>(log: &'a EventLog<'a>, kind: EventType) -> impl Iterator<Item = &'a Event<'a>> {
    log.events().iter().filter(move |event| event.kind == kind)
}

/// The texts that GRUB measured into PCR 8: what follows the first `: `, without the NUL.
fn grub_texts<'a>(log: &'a EventLog<'a>) -> Vec<(&'a str, &'a str)> {
    let events = of_type(log, EventType::IPL).filter(|event| event.pcr() == 8);
    let texts = events.map(|event| {
        let text = std::str::from_utf8(event.data).unwrap().strip_suffix('\0').unwrap();
        let (what, measured) = text.split_once(": ").unwrap();
        assert!(event.is_digest_of(SHA256, measured.as_bytes()), "{text}");
        (what, measured)
    });
    texts.collect()
}

/// A variable of the firmware's configuration, as measured into PCR 7.
fn measured<'a>(log: &'a EventLog<'a>, vendor: Guid, name: &str) -> Variable<'a> {
    let mut found = of_type(log, EventType::EFI_VARIABLE_DRIVER_CONFIG).filter_map(|event| {
        let variable = Variable::parse(event.data).unwrap();
        let covered = event.digests().all(|digest| variable.covered_by(&digest) == Some(Coverage::Whole));
        assert!(covered && event.pcr() == 7, "{}", variable.name);
        variable.is(vendor, name).then_some(variable)
    });
    let variable = found.next().unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(found.next(), None);
    variable
}

#[test]
fn a_log_leads_to_the_pcrs_of_every_bank() {
    for_each_log(|boot, log| {
        assert_eq!((log.format(), log.startup_locality()), (Format::CryptoAgile, 0));
        assert_eq!(log.banks().collect::<Vec<_>>(), HashAlgorithm::ALL);
        for bank in log.banks() {
            let replay = log.replay(bank);
            assert_eq!(replay.without_digest(), None);
            assert!(replay.values().keys().copied().eq(BEFORE_LINUX.map(pcr)), "{}", boot.name);
            let values = boot.bank("", bank);
            for (index, value) in replay.values() {
                assert_eq!(*value, values[index], "{} {bank} {index}", boot.name);
            }
        }
    });
}

#[test]
fn a_log_that_does_not_survive_the_boot_says_nothing_of_what_was_measured() {
    let boot = boot("no-event-log");
    assert!(!boot.has_log());
    let values = boot.bank("", SHA256);
    assert!(BEFORE_LINUX.iter().all(|index| values[&pcr(*index)].as_bytes().iter().any(|byte| *byte != 0)));
}

#[test]
fn what_is_measured_of_events_depends_on_their_type() {
    for_each_log(|boot, log| {
        for event in log.events() {
            let whole = match event.kind {
                EventType::SEPARATOR
                | EventType::S_CRTM_VERSION
                | EventType::EFI_ACTION
                | EventType::EFI_GPT_EVENT
                | EventType::EFI_VARIABLE_DRIVER_CONFIG
                | EventType::EFI_VARIABLE_AUTHORITY => true,
                EventType::NO_ACTION
                | EventType::IPL
                | EventType::EVENT_TAG
                | EventType::EFI_VARIABLE_BOOT
                | EventType::EFI_PLATFORM_FIRMWARE_BLOB
                | EventType::EFI_BOOT_SERVICES_APPLICATION => false,
                other => panic!("{}: {other}", boot.name),
            };
            for bank in log.banks() {
                assert_eq!(event.is_measured(bank), whole, "{} {}: {}", boot.name, event.number, event.kind);
            }
            if event.kind == EventType::EFI_VARIABLE_BOOT {
                let variable = Variable::parse(event.data).unwrap();
                assert!(event.digests().all(|digest| variable.covered_by(&digest) == Some(Coverage::Data)));
            }
        }
    });
}

#[test]
fn the_log_says_whether_secure_boot_was_on_and_with_which_keys() {
    for_each_log(|boot, log| {
        let on = boot.name != "secure-boot-off";
        assert_eq!(measured(log, Guid::GLOBAL_VARIABLE, "SecureBoot").as_flag(), Ok(Some(on)), "{}", boot.name);
        assert_eq!(boot.variable("SecureBoot"), [u8::from(on)], "{}", boot.name);
        assert_eq!(boot.variable("SetupMode"), [u8::from(!on)], "{}", boot.name);
        for (vendor, name) in [
            (Guid::GLOBAL_VARIABLE, "PK"),
            (Guid::GLOBAL_VARIABLE, "KEK"),
            (Guid::IMAGE_SECURITY_DATABASE, "db"),
            (Guid::IMAGE_SECURITY_DATABASE, "dbx"),
        ] {
            let variable = measured(log, vendor, name);
            assert_eq!(Signature::parse_lists(variable.data).unwrap().is_empty(), !on, "{} {name}", boot.name);
            if on {
                assert_eq!(variable.data, boot.variable(name), "{} {name}", boot.name);
            }
        }
    });
}

#[test]
fn what_let_shim_start_is_in_db() {
    for_each_log(|boot, log| {
        let authorities: Vec<_> = of_type(log, EventType::EFI_VARIABLE_AUTHORITY)
            .map(|event| Variable::parse(event.data).unwrap())
            .filter(|variable| variable.is(Guid::IMAGE_SECURITY_DATABASE, "db"))
            .collect();
        if boot.name == "secure-boot-off" {
            assert_eq!(authorities, []);
            return;
        }
        let [authority] = &authorities[..] else { panic!("{}: {authorities:?}", boot.name) };
        let Authority { owner, kind: AuthorityKind::X509(certificate) } = Authority::parse(authority.data).unwrap()
        else {
            panic!("{}: no certificate", boot.name);
        };
        let db = measured(log, Guid::IMAGE_SECURITY_DATABASE, "db");
        let entry = Signature { owner: owner.unwrap(), kind: SignatureKind::X509(certificate) };
        assert!(Signature::parse_lists(db.data).unwrap().contains(&entry), "{}", boot.name);
    });
}

#[test]
fn the_kernel_command_line_is_measured() {
    for_each_log(|boot, log| {
        let command_line = boot.text("cmdline");
        let texts = grub_texts(log);
        if boot.name == "secure-boot-off" {
            // GRUB knows only what it ran; it is the kernel's stub that says what the command line was.
            assert!(texts.contains(&("grub_cmd", &format!("chainloader /vmlinuz {command_line}"))), "{texts:?}");
            let event = of_type(log, EventType::EVENT_TAG).next().unwrap();
            let tagged = TaggedEvent::parse(event.data).unwrap();
            assert_eq!((event.pcr(), tagged.id), (9, TaggedEvent::LINUX_LOAD_OPTIONS));
            let options: Vec<u8> = command_line.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
            assert!(event.is_digest_of(SHA256, &options), "{command_line}");
        } else {
            let given = command_line.strip_prefix("BOOT_IMAGE=").unwrap();
            assert!(texts.contains(&("kernel_cmdline", given)), "{}: {texts:?}", boot.name);
        }
    });
}
