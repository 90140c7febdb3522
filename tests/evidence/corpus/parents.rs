//! Good evidence: what real machines made, and what a key of the test signs for the PCRs of one of them.

use super::case::{Case, Files, IMA, Kind, LOG, MESSAGE, NONCE, PCRS, PEM, PUBLIC, SIGNATURE};
use super::events::LogParts;
use super::judge::measured;
use super::keys::TestKey;
use super::lists;
use super::statement::Statement;
use crate::read;
use attest_evidence::HashAlgorithm;
use attest_evidence::eventlog::EventLog;
use attest_evidence::tpm::{PcrBanks, algorithm};
use std::collections::BTreeMap;

/// Qualifying data of every quote that is made here.
pub(crate) const NONCE_VALUE: &[u8; 32] = b"a nonce of the corpus: 32 bytes.";

/// A quote by a key of the test, with all that is needed to make it anew.
pub(crate) struct Made {
    pub(crate) case: Case,
    pub(crate) key: TestKey,
    pub(crate) statement: Statement,
    pub(crate) pcrs: PcrBanks,
}

impl Made {
    fn quote(name: &str, what: &str, key: TestKey, pcrs: PcrBanks) -> Self {
        let statement = Statement::quote(NONCE_VALUE, &pcrs);
        let case = Case::parent(Kind::Quote, name, what, Files::new())
            .with(PUBLIC, key.area().bytes())
            .with(NONCE, NONCE_VALUE)
            .with(PCRS, json(&pcrs))
            .signed(&key, &statement.bytes());
        Self { case, key, statement, pcrs }
    }

    /// The statement with something changed, and signed again.
    pub(crate) fn resigned(&self, name: &str, code: &str, what: &str, change: impl FnOnce(&mut Statement)) -> Case {
        let mut statement = self.statement.clone();
        change(&mut statement);
        self.case.refuse(name, code, what).signed(&self.key, &statement.bytes())
    }

    /// Other values than those that are quoted.
    pub(crate) fn valued(&self, name: &str, code: &str, what: &str, change: impl FnOnce(&mut PcrBanks)) -> Case {
        let mut pcrs = self.pcrs.clone();
        change(&mut pcrs);
        self.case.refuse(name, code, what).with(PCRS, json(&pcrs))
    }

    /// The same quote with an event log beside it.
    fn with_log(self, name: &str, what: &str, log: &[u8]) -> Self {
        let parsed = EventLog::parse(log).unwrap();
        let bank = HashAlgorithm::Sha256;
        let values = self.pcrs.bank(bank).unwrap();
        let accounts_for: Vec<u8> = values.keys().map(|pcr| pcr.get()).collect();
        let measured = measured(&parsed, bank, |pcr| accounts_for.contains(&pcr));
        let case = Case::parent(Kind::Eventlog, name, what, self.case.files.clone()).with(LOG, log).facts(|facts| {
            facts.accounts_for = BTreeMap::from([(bank.to_string(), accounts_for)]);
            facts.measured = measured;
        });
        Self { case, ..self }
    }
}

impl Case {
    /// With this message, signed by this key.
    pub(crate) fn signed(self, key: &TestKey, message: &[u8]) -> Self {
        self.with(SIGNATURE, key.sign(message).bytes()).with(MESSAGE, message)
    }
}

pub(crate) fn json(pcrs: &PcrBanks) -> Vec<u8> {
    serde_json::to_vec(pcrs).unwrap()
}

/// The PCRs 0 to 8 of a workstation, as its TPM reported them, in the SHA-256 bank.
fn workstation_pcrs() -> PcrBanks {
    let known: serde_json::Value = serde_json::from_slice(&read("eventlogs/known.json")).unwrap();
    let reported = known.pointer("/gce-and-pc~1arch-linux-workstation.bin/reported/sha256").unwrap().clone();
    serde_json::from_value(serde_json::json!({ "sha256": reported })).unwrap()
}

pub(crate) fn made_p256() -> Made {
    let what = "a quote by a P-256 key of the corpus, of the PCRs that a workstation reported";
    Made::quote("made-p256", what, TestKey::p256("p256"), workstation_pcrs())
}

pub(crate) fn made_rsassa() -> Made {
    let what = "the same by an RSA-2048 key with RSASSA";
    Made::quote("made-rsassa", what, TestKey::rsa("rsa2048", algorithm::RSASSA), workstation_pcrs())
}

pub(crate) fn made_rsapss() -> Made {
    let what = "the same by an RSA-2048 key with RSAPSS";
    Made::quote("made-rsapss", what, TestKey::rsa("rsa2048", algorithm::RSAPSS), workstation_pcrs())
}

/// The event log of the workstation, with a quote of the PCRs that it reported.
pub(crate) fn workstation_log() -> Made {
    let log = read("eventlogs/gce-and-pc/arch-linux-workstation.bin");
    let what =
        "the event log of a workstation (google/go-tpm-tools, Apache-2.0), and a quote of the PCRs that it reported";
    made_p256().with_log("log-workstation", what, &log)
}

/// A short log of a TPM that was started from locality 3, with a quote of the PCRs that it leads to.
pub(crate) fn locality_log() -> Made {
    let parts = LogParts::made();
    let what = "a short log, made for the corpus, of a TPM that was started from locality 3, and a quote of its PCRs";
    let quote = Made::quote("made-p256", "", TestKey::p256("p256"), parts.pcrs(3));
    quote.with_log("log-locality", what, &parts.bytes())
}

/// A quote of a real machine.
fn real(name: &str, what: &str, folder: &str, files: &[&'static str], nonce: Option<&[u8]>) -> Case {
    let mut case = Case::parent(Kind::Quote, name, what, Files::new());
    for file in files {
        case = case.with(file, read(&format!("quotes/{folder}/{file}")));
    }
    nonce.into_iter().fold(case, |case, nonce| case.with(NONCE, nonce))
}

pub(crate) fn real_azure() -> Case {
    let what = "a quote of a virtual machine, RSA-2048 with RSASSA (kinvolk/azure-cvm-tooling, MIT)";
    real("real-azure", what, "azure/azure-cvm-tooling", &[MESSAGE, SIGNATURE, PEM, PCRS], Some(b"challenge"))
}

pub(crate) fn real_gce() -> Case {
    let what = "a quote of a virtual machine, with the public area of its key (google/go-tpm-tools, Apache-2.0)";
    real("real-gce", what, "gce/gce-cos-85-no-nonce/sha256", &[MESSAGE, SIGNATURE, PUBLIC, PCRS], Some(b""))
}

pub(crate) fn real_gce_sha384() -> Case {
    let what = "a quote of the same machine's SHA-384 bank, signed with SHA-256 (google/go-tpm-tools, Apache-2.0)";
    real("real-gce-sha384", what, "gce/gce-cos-85-no-nonce/sha384", &[MESSAGE, SIGNATURE, PUBLIC, PCRS], Some(b""))
}

/// A laptop's, with its log.
pub(crate) fn real_laptop(name: &str, folder: &str) -> Case {
    let what = "a quote of a laptop, P-256 (immune-gmbh/guard-oss, BSD-3-Clause)";
    let folder = format!("real-machines/{folder}");
    let key = read(&format!("quotes/{folder}/ak-recovered.pem"));
    real(name, what, &folder, &[MESSAGE, SIGNATURE, PCRS], None).with(PEM, key)
}

/// A list of a server, in two pieces: enough for all kinds of its entries.
pub(crate) fn server_list() -> Case {
    let list = lists::pieces(&read("ima/guard-sr630.binary_measurements"), |number| {
        number < 4 || (519..530).contains(&number)
    });
    let what = "entries 0 to 3 and 519 to 529 of a server's measurement list (immune-gmbh/guard-oss, BSD-3-Clause), \
                and the PCRs 10 and 11 that they lead to";
    list_parent("ima-server", what, list)
}

/// A list with an entry of each common template.
pub(crate) fn made_list() -> Case {
    let what = "a measurement list, made for the corpus, with an entry of each common template and a violation, and \
                the PCR 10 that it leads to";
    list_parent("ima-made", what, lists::made())
}

/// A whole list of a real machine, of one entry, with what its TPM reported.
pub(crate) fn laptop_list() -> Case {
    let all: PcrBanks = serde_json::from_slice(&read("ima/ludmilla-2/pcrs.json")).unwrap();
    let (mut pcrs, mut covered) = (PcrBanks::default(), BTreeMap::new());
    for bank in [HashAlgorithm::Sha1, HashAlgorithm::Sha256] {
        let ten = all.bank(bank).unwrap().iter().filter(|(pcr, _)| pcr.get() == 10);
        pcrs.insert(bank, ten.map(|(pcr, value)| (*pcr, *value)).collect());
        covered.insert("10".to_owned(), 1);
    }
    let what = "the measurement list of a laptop, and what its TPM reported (immune-gmbh/guard-oss, BSD-3-Clause)";
    let files = Files::from([(IMA, read("ima/ludmilla-2/ima.bin")), (PCRS, json(&pcrs))]);
    Case::parent(Kind::Ima, "ima-laptop", what, files).facts(|facts| facts.covered = covered)
}

fn list_parent(name: &str, what: &str, list: lists::List) -> Case {
    let pcrs = list.pcrs();
    let files = Files::from([(IMA, list.bytes()), (PCRS, json(&pcrs))]);
    Case::parent(Kind::Ima, name, what, files).facts(|facts| facts.covered = list.covered())
}

/// A public area that may attest.
pub(crate) fn area(name: &str, what: &str, key: &TestKey) -> Case {
    Case::parent(Kind::Key, name, what, Files::from([(PUBLIC, key.area().bytes())]))
}
