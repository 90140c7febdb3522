//! What logs of real machines say of Secure Boot, and that nothing better can be made of them by what no digest covers.

use super::eventlogs::known;
use super::read;
use attest_appraisal::TpmClass;
use attest_appraisal::boot::{BootFacts, ReferenceBoot, ReferenceError, References, ReplayedLog, SeenBoot};
use attest_evidence::HashAlgorithm;
use attest_evidence::eventlog::{EventLog, EventType, LogBuilder};
use attest_evidence::tpm::{PcrIndex, PcrSelection, PcrValues};
use attest_evidence::uefi::Guid;
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

/// `UEFI_VARIABLE_DATA`.
fn variable(vendor: Guid, name: &str, data: &[u8]) -> Vec<u8> {
    let name: Vec<u16> = name.encode_utf16().collect();
    let mut out = vendor.as_bytes().to_vec();
    out.extend((name.len() as u64).to_le_bytes());
    out.extend((data.len() as u64).to_le_bytes());
    out.extend(name.into_iter().flat_map(u16::to_le_bytes));
    out.extend(data);
    out
}

/// Reference values speak in SHA-256, and a database may name who signs in other ways: a rule out of a boot has to allow that
/// boot, so that nobody is left out of it.
#[test]
fn a_rule_out_of_a_boot_names_every_signer_whatever_the_database_names_it_by() {
    let pcr = PcrIndex::SECURE_BOOT;
    let mut log = LogBuilder::default();
    let flag = variable(Guid::GLOBAL_VARIABLE, "SecureBoot", &[1]);
    log.measured(pcr, EventType::EFI_VARIABLE_DRIVER_CONFIG, &flag);
    log.measured(pcr, EventType::SEPARATOR, &[0; 4]);
    let owner = Guid::MICROSOFT.as_bytes().as_slice();
    let never = [0; 16];
    let entries: [Vec<u8>; 5] = [
        [owner, &[7; 32]].concat(),
        [owner, &[8; 48]].concat(),
        [owner, &[9; 64]].concat(),
        [owner, &[10; 32], &never].concat(),
        [owner, &[11; 48], &never].concat(),
    ];
    for entry in &entries {
        let authority = variable(Guid::IMAGE_SECURITY_DATABASE, "db", entry);
        log.measured(pcr, EventType::EFI_VARIABLE_AUTHORITY, &authority);
    }
    let (bytes, _) = log.finish();
    let facts = facts(&bytes);
    assert_eq!(facts.secure_boot, Some(true));
    assert!(facts.signers.iter().all(|signer| signer.digest.algorithm() == HashAlgorithm::Sha256));
    // Of the image, and of the certificate's signed part.
    assert_eq!((facts.signers[0].digest.as_bytes(), facts.signers[3].digest.as_bytes()), (&[7; 32][..], &[10; 32][..]));

    let pcrs = PcrValues::parse(PcrSelection::of([pcr]), &[0; 32]).unwrap();
    let runner = "r".parse().unwrap();
    let seen = SeenBoot { runner: &runner, class: TpmClass::Software, firmware: 1, pcrs: &pcrs, facts: Some(&facts) };
    let rule = ReferenceBoot::allowing("seen".to_owned(), seen).secure_boot.unwrap();
    assert_eq!(rule.signers.unwrap().len(), entries.len());
}

/// No event log has an event of the kernel's PCR: a list for it would allow whatever came.
#[test]
fn a_list_of_events_of_the_kernels_pcr_is_refused() {
    let block = |pcr: u8| format!("[[boot]]\nname = \"b\"\n[[boot.events.{pcr}]]\ndigest = \"{}\"\n", "00".repeat(32));
    References::parse(&block(9)).unwrap();
    let refused = References::parse(&block(10)).unwrap_err();
    assert_eq!(refused, ReferenceError::NotInLog("b".to_owned()));
    assert_eq!(
        refused.to_string(),
        "block `b` lists events of PCR 10: the kernel extends it, and no event log has them"
    );
}
