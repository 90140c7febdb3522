//! Quotes that real TPMs made: each verifies with its key, its nonce, its PCRs and its log, or is refused for the
//! reason that is known of it.

use super::{pem, read, testdata};
use attest_appraisal::{AttestationKey, HashPolicy, LoneQuote, QuoteRefused, QuotingKey};
use attest_evidence::HashAlgorithm;
use attest_evidence::digest::to_hex;
use attest_evidence::eventlog::EventLog;
use attest_evidence::report::Explain as _;
use attest_evidence::tpm::{Attest, Attested, PcrBanks, Public, PublicKey, Signature};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;

#[derive(Deserialize)]
struct Expected {
    attest: ExpectedAttest,
    sig: ExpectedSignature,
    expected_nonce: Option<String>,
    ak_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExpectedAttest {
    qualified_signer: String,
    extra_data: String,
    clock: u64,
    reset_count: u32,
    restart_count: u32,
    safe: u8,
    firmware: String,
    select: Vec<(String, Vec<u8>)>,
    pcr_digest: String,
}

#[derive(Deserialize)]
struct ExpectedSignature {
    alg: String,
    hash: String,
}

/// A folder of `tests/testdata/quotes`, read.
struct Folder {
    name: String,
    message: Vec<u8>,
    signature: Vec<u8>,
    /// `None` where the origin publishes no key and none could be recovered.
    key: Option<PublicKey>,
    /// The key as the TPM has it, with attributes and scheme.
    public: Option<Vec<u8>>,
    pcrs: Option<PcrBanks>,
    log: Option<Vec<u8>>,
    expected: Expected,
}

/// Folders whose quote the strict policy must refuse: it rests on SHA-1.
const SHA1: [(&str, &str); 2] = [
    ("gce/gce-cos-85-no-nonce/sha1", "a quote of the SHA-1 bank, signed with SHA-256"),
    ("gce/windows_gcp_shielded_vm", "a quote of the SHA-1 bank, signed with SHA-1"),
];

/// Folders without a key of the machine: only what the quote says can be compared.
const NO_KEY: [(&str, &str); 1] =
    [("real-machines/IMN-DELL", "no key is published, and one ECDSA signature leaves two candidates")];

/// A machine of which five logs are published. Windows writes one at each boot and at each resume from hibernation; the
/// last one is of the quote's, and the others part from it where Windows measures what is new every time, in PCR 12.
const FIVE_LOGS: &str = "real-machines/dell-notebook-5eventlogs-WBCL";

impl Folder {
    fn read(name: &str) -> Self {
        let file = |file: &str| {
            let path = format!("quotes/{name}/{file}");
            testdata(&path).exists().then(|| read(&path))
        };
        let log = format!("eventlogs/{}", name.trim_end_matches("/sha1").trim_end_matches("/sha256"));
        let log = log.trim_end_matches("/sha384").to_owned() + if name == FIVE_LOGS { ".4" } else { "" };
        Self {
            name: name.to_owned(),
            message: file("quote.msg").unwrap(),
            signature: file("quote.sig").unwrap(),
            key: file("ak.pem").or_else(|| file("ak-recovered.pem")).map(|text| pem(&text)),
            public: file("ak.tpmt"),
            pcrs: file("pcrs.json").map(|json| serde_json::from_slice(&json).unwrap()),
            log: testdata(&log).is_file().then(|| read(&log)),
            expected: serde_json::from_slice(&file("expect.json").unwrap()).unwrap(),
        }
    }

    /// All folders with a quote.
    fn all() -> Vec<Self> {
        fn collect(directory: &Path, root: &Path, names: &mut BTreeSet<String>) {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    collect(&path, root, names);
                } else if path.file_name().is_some_and(|name| name == "quote.msg") {
                    let folder = directory.strip_prefix(root).unwrap();
                    names.insert(folder.to_str().unwrap().to_owned());
                }
            }
        }
        let (root, mut names) = (testdata("quotes"), BTreeSet::new());
        collect(&root, &root, &mut names);
        names.iter().map(|name| Self::read(name)).collect()
    }

    fn quote<'a>(&'a self, nonce: &'a [u8], log: Option<&'a EventLog<'a>>, policy: HashPolicy) -> LoneQuote<'a> {
        let has_nonce = self.expected.expected_nonce.is_some();
        let (message, signature) = (&*self.message, &*self.signature);
        LoneQuote {
            message,
            signature,
            nonce: has_nonce.then_some(nonce),
            pcrs: self.pcrs.as_ref(),
            log,
            measurements: None,
            policy,
        }
    }

    fn nonce(&self) -> Vec<u8> {
        let hex = self.expected.expected_nonce.as_deref().unwrap_or_default();
        data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap()
    }
}

#[test]
fn what_a_quote_says_is_read_as_others_read_it() {
    let folders = Folder::all();
    assert_eq!(folders.len(), 17);
    for Folder { name, message, signature, expected, .. } in &folders {
        let attest = Attest::parse(message).unwrap_or_else(|error| panic!("{name}: {error}"));
        let Attested::Quote(quote) = attest.attested else { panic!("{name}: no quote") };
        let ExpectedAttest { qualified_signer, extra_data, firmware, select, pcr_digest, .. } = &expected.attest;
        assert_eq!(&to_hex(attest.qualified_signer), qualified_signer, "{name}");
        assert_eq!(&to_hex(attest.extra_data), extra_data, "{name}");
        assert_eq!(attest.clock.clock, expected.attest.clock, "{name}");
        assert_eq!(attest.clock.reset_count, expected.attest.reset_count, "{name}");
        assert_eq!(attest.clock.restart_count, expected.attest.restart_count, "{name}");
        assert_eq!(u8::from(attest.clock.safe), expected.attest.safe, "{name}");
        assert_eq!(&format!("{:016x}", attest.firmware_version), firmware, "{name}");
        assert_eq!(&to_hex(quote.pcr_digest), pcr_digest, "{name}");
        let selections = quote.selections().unwrap();
        let selections = selections.iter().filter(|bank| !bank.pcrs.is_empty()).map(|bank| {
            let algorithm = HashAlgorithm::from_id(bank.algorithm).unwrap();
            (algorithm.to_string(), bank.pcrs.iter().map(|pcr| pcr.get()).collect())
        });
        assert_eq!(&selections.collect::<Vec<_>>(), select, "{name}");
        let scheme = Signature::parse(signature).unwrap().scheme;
        assert_eq!(scheme.algorithm.as_str().to_lowercase(), expected.sig.alg, "{name}");
        assert_eq!(scheme.hash.as_str(), expected.sig.hash, "{name}");
    }
}

#[test]
fn quotes_of_real_tpms_verify() {
    let (mut verified, mut with_log, mut without_key) = (0, 0, Vec::new());
    for folder in Folder::all() {
        let name = folder.name.as_str();
        let Some(key) = folder.key.clone().map(QuotingKey::Bare) else {
            without_key.push(name.to_owned());
            continue;
        };
        let nonce = folder.nonce();
        let log = folder.log.as_ref().map(|log| EventLog::parse(log).unwrap());
        let policy = if SHA1.iter().any(|(sha1, _)| *sha1 == name) {
            let refused = folder.quote(&nonce, log.as_ref(), HashPolicy::Strict).verify(&key).unwrap_err();
            assert_eq!(refused.report().code.as_str(), "AR-E209", "{name}");
            HashPolicy::Legacy
        } else {
            HashPolicy::Strict
        };
        let quote = folder.quote(&nonce, log.as_ref(), policy).verify(&key);
        let quote = quote.unwrap_or_else(|refused| panic!("{name}: {refused}"));
        verified += 1;
        if let Some(log) = &log {
            with_log += 1;
            for (bank, accounted) in &quote.replayed {
                assert!(log.replay(*bank).values().keys().all(|pcr| accounted.explained.contains(pcr)), "{name}");
            }
        }
    }
    assert_eq!((verified, with_log), (16, 9));
    assert_eq!(without_key, NO_KEY.map(|(name, _)| name));
}

#[test]
fn quotes_verify_with_the_public_areas_of_their_keys() {
    let mut checked = 0;
    for folder in Folder::all() {
        let Some(public) = &folder.public else { continue };
        let name = folder.name.as_str();
        let parsed = Public::parse(public).unwrap();
        assert_eq!(Some(&parsed.key), folder.key.as_ref(), "{name}");
        assert_eq!(parsed.tpm_name().map(|name| name.to_string()), folder.expected.ak_name, "{name}");
        let strict = AttestationKey::check(public);
        let signs_sha1 = folder.expected.sig.hash == "sha1";
        assert_eq!(strict.is_err(), signs_sha1, "{name}");
        let key = AttestationKey::check_by(public, HashPolicy::Legacy).unwrap();
        let nonce = folder.nonce();
        folder.quote(&nonce, None, HashPolicy::Legacy).verify(&QuotingKey::Restricted(key)).unwrap();
        checked += 1;
    }
    assert_eq!(checked, 4);
}

#[test]
fn a_log_of_an_earlier_boot_of_the_same_machine_is_refused() {
    let folder = Folder::read(FIVE_LOGS);
    let key = QuotingKey::Bare(folder.key.clone().unwrap());
    for other in ["", ".1", ".2", ".3"] {
        let log = read(&format!("eventlogs/{FIVE_LOGS}{other}"));
        let log = EventLog::parse(&log).unwrap();
        let refused = folder.quote(&[], Some(&log), HashPolicy::Strict).verify(&key).unwrap_err();
        assert_eq!(refused.report().code.as_str(), "AR-E506", "{other}");
        assert!(refused.to_string().ends_with("value of PCR 12"), "{other}: {refused}");
    }
}

/// What a real key has signed and is no quote: that it was created in its TPM.
#[test]
fn a_real_statement_of_creation_is_no_quote() {
    let folder = Folder::read("gce/windows_gcp_shielded_vm");
    let file = |name: &str| read(&format!("quotes/{}/{name}", folder.name));
    let (message, signature) = (file("creation.msg"), file("creation.sig"));
    let quote =
        LoneQuote { message: &message, signature: &signature, policy: HashPolicy::Legacy, ..LoneQuote::default() };
    let refused = quote.verify(&QuotingKey::Bare(folder.key.clone().unwrap())).unwrap_err();
    assert_eq!(refused.report().code.as_str(), "AR-E201", "{refused}");
}

/// A TPM that is asked for PCRs of a bank that it does not have quotes nothing at all, and signs it.
#[test]
fn a_real_quote_of_nothing_is_refused() {
    let folder = Folder::read("real-machines/IMN-DELL");
    let key = Folder::read("real-machines/latitude-7520").key.unwrap();
    let refused = folder.quote(&[], None, HashPolicy::Strict).verify(&QuotingKey::Bare(key)).unwrap_err();
    assert_eq!(refused, QuoteRefused::Nothing);
}

/// The quote of an agent's test: `r`, then `TPMS_ATTEST`, `TPMT_SIGNATURE` and PCRs in base64. Its key is not there.
#[test]
fn a_quote_with_a_sha1_name_is_read() {
    let text = String::from_utf8(read("quotes/test-quote.txt")).unwrap();
    let parts = text.trim_end().strip_prefix('r').unwrap().split(':');
    let parts: Vec<_> = parts.map(|part| data_encoding::BASE64.decode(part.as_bytes()).unwrap()).collect();
    let [message, signature, _] = parts.as_slice() else { panic!("three parts") };
    let attest = Attest::parse(message).unwrap();
    assert_eq!(attest.qualified_signer.first_chunk(), Some(&[0x00, 0x04]));
    assert_eq!(attest.extra_data, b"TEST");
    assert_eq!(Signature::parse(signature).unwrap().to_bytes().as_ref(), Some(signature));
}
