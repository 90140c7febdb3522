//! What Linux measured in these boots, and how it comes into the banks.

use super::{Boot, boot, boots, pcr};
use attest_evidence::HashAlgorithm;
use attest_evidence::ima::{BootAggregate, Covered, Entries, Entry, Extension, ImaRefused, Replay};

/// IMA's register.
const IMA: u8 = 10;

/// How these kernels extend a bank. When IMA starts, SHA-1 and SHA-256 are there in both; Debian's Linux 6.1 has SHA-384 and
/// SHA-512 as a module only (`ima: Can not allocate sha384`), Linux 6.12 has them built in.
fn extension(boot: &Boot, bank: HashAlgorithm) -> Extension {
    match bank {
        HashAlgorithm::Sha1 | HashAlgorithm::Sha256 => Extension::Hashed,
        _ if boot.text("release").starts_with("6.1.") => Extension::Padded,
        _ => Extension::Hashed,
    }
}

/// What of `list` the value explains that PCR 10 had at the quotes of that prefix.
fn cover<'a>(
    boot: &Boot,
    prefix: &str,
    bank: HashAlgorithm,
    extension: Extension,
    list: &'a [u8],
) -> Result<Covered<'a>, ImaRefused> {
    let quoted = boot.bank(prefix, bank)[&pcr(IMA)];
    Replay::from_boot(pcr(IMA), bank, extension).cover(list, &quoted)
}

fn names(entries: impl Iterator<Item = Entry<'static>>) -> Vec<String> {
    entries.map(|entry| entry.measurement().unwrap().name.to_text().into_owned()).collect()
}

fn violations<'a>(entries: impl Iterator<Item = Entry<'a>>) -> usize {
    entries.filter(Entry::is_violation).count()
}

/// The list of a boot, for as long as the tests run.
fn list(boot: &Boot) -> &'static [u8] {
    boot.read("ima.bin").leak()
}

#[test]
fn the_list_explains_pcr_10_in_every_bank_by_one_extension() {
    for boot in boots() {
        let list = list(&boot);
        for bank in HashAlgorithm::ALL {
            let covered = [Extension::Hashed, Extension::Padded]
                .map(|extension| (extension, cover(&boot, "", bank, extension, list)))
                .into_iter()
                .filter(|(_, covered)| covered.is_ok())
                .map(|(extension, _)| extension);
            let right = extension(&boot, bank);
            // In the SHA-1 bank both are the same.
            let both = [Extension::Hashed, Extension::Padded];
            let wanted = if bank == HashAlgorithm::Sha1 { &both[..] } else { &[right] };
            assert_eq!(covered.collect::<Vec<_>>(), wanted, "{} {bank}", boot.name);
            let replay = Replay::from_boot(pcr(IMA), bank, right);
            assert_eq!(replay.is_weak(), bank.is_weak() || right == Extension::Padded);
        }
    }
}

#[test]
fn the_list_begins_with_what_was_booted() {
    for boot in boots() {
        let first = Entries::of(list(&boot)).unwrap().next().unwrap().unwrap();
        let values = boot.bank("", HashAlgorithm::Sha256);
        let before = std::array::from_fn(|index| values[&pcr(u8::try_from(index).unwrap())]);
        assert_eq!(BootAggregate::find(&first, &before), Some(BootAggregate::To9), "{}", boot.name);
    }
}

#[test]
fn the_list_names_what_ran() {
    for boot in boots() {
        let covered = cover(&boot, "", HashAlgorithm::Sha256, Extension::Hashed, list(&boot)).unwrap();
        let names = names(covered.entries());
        for program in ["/init", "/bin/busybox", "/bin/tpm2"] {
            assert_eq!(names.iter().filter(|name| *name == program).count(), 1, "{} {program}", boot.name);
        }
        assert_eq!(names[0].as_bytes(), BootAggregate::NAME);
    }
}

#[test]
fn the_list_goes_on_after_the_quote() {
    let boot = boot("late-ima");
    let list = list(&boot);
    for bank in HashAlgorithm::ALL {
        let by = extension(&boot, bank);
        let earlier = cover(&boot, "earlier-", bank, by, list).unwrap();
        let later = cover(&boot, "", bank, by, list).unwrap();
        let added: Vec<_> = later.entries().skip(earlier.entries().count()).collect();
        let wanted = ["/new", "/written", "/written", "/read", "/read"];
        assert_eq!(names(added.iter().copied()), wanted, "{bank}");
        let rest = Entries::numbered(later.rest(), later.state().count()).unwrap().map(Result::unwrap);
        assert_eq!(names(rest), ["/after"], "{bank}");

        // Who kept the state of the earlier quote needs only what came behind it.
        let resumed = *earlier.state();
        let resumed = Replay::resumed(resumed.pcr(), by, resumed.count(), *resumed.value());
        let continued = resumed.cover(earlier.rest(), later.state().value()).unwrap();
        assert_eq!((continued.state(), continued.added()), (later.state(), 5), "{bank}");
    }
}

#[test]
fn a_violation_extends_ones_and_leaves_zeros_in_the_list() {
    let mut with = 0;
    for boot in boots() {
        let entries: Vec<_> = Entries::of(list(&boot)).unwrap().map(Result::unwrap).collect();
        let counted: usize = boot.text("ima-violations").parse().unwrap();
        assert_eq!(violations(entries.iter().copied()), counted, "{}", boot.name);
        if counted == 0 {
            continue;
        }
        with += 1;
        for bank in HashAlgorithm::ALL {
            let mut replay = Replay::from_boot(pcr(IMA), bank, extension(&boot, bank));
            for entry in &entries {
                let next = replay.extended(entry).unwrap();
                if entry.is_violation() {
                    let ones = vec![0xff; bank.size()];
                    assert_eq!(*next.value(), replay.value().extended(&ones), "{bank} {}", entry.number);
                }
                replay = next;
            }
            // To the quoted value, and one entry further.
            let quoted = cover(&boot, "", bank, extension(&boot, bank), list(&boot)).unwrap();
            assert_eq!(replay.count(), quoted.state().count() + 1);
        }
    }
    assert_eq!(with, 1, "late-ima alone");
}

#[test]
fn a_violation_can_be_neither_left_out_nor_explained_away() {
    let boot = boot("late-ima");
    let list = list(&boot);
    let entries: Vec<_> = Entries::of(list).unwrap().map(Result::unwrap).collect();
    let at = entries.iter().position(Entry::is_violation).unwrap();
    let (start, end) = (entries[at].offset, entries[at + 1].offset);
    let without = [&list[..start], &list[end..]].concat();
    let bank = HashAlgorithm::Sha256;
    let refused = cover(&boot, "", bank, Extension::Hashed, &without).err();
    assert!(matches!(refused, Some(ImaRefused::NotQuoted { .. })), "{refused:?}");
    // With the digest that its data would have, it is a measurement, and not what was extended.
    let mut explained = list.to_vec();
    let digest = HashAlgorithm::Sha1.hash(entries[at].data);
    explained[start + 4..start + 24].copy_from_slice(digest.as_bytes());
    let refused = cover(&boot, "", bank, Extension::Hashed, &explained).err();
    assert!(matches!(refused, Some(ImaRefused::NotQuoted { .. })), "{refused:?}");
}

#[test]
fn the_list_of_another_boot_explains_nothing() {
    for (name, other) in [("secure-boot", "other-kernel"), ("other-kernel", "secure-boot"), ("late-ima", "second-boot")]
    {
        let refused = cover(&boot(name), "", HashAlgorithm::Sha256, Extension::Hashed, list(&boot(other))).err();
        assert!(matches!(refused, Some(ImaRefused::NotQuoted { .. })), "{name} {other}: {refused:?}");
    }
}
