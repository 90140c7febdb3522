//! Evidence that two virtual machines made, with UEFI, Secure Boot, a TPM and IMA: quotes, logs and certificates that
//! belong together.
//!
//! `tests/vm/evidence.sh` says what the scenarios are and what is in their folders. The stored set is one run of it;
//! `ATTEST_VM_EVIDENCE=DIR` points the same tests at another (`make vm-test`). Nothing here may hold for one of them only.

mod eventlogs;
mod ima;

use super::testdata;
use attest_appraisal::{
    Accounted, AttestationKey, CertificateRefused, HashPolicy, LogRefused, LoneQuote, QuoteRefused, QuotingKey, Roots,
    TpmClass, VerifiedEndorsement, VerifiedLoneQuote,
};
use attest_evidence::eventlog::EventLog;
use attest_evidence::tpm::{PcrBanks, PcrIndex, Public};
use attest_evidence::{Digest, HashAlgorithm, UnixSeconds};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Boots of the first machine, in their order: one configuration.
const ONE: [&str; 3] = ["secure-boot", "second-boot", "late-ima"];
/// Boots of the second, in their order: each otherwise than all others.
const TWO: [&str; 4] = ["other-kernel", "other-command-line", "secure-boot-off", "no-event-log"];
/// What the guest quotes.
const QUOTED: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14];
/// What is measured before Linux runs: by firmware 0 to 7, by GRUB 8 and 9, by shim 14.
const BEFORE_LINUX: [u8; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14];
/// Keys and banks of the quotes.
const KINDS: [&str; 3] = ["ecc-sha256", "rsa-sha256", "rsa-sha1"];

/// One boot.
struct Boot {
    name: &'static str,
    directory: PathBuf,
}

/// What one quote is verified from.
struct Quote {
    message: Vec<u8>,
    signature: Vec<u8>,
    nonce: Vec<u8>,
    bank: HashAlgorithm,
    pcrs: PcrBanks,
    key: QuotingKey,
}

fn boot(name: &'static str) -> Boot {
    let set = std::env::var_os("ATTEST_VM_EVIDENCE").map_or_else(|| testdata("vm"), PathBuf::from);
    Boot { name, directory: set.join(name) }
}

fn boots() -> impl Iterator<Item = Boot> {
    ONE.into_iter().chain(TWO).map(boot)
}

fn pcr(index: u8) -> PcrIndex {
    PcrIndex::new(index).unwrap()
}

/// The PCRs of which two boots have other values, of those that are measured before Linux runs.
fn differing(one: &Boot, other: &Boot, bank: HashAlgorithm) -> Vec<u8> {
    let (one, other) = (one.bank("", bank), other.bank("", bank));
    BEFORE_LINUX.into_iter().filter(|index| one[&pcr(*index)] != other[&pcr(*index)]).collect()
}

impl Boot {
    fn read(&self, file: &str) -> Vec<u8> {
        let path = self.directory.join(file);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn text(&self, file: &str) -> String {
        String::from_utf8(self.read(file)).unwrap().trim().to_owned()
    }

    /// What the firmware's variable of that name holds, without the attributes in front.
    fn variable(&self, name: &str) -> Vec<u8> {
        self.read(&format!("efivars/{name}")).split_off(4)
    }

    /// All values of a bank, when the quotes were made whose names begin with `prefix`.
    fn bank(&self, prefix: &str, bank: HashAlgorithm) -> BTreeMap<PcrIndex, Digest> {
        let pcrs: PcrBanks = serde_json::from_slice(&self.read(&format!("{prefix}pcrs.json"))).unwrap();
        pcrs.bank(bank).unwrap().clone()
    }

    fn has_log(&self) -> bool {
        self.directory.join("eventlog.bin").exists()
    }

    fn key(&self, name: &str) -> AttestationKey {
        AttestationKey::check(&self.read(&format!("ak-{name}.tpmt"))).unwrap()
    }

    fn quote(&self, prefix: &str, kind: &str) -> Quote {
        let (key, bank) = kind.split_once('-').unwrap();
        let bank: HashAlgorithm = bank.parse().unwrap();
        let values = self.bank(prefix, bank);
        let mut pcrs = PcrBanks::default();
        pcrs.insert(bank, QUOTED.into_iter().map(|index| (pcr(index), values[&pcr(index)])).collect());
        let nonce = self.text("nonce");
        let byte = |at| u8::from_str_radix(&nonce[at..at + 2], 16).unwrap();
        Quote {
            message: self.read(&format!("{prefix}quote-{kind}.msg")),
            signature: self.read(&format!("{prefix}quote-{kind}.sig")),
            nonce: (0..nonce.len()).step_by(2).map(byte).collect(),
            bank,
            pcrs,
            key: QuotingKey::Restricted(self.key(key)),
        }
    }

    /// What the machine's CA vouches for.
    fn roots(&self) -> Roots {
        let mut roots = Roots::default();
        roots.add_root(TpmClass::Software, self.read("ca-root.der")).unwrap();
        roots.add_intermediate(self.read("ca-issuer.der")).unwrap();
        roots
    }

    fn made(&self) -> UnixSeconds {
        UnixSeconds(self.text("made").parse().unwrap())
    }
}

impl Quote {
    fn verify(&self, log: Option<&EventLog<'_>>, policy: HashPolicy) -> Result<VerifiedLoneQuote, QuoteRefused> {
        let Self { message, signature, nonce, pcrs, .. } = self;
        LoneQuote { message, signature, nonce: Some(nonce), pcrs: Some(pcrs), log, measurements: None, policy }
            .verify(&self.key)
    }
}

#[test]
fn every_quote_is_the_keys_and_the_log_leads_to_it() {
    let mut verified = 0;
    for boot in boots() {
        let bytes = boot.has_log().then(|| boot.read("eventlog.bin"));
        let log = bytes.as_deref().map(|bytes| EventLog::parse(bytes).unwrap());
        let prefixes: &[&str] = if boot.name == "late-ima" { &["earlier-", ""] } else { &[""] };
        for prefix in prefixes {
            for kind in KINDS {
                let quote = boot.quote(prefix, kind);
                let name = format!("{} {prefix}{kind}", boot.name);
                let policy = if quote.bank.is_weak() { HashPolicy::Legacy } else { HashPolicy::Strict };
                let found = quote.verify(log.as_ref(), policy).unwrap_or_else(|refused| panic!("{name}: {refused}"));
                assert_eq!(found.selection, [(quote.bank, QUOTED.map(pcr).to_vec())], "{name}");
                if log.is_some() {
                    // What the kernel measured has a list of its own.
                    let accounted = Accounted { explained: BEFORE_LINUX.map(pcr).to_vec(), unexplained: vec![pcr(10)] };
                    assert_eq!(found.replayed, [(quote.bank, accounted)].into(), "{name}");
                }
                if quote.bank.is_weak() {
                    let refused = QuoteRefused::WeakHash { what: "PCR bank", hash: quote.bank };
                    assert_eq!(quote.verify(log.as_ref(), HashPolicy::Strict), Err(refused), "{name}");
                }
                verified += 1;
            }
        }
    }
    assert_eq!(verified, 24);
}

#[test]
fn each_boot_counts_as_one_reset_of_the_tpm() {
    for machine in [&ONE[..], &TWO] {
        let clocks: Vec<_> = machine
            .iter()
            .map(|name| boot(name).quote("", "ecc-sha256").verify(None, HashPolicy::Strict).unwrap().clock)
            .collect();
        for pair in clocks.windows(2) {
            assert_eq!(pair[1].reset_count, pair[0].reset_count + 1);
            assert!(pair[1].clock > pair[0].clock);
        }
        // The machines were turned off properly, and not put to sleep.
        assert!(clocks.iter().all(|clock| clock.safe && clock.restart_count == 0), "{clocks:?}");
    }
}

#[test]
fn keys_stay_with_their_machine() {
    for (machine, stranger) in [(&ONE[..], TWO[0]), (&TWO, ONE[0])] {
        for name in machine {
            let kept = ["ak-ecc.tpmt", "ak-rsa.tpmt", "ek-rsa.tpmt", "ek-rsa.der", "ca-root.der"];
            assert!(kept.iter().all(|file| boot(name).read(file) == boot(machine[0]).read(file)), "{name}");
            let mut quote = boot(name).quote("", "ecc-sha256");
            quote.key = QuotingKey::Restricted(boot(stranger).key("ecc"));
            assert_eq!(quote.verify(None, HashPolicy::Strict), Err(QuoteRefused::Signature), "{name}");
        }
    }
}

#[test]
fn the_ca_of_its_own_vouches_for_the_ek_and_no_other_does() {
    for (name, stranger) in [(ONE[0], TWO[0]), (TWO[0], ONE[0])] {
        let (boot, stranger) = (boot(name), boot(stranger));
        let certificate = boot.read("ek-rsa.der");
        let verified = VerifiedEndorsement::verify_ek(&certificate, &boot.roots(), boot.made()).unwrap();
        assert_eq!(verified.class(), TpmClass::Software);
        let key = |boot: &Boot| Public::parse(&boot.read("ek-rsa.tpmt")).unwrap().key;
        assert!(verified.is_for(&key(&boot)));
        assert!(!verified.is_for(&key(&stranger)));
        let refused = VerifiedEndorsement::verify_ek(&certificate, &stranger.roots(), boot.made());
        // Both are called the same.
        assert!(matches!(refused, Err(CertificateRefused::Signature { .. })), "{refused:?}");
    }
}

#[test]
fn pcrs_differ_where_the_boots_do() {
    let pairs: [(&str, &str, &[u8]); 6] = [
        ("secure-boot", "second-boot", &[]),
        ("secure-boot", "late-ima", &[]),
        // A kernel: 4 where it is loaded, 9 where GRUB reads the file.
        ("secure-boot", "other-kernel", &[4, 9]),
        // An argument: 8 where GRUB runs the command, 9 where it reads the file with the command in it.
        ("secure-boot", "other-command-line", &[8, 9]),
        // No keys: 7, and 4 since shim loads no kernel. What OVMF measures of its own PEI volume depends on its variables, so
        // that 0 differs as well: the event is a digest of memory.
        ("secure-boot", "no-event-log", &[0, 4, 7]),
        // Another loader: 8 and 9 as above, and 4 since firmware loads the kernel.
        ("no-event-log", "secure-boot-off", &[4, 8, 9]),
    ];
    for (one, other, wanted) in pairs {
        for bank in HashAlgorithm::ALL {
            assert_eq!(differing(&boot(one), &boot(other), bank), wanted, "{one} {other} {bank}");
        }
    }
}

#[test]
fn evidence_of_another_boot_is_refused() {
    let quote = boot("secure-boot").quote("", "ecc-sha256");
    for (other, first_to_differ) in [("other-kernel", 4), ("other-command-line", 8), ("secure-boot-off", 0)] {
        let bytes = boot(other).read("eventlog.bin");
        let log = EventLog::parse(&bytes).unwrap();
        let refused = quote.verify(Some(&log), HashPolicy::Strict);
        let Err(QuoteRefused::Log(LogRefused::Replay { pcr: index, .. })) = refused else {
            panic!("{other}: {refused:?}");
        };
        assert_eq!(index, pcr(first_to_differ), "{other}");
    }
    let mut replayed = boot("second-boot").quote("", "ecc-sha256");
    replayed.nonce = quote.nonce;
    assert!(matches!(replayed.verify(None, HashPolicy::Strict), Err(QuoteRefused::Nonce { .. })));
    let mut exchanged = boot("late-ima").quote("", "ecc-sha256");
    exchanged.pcrs = boot("late-ima").quote("earlier-", "ecc-sha256").pcrs;
    assert!(matches!(exchanged.verify(None, HashPolicy::Strict), Err(QuoteRefused::Values { .. })));
}
