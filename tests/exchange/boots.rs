//! What a runner booted: event logs against quotes, quotes against what an admin allowed, clocks against the last one
//! (L01, L02, Q11).

use super::machine::{Machine, boot, fact, pcr, report, variable};
use crate::support::{Broker, directory, refusal};
use attest_evidence::eventlog::{EventLog, EventType};
use attest_evidence::exchange::logs;
use attest_evidence::uefi::Guid;
use attest_evidence::{HashAlgorithm, Sha256Digest};
use std::path::Path;

#[tokio::test]
async fn l01_a_log_with_an_event_removed_added_moved_or_in_another_order_is_refused() {
    let broker = Broker::start();
    let machine = Machine::booted(&broker, boot(true, "vmlinuz-1")).await;
    machine.ask().await.unwrap();
    let (_, body) = broker.audit().await.pop().unwrap();
    assert_eq!(body["secure_boot"], true);
    assert_eq!(body["event_log"], Sha256Digest::of(&machine.log).to_string());

    let whole = machine.log.clone();
    let parsed = EventLog::parse(&whole).unwrap();
    let starts: Vec<usize> = parsed.events().iter().map(|event| event.offset).chain([whole.len()]).collect();
    let event = |number: usize| whole[starts[number]..starts[number + 1]].to_vec();
    for number in 1..parsed.events().len() {
        let without = [&whole[..starts[number]], &whole[starts[number + 1]..]].concat();
        let twice = [&whole[..starts[number]], &event(number), &whole[starts[number]..]].concat();
        let mut moved = whole.clone();
        moved[starts[number]] ^= 1; // its PCR
        // PCRs 8 and 9 have one event each: without it, the log is silent about them.
        let last = parsed.events()[number].pcr();
        let (silent, gone) =
            (if last > 7 { "AR-E508" } else { "AR-E506" }, if last == 8 { "AR-E508" } else { "AR-E506" });
        for (tampered, code) in [(without, silent), (twice, "AR-E506"), (moved, gone)] {
            assert_eq!(refusal(machine.ask_with(&tampered).await), code, "event {number}");
        }
    }
    // Two of PCR 0.
    let swapped = [&whole[..starts[1]], &event(3), &event(2), &event(1), &whole[starts[4]..]].concat();
    assert_eq!(refusal(machine.ask_with(&swapped).await), "AR-E506");
    assert_eq!(refusal(machine.ask_with(&whole[..whole.len() - 1]).await), "AR-E501");
    assert_eq!(refusal(machine.send(&[(1, b"no log".to_vec())]).await), "AR-X106");
    machine.ask().await.unwrap();
}

#[tokio::test]
async fn a_log_is_sent_once_and_known_by_its_digest_from_then_on() {
    let broker = Broker::start();
    let machine = Machine::booted(&broker, boot(true, "vmlinuz-1")).await;
    let by_digest = [logs::known_event_log(&Sha256Digest::of(&machine.log))];
    assert_eq!(refusal(machine.send(&by_digest).await), "AR-X107");
    machine.ask().await.unwrap();
    machine.send(&by_digest).await.unwrap();
    let (_, body) = broker.audit().await.pop().unwrap();
    assert_eq!(body["secure_boot"], true);
}

/// A log goes with the last boot that it is of, and may still be at hand: it is sent once more.
#[tokio::test]
async fn a_log_that_went_with_its_boot_is_asked_for_again() {
    let broker = Broker::start();
    let machine = Machine::booted(&broker, boot(true, "vmlinuz-1")).await;
    machine.ask().await.unwrap();
    broker.execute(sqlx::query("DELETE FROM boots")).await;
    broker.execute(sqlx::query("DELETE FROM evidence")).await;
    let other = Machine::booted_as(&broker, "s", boot(true, "vmlinuz-1")).await;
    assert_eq!(other.log, machine.log);
    let by_digest = [logs::known_event_log(&Sha256Digest::of(&other.log))];
    assert_eq!(refusal(other.send(&by_digest).await), "AR-X107");
    other.ask().await.unwrap();
    other.send(&by_digest).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_that_changed_is_refused_by_its_event_shown_in_words_and_allowed() {
    let broker = Broker::start();
    let mut machine = Machine::booted(&broker, boot(true, "vmlinuz-1")).await;
    broker.admin(&["runner", "approve", "r", "--diff"]).refused(1, "AR-P133");
    machine.ask().await.unwrap();
    let shown = broker.admin(&["runner", "approve", "r", "--diff"]).ok();
    assert!(shown.stdout.contains("there is no other boot to compare it with"), "{}", shown.stdout);
    assert!(shown.stderr.contains("from now on `r` may boot nothing else"), "{}", shown.stderr);
    machine.ask().await.unwrap();
    let (_, body) = broker.audit().await.pop().unwrap();
    assert!(body["boot"].as_str().unwrap().starts_with("r 20"), "{body}");
    // Without its log, the rules about events are not met.
    assert_eq!(refusal(machine.send(&[]).await), "AR-E808");

    machine.reboot(boot(true, "vmlinuz-2"), |_| {}).await;
    let refused = report(machine.ask().await);
    assert_eq!((refused.code.as_str(), fact(&refused, "pcr")), ("AR-E802", "8"), "{refused}");
    assert!(refused.what.contains("grub_cmd: linux /vmlinuz-2 root=/dev/sda1"), "{refused}");
    let of = |kernel: &str| Sha256Digest::of(format!("linux /{kernel} root=/dev/sda1").as_bytes()).to_string();
    assert_eq!((fact(&refused, "wanted"), fact(&refused, "got")), (&*of("vmlinuz-1"), &*of("vmlinuz-2")));
    // The label on the event may say anything: what was measured decides.
    let mut relabelled = machine.log.clone();
    let at = relabelled.windows(9).position(|part| part == b"vmlinuz-2").unwrap();
    relabelled[at + 8] = b'1';
    assert_eq!(refusal(machine.ask_with(&relabelled).await), "AR-E802");

    // And an admin who looks now is told that it is only said.
    let dry = broker.admin(&["runner", "approve", "r", "--diff", "--dry-run"]).ok();
    assert!(dry.stdout.contains("is        grub_cmd: linux /vmlinuz-1 root=/dev/sda1  [claimed; "), "{}", dry.stdout);
    assert!(dry.stdout.contains("what = \"said to be grub_cmd: linux /vmlinuz-1 root=/dev/sda1\""), "{}", dry.stdout);

    assert_eq!(refusal(machine.ask().await), "AR-E802");
    let dry = broker.admin(&["runner", "approve", "r", "--diff", "--dry-run"]).ok();
    assert!(dry.stdout.contains("was       grub_cmd: linux /vmlinuz-1 root=/dev/sda1"), "{}", dry.stdout);
    assert!(dry.stdout.contains("is        grub_cmd: linux /vmlinuz-2 root=/dev/sda1"), "{}", dry.stdout);
    assert_eq!(refusal(machine.ask().await), "AR-E802");
    let other = Sha256Digest::of(b"another").to_string();
    broker.admin(&["runner", "approve", "r", "--diff", "--boot", &other]).refused(1, "AR-P134");
    let state = dry.stdout.split(' ').nth(1).unwrap();
    let until = ["--others-until", "2020-01-01T00:00:00Z"];
    broker.admin(&[&["runner", "approve", "r", "--diff", "--boot", state][..], &until].concat()).ok();
    machine.ask().await.unwrap();

    // The old kernel has expired.
    machine.reboot(boot(true, "vmlinuz-1"), |_| {}).await;
    assert_eq!(refusal(machine.ask().await), "AR-E802");
    machine.reboot(boot(false, "vmlinuz-2"), |_| {}).await;
    let refused = report(machine.ask().await);
    assert_eq!((refused.code.as_str(), fact(&refused, "got")), ("AR-E803", "it is off"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn l02_what_is_said_of_secure_boot_counts_where_firmware_says_it() {
    let broker = Broker::start();
    let mut machine = Machine::booted(&broker, boot(true, "vmlinuz")).await;
    let rule = broker.state().with_file_name("references.toml");
    let write = |text: &str| std::fs::write(&rule, text).unwrap();
    write("[[boot]]\nname = \"on\"\n[boot.secure-boot]\nenabled = true\n");
    broker.admin(&["reference", "apply", rule.to_str().unwrap()]).ok();
    machine.ask().await.unwrap();

    // On, by whoever extends PCR 7 behind firmware's separator.
    let on = variable(Guid::GLOBAL_VARIABLE, "SecureBoot", &[1]);
    let mut late = boot(false, "vmlinuz");
    late.measured(pcr(7), EventType::EFI_VARIABLE_DRIVER_CONFIG, &on);
    machine.reboot(late, |_| {}).await;
    assert_eq!(refusal(machine.ask().await), "AR-E803");
    // The same with another separator in front of which it stands, and the true ones called something else: no digest
    // covers what an event is called.
    let mut relabelled = boot(false, "vmlinuz");
    relabelled.measured(pcr(7), EventType::EFI_VARIABLE_DRIVER_CONFIG, &on);
    relabelled.measured(pcr(7), EventType::SEPARATOR, &[0; 4]);
    machine.reboot(relabelled, |_| {}).await;
    let events: Vec<(usize, u32)> = {
        let log = EventLog::parse(&machine.log).unwrap();
        log.events().iter().map(|event| (event.offset, event.pcr())).collect()
    };
    let of_pcr_7: Vec<usize> = events.iter().filter(|(_, pcr)| *pcr == 7).map(|(offset, _)| *offset).collect();
    for kind in [EventType::EFI_ACTION, EventType::NONHOST_INFO, EventType(0x1234_5678)] {
        let mut log = machine.log.clone();
        for offset in &of_pcr_7[..2] {
            log[offset + 4..offset + 8].copy_from_slice(&kind.0.to_le_bytes());
        }
        assert_eq!(refusal(machine.ask_with(&log).await), "AR-E803", "{kind}");
    }
    // Somewhere else.
    let mut elsewhere = boot(false, "vmlinuz");
    elsewhere.measured(pcr(8), EventType::EFI_VARIABLE_DRIVER_CONFIG, &on);
    machine.reboot(elsewhere, |_| {}).await;
    assert_eq!(refusal(machine.ask().await), "AR-E803");
    // By data that are not what was measured.
    machine.reboot(boot(false, "vmlinuz"), |_| {}).await;
    let mut changed = machine.log.clone();
    let name: Vec<u8> = "SecureBoot".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let at = changed.windows(name.len()).position(|part| part == name).unwrap() + name.len();
    changed[at] = 1;
    assert_eq!(fact(&report(machine.ask_with(&changed).await), "got"), "the log says nothing of it that was measured");

    // Revocations, and whoever allowed an image to run.
    let wanted = Sha256Digest::of(b"revoked");
    write(&format!("[[boot]]\nname = \"on\"\n[boot.secure-boot]\nenabled = true\ndbx-at-least = [\"{wanted}\"]\n"));
    broker.admin(&["reference", "apply", rule.to_str().unwrap()]).ok();
    machine.reboot(boot(true, "vmlinuz"), |_| {}).await;
    assert_eq!(refusal(machine.ask().await), "AR-E804");
    write("[[boot]]\nname = \"on\"\n[boot.secure-boot]\nenabled = true\nsigners = []\n");
    broker.admin(&["reference", "apply", rule.to_str().unwrap()]).ok();
    machine.ask().await.unwrap();
    let mut signed = boot(true, "vmlinuz");
    let entry = [Guid::MICROSOFT.as_bytes().as_slice(), &[0x30, 2, 5, 0]].concat();
    let authority = variable(Guid::IMAGE_SECURITY_DATABASE, "db", &entry);
    signed.measured(pcr(7), EventType::EFI_VARIABLE_AUTHORITY, &authority);
    machine.reboot(signed, |_| {}).await;
    assert_eq!(refusal(machine.ask().await), "AR-E805");
    // Whatever the event is called, and whatever is said in it.
    let offset = EventLog::parse(&machine.log).unwrap().events().last().unwrap().offset;
    let mut called = machine.log.clone();
    called[offset + 4..offset + 8].copy_from_slice(&EventType::EVENT_TAG.0.to_le_bytes());
    assert_eq!(refusal(machine.ask_with(&called).await), "AR-E805");
    *called.last_mut().unwrap() ^= 1;
    assert_eq!(refusal(machine.ask_with(&called).await), "AR-E805");

    // What can't be meant is refused before it counts.
    for wrong in
        ["[[boot]]\nname = \"any\"\n", "[[boot]]\nname = \"x\"\n[boot.secure_boot]\nenabled = true\n", "boot = 1"]
    {
        write(wrong);
        broker.admin(&["reference", "check", rule.to_str().unwrap()]).refused(1, "AR-P131");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn q11_a_tpm_whose_counts_went_back_is_refused() {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }
    let broker = Broker::start();
    let mut machine = Machine::booted(&broker, boot(true, "vmlinuz")).await;
    // A reboot is seen from the enrolment on.
    let rebooted = async || broker.audit().await.pop().unwrap().1["rebooted"].clone();
    machine.reboot(boot(true, "vmlinuz"), |_| {}).await;
    machine.ask().await.unwrap();
    assert_eq!(rebooted().await, true);
    machine.ask().await.unwrap();
    assert_eq!(rebooted().await, false);
    let snapshot = directory();
    machine.reboot(boot(true, "vmlinuz"), |state| copy(state, snapshot.path())).await;
    machine.ask().await.unwrap();
    machine.reboot(boot(true, "vmlinuz"), |_| {}).await;
    machine.ask().await.unwrap();
    // Its state is put back to that of two boots ago: it counts as many resets as it had then, and one more.
    machine
        .reboot(boot(true, "vmlinuz"), |state| {
            std::fs::remove_dir_all(state).unwrap();
            copy(snapshot.path(), state);
        })
        .await;
    let refused = report(machine.ask().await);
    assert_eq!(refused.code.as_str(), "AR-E901", "{refused}");
    let listed = broker.admin(&["alarm", "list"]).ok();
    assert!(listed.stdout.contains("tpm-went-back"), "{}", listed.stdout);
    // Nor does it open or end sessions.
    assert_eq!(refusal(machine.rig.redeem("a token").await), "AR-E901");
    // It stays so until it has caught up.
    machine.reboot(boot(true, "vmlinuz"), |_| {}).await;
    machine.ask().await.unwrap();
}

/// An event that says from which locality the TPM was started. It extends nothing.
fn locality(from: u8) -> Vec<u8> {
    let data = [b"StartupLocality\0".as_slice(), &[from]].concat();
    let mut event = 0_u32.to_le_bytes().to_vec();
    event.extend(EventType::NO_ACTION.0.to_le_bytes());
    event.extend(1_u32.to_le_bytes());
    event.extend(HashAlgorithm::Sha256.id().to_le_bytes());
    event.extend([0; 32]);
    event.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    event.extend(data);
    event
}

#[tokio::test]
async fn l03_a_startup_locality_that_is_not_the_tpm_s_is_refused() {
    let broker = Broker::start();
    let machine = Machine::booted(&broker, boot(true, "vmlinuz-1")).await;
    let log = &machine.log;
    let first = EventLog::parse(log).unwrap().events()[1].offset;
    let with = |events: &[Vec<u8>]| [&log[..first], &events.concat(), &log[first..]].concat();
    // What is true may be said. What is not leads PCR 0 elsewhere.
    machine.ask_with(&with(&[locality(0)])).await.unwrap();
    for forged in [3, 4] {
        let refused = report(machine.ask_with(&with(&[locality(forged)])).await);
        assert_eq!((refused.code.as_str(), fact(&refused, "pcr")), ("AR-E506", "0"), "{forged}");
    }
    for (what, log) in [
        ("none that there is", with(&[locality(9)])),
        ("said twice", with(&[locality(0), locality(0)])),
        ("too late", [log.as_slice(), &locality(0)].concat()),
    ] {
        assert_eq!(refusal(machine.ask_with(&log).await), "AR-E505", "{what}");
    }
    machine.ask().await.unwrap();
}

#[tokio::test]
async fn l04_absurd_lengths_and_sizes_are_refused_at_once_and_cost_nothing() {
    let broker = Broker::start();
    let machine = Machine::booted(&broker, boot(true, "vmlinuz-1")).await;
    let log = &machine.log;
    let events = EventLog::parse(log).unwrap().events().iter().map(|event| event.offset).collect::<Vec<_>>();
    let patched = |at: usize, value: u32| {
        let mut log = log.clone();
        log[at..at + 4].copy_from_slice(&value.to_le_bytes());
        log
    };
    // Of the second event: how many digests it has, and how long its data are. Of the header: how long it is.
    let (count, size) = (events[1] + 8, events[1] + 8 + 4 + 2 + 32);
    let mut cases = Vec::new();
    for value in [1 << 31, u32::MAX] {
        for at in [count, size, 28] {
            cases.push((format!("{value:#x} at byte {at}"), logs::event_log(&patched(at, value)), "AR-E501"));
        }
    }
    let junk: Vec<u8> = (0..600_000_u32).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    cases.push(("10 MB of zeros".to_owned(), logs::event_log(&vec![0; 10_000_000]), "AR-X106"));
    cases.push(("longer than a log may be".to_owned(), (1, junk.clone()), "AR-X101"));
    cases.push(("junk".to_owned(), (1, junk[..400_000].to_vec()), "AR-X106"));
    for (what, sent, code) in cases {
        let began = std::time::Instant::now();
        assert_eq!(refusal(machine.send(&[sent]).await), code, "{what}");
        assert!(began.elapsed() < std::time::Duration::from_secs(2), "{what}: {:?}", began.elapsed());
    }
    machine.ask().await.unwrap();
}
