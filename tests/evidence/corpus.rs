//! What attackers would make of good evidence: each case with the verdict that it has to get.
//!
//! A generator takes [`parents`] and spoils one thing in each. Where a signature would fail first, a key of the test
//! signs again, so that each case fails for its own reason. [`stored`] publishes them in `tests/corpus`, for other
//! verifiers.

mod areas;
pub(crate) mod case;
pub(crate) mod events;
mod judge;
pub(crate) mod keys;
pub(crate) mod lists;
mod logs;
mod mass;
mod measurements;
pub(crate) mod parents;
mod quotes;
mod signatures;
pub(crate) mod statement;
mod stored;

use attest_appraisal::signature::{PureRust, SignatureVerifier};
use attest_appraisal::{AttestationKey, RawQuote};
use attest_broker::signatures::AwsLc;
use attest_evidence::tpm::{Attest, PcrSelection};
use attest_evidence::{HashAlgorithm, Sha256Digest};
use case::{Case, Kind, LOG, MESSAGE, NONCE, PUBLIC, SIGNATURE, Verdict};
use judge::{file, judge, pcrs};
use std::collections::BTreeSet;

/// All good evidence.
fn good() -> Vec<Case> {
    vec![
        parents::made_p256().case,
        parents::made_rsassa().case,
        parents::made_rsapss().case,
        parents::real_azure(),
        parents::real_gce(),
        parents::real_gce_sha384(),
        parents::real_laptop("real-laptop", "issue926-x1carbon-before"),
        parents::real_laptop("real-laptop-earlier", "issue926-x1carbon-ancient"),
        parents::workstation_log().case,
        parents::locality_log().case,
        parents::made_list(),
        parents::server_list(),
        parents::laptop_list(),
        areas::area_p256(),
        areas::area_rsa(),
    ]
}

/// All cases, the good evidence first.
pub(crate) fn evidence() -> Vec<Case> {
    [good(), quotes::cases(), signatures::cases(), logs::cases(), measurements::cases(), areas::cases()].concat()
}

#[test]
fn every_case_gets_its_verdict() {
    let cases = evidence();
    let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), cases.len(), "two cases have one name");
    let mut wrong = Vec::new();
    for case in &cases {
        let verdict = match judge(case.kind, &case.files) {
            Ok(facts) => Verdict::Accept { facts },
            Err(code) => Verdict::Refuse { code },
        };
        if verdict != case.verdict {
            wrong.push(format!("{}: {verdict:?}, not {:?}", case.name, case.verdict));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let kinds = [Kind::Quote, Kind::Eventlog, Kind::Ima, Kind::Key];
    let count = |kind| cases.iter().filter(|case| case.kind == kind).count();
    assert_eq!(kinds.map(count), [140, 129, 65, 33]);
}

#[test]
fn no_case_is_its_parent() {
    let cases = evidence();
    let digests: BTreeSet<_> = cases.iter().map(Case::digest).collect();
    assert_eq!(digests.len(), cases.len());
}

/// A broker looks at quotes by another way, with a selection of its own. What is refused here is refused there.
#[test]
fn no_case_is_believed_in_an_exchange() {
    let quotes = || evidence().into_iter().filter(|case| case.kind == Kind::Quote && case.files.contains_key(PUBLIC));
    let believed = |case: &Case| {
        let Ok(key) = AttestationKey::check(case.file(PUBLIC)) else { return false };
        let values = pcrs(&case.files);
        let Some(values) = values.bank(HashAlgorithm::Sha256) else { return false };
        let pcrs = values.values().flat_map(|value| value.as_bytes().to_vec()).collect::<Vec<_>>();
        let raw = RawQuote { message: case.file(MESSAGE), signature: case.file(SIGNATURE), pcrs: &pcrs };
        let Ok(nonce) = <[u8; 32]>::try_from(file(&case.files, NONCE)) else { return false };
        let selection = PcrSelection::of((0..9).map(quotes::pcr));
        let nonce = Sha256Digest::from_bytes(nonce);
        let by = |verifier: &dyn SignatureVerifier| {
            raw.parse().and_then(|quote| quote.verify(&key, &nonce, selection, verifier))
        };
        let (pure, aws_lc) = (by(&PureRust), by(&AwsLc));
        assert_eq!(pure, aws_lc, "{}", case.name);
        pure.is_ok()
    };
    let believed: BTreeSet<_> = quotes().filter(believed).map(|case| case.name).collect();
    let accepted = quotes().filter(|case| matches!(case.verdict, Verdict::Accept { .. }));
    let of_corpus_keys = accepted.map(|case| case.name).filter(|name| !name.starts_with("parent/real-"));
    // Values of a bank that is not quoted have no place in the exchange: there, this is the good quote.
    let expected: BTreeSet<_> = of_corpus_keys.chain(["quote/bank-extra".to_owned()]).collect();
    assert_eq!(believed, expected);
}

#[test]
fn statements_and_logs_are_encoded_as_they_were() {
    for case in good() {
        if case.files.contains_key(MESSAGE) {
            let message = case.file(MESSAGE);
            assert_eq!(statement::Statement::of(&Attest::parse(message).unwrap()).bytes(), message, "{}", case.name);
        }
        if case.files.contains_key(LOG) {
            assert_eq!(events::LogParts::of(case.file(LOG)).bytes(), case.file(LOG), "{}", case.name);
        }
    }
}
