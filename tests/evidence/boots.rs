//! What logs of real machines say of Secure Boot, and that nothing better can be made of them by what no digest covers.

use super::eventlogs::known;
use super::read;
use attest_appraisal::boot::{BootFacts, ReplayedLog};
use attest_evidence::HashAlgorithm;
use attest_evidence::eventlog::{EventLog, EventType};
use attest_evidence::tpm::PcrIndex;
use std::collections::BTreeMap;

/// All logs with digests of the SHA-256 bank, by name.
fn logs() -> BTreeMap<String, Vec<u8>> {
    let logs = known().into_iter().filter(|(_, known)| known.events.is_some());
    let logs = logs.map(|(name, _)| (name.clone(), read(&format!("eventlogs/{name}"))));
    logs.filter(|(_, bytes)| EventLog::parse(bytes).unwrap().banks().any(|bank| bank == HashAlgorithm::Sha256))
        .collect()
}

fn facts(bytes: &[u8]) -> BootFacts {
    ReplayedLog::of(&EventLog::parse(bytes).unwrap()).claimed().clone()
}

#[test]
fn secure_boot_is_read_as_it_was() {
    // What their origins say of them.
    let said = [
        ("go-attestation/coreos_36_shielded_vm_no_secure_boot_eventlog", Some(false)),
        ("go-attestation/sb_cert_eventlog", Some(true)),
        ("gce-and-pc/ubuntu-2104-no-secure-boot.bin", Some(false)),
    ];
    let logs = logs();
    for (name, secure_boot) in said {
        assert_eq!(facts(&logs[name]).secure_boot, secure_boot, "{name}");
    }
    let (mut on, mut off, mut unknown) = (0, 0, Vec::new());
    for (name, bytes) in &logs {
        let facts = facts(bytes);
        match facts.secure_boot {
            Some(true) => on += 1,
            Some(false) => off += 1,
            None => unknown.push(name.as_str()),
        }
        // Nobody of whom only the digest is known, and nothing that says it is worth nothing.
        assert!(facts.signers.iter().all(|signer| !signer.words.contains("only the digest")), "{name}");
        assert_eq!(facts.weakened, None, "{name}");
    }
    // Counted by another program, too. Of the unknown, three say that there is no such variable, and three are fragments.
    assert_eq!((on, off, unknown.len()), (11, 19, 6), "{unknown:?}");
}

#[test]
fn l02_no_name_of_an_event_makes_secure_boot_any_better() {
    let types = [
        EventType::SEPARATOR,
        EventType::ACTION,
        EventType::EFI_ACTION,
        EventType::EVENT_TAG,
        EventType::IPL,
        EventType::NONHOST_INFO,
        EventType::EFI_VARIABLE_DRIVER_CONFIG,
        EventType::EFI_VARIABLE_BOOT,
        EventType::EFI_VARIABLE_AUTHORITY,
        EventType(0x1234_5678),
    ];
    let mut tried = 0;
    for (name, bytes) in logs() {
        let honest = facts(&bytes);
        let places: Vec<usize> = {
            let log = EventLog::parse(&bytes).unwrap();
            let of_pcr_7 = log.events().iter().filter(|event| event.extends() == Some(PcrIndex::SECURE_BOOT));
            of_pcr_7.map(|event| event.offset).collect()
        };
        for place in places {
            for kind in types {
                let mut renamed = bytes.clone();
                renamed[place + 4..place + 8].copy_from_slice(&kind.0.to_le_bytes());
                let facts = facts(&renamed);
                assert_eq!(facts.secure_boot, honest.secure_boot, "{name} {place} {kind}");
                assert_eq!((&facts.signers, &facts.dbx), (&honest.signers, &honest.dbx), "{name} {place} {kind}");
                tried += 1;
            }
        }
    }
    assert!(tried > 2000, "{tried}");
}
