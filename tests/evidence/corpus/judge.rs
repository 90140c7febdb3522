//! What this project's verifier says of the files of a case. It sees nothing but these files.

use super::case::{Facts, Files, IMA, Kind, LOG, MESSAGE, NONCE, PCRS, PEM, PUBLIC, SIGNATURE};
use crate::pem;
use attest_appraisal::{AttestationKey, HashPolicy, LoneQuote, QuotingKey, VerifiedLoneQuote};
use attest_evidence::HashAlgorithm;
use attest_evidence::eventlog::EventLog;
use attest_evidence::ima::{Extension, Replay};
use attest_evidence::report::Explain;
use attest_evidence::tpm::PcrBanks;

/// The code of a refusal.
pub(crate) type Code = String;

/// The verdict on a case.
pub(crate) fn judge(kind: Kind, files: &Files) -> Result<Facts, Code> {
    match kind {
        Kind::Key => key(files).map(|_| Facts::default()),
        Kind::Ima => measurement_list(file(files, IMA), &pcrs(files)),
        Kind::Quote => verified(files).map(|_| Facts::default()),
        Kind::Eventlog => {
            let quote = verified(files)?;
            let log = EventLog::parse(file(files, LOG)).map_err(code)?;
            Ok(log_facts(&log, &quote))
        }
    }
}

/// A file; one that is not there reads as nothing.
pub(crate) fn file<'a>(files: &'a Files, name: &str) -> &'a [u8] {
    files.get(name).map(Vec::as_slice).unwrap_or_default()
}

pub(crate) fn pcrs(files: &Files) -> PcrBanks {
    serde_json::from_slice(file(files, PCRS)).unwrap()
}

fn code(refused: impl Explain) -> Code {
    refused.report().code.to_string()
}

/// The key: restricted, where its public area is there.
fn key(files: &Files) -> Result<QuotingKey, Code> {
    match files.get(PUBLIC) {
        Some(public) => AttestationKey::check(public).map(QuotingKey::Restricted).map_err(code),
        None => Ok(QuotingKey::Bare(pem(file(files, PEM)))),
    }
}

fn verified(files: &Files) -> Result<VerifiedLoneQuote, Code> {
    let key = key(files)?;
    let pcrs = files.contains_key(PCRS).then(|| pcrs(files));
    let log = files.get(LOG).map(|log| EventLog::parse(log)).transpose().map_err(code)?;
    let quote = LoneQuote {
        message: file(files, MESSAGE),
        signature: file(files, SIGNATURE),
        nonce: files.get(NONCE).map(Vec::as_slice),
        pcrs: pcrs.as_ref(),
        log: log.as_ref(),
        measurements: None,
        policy: HashPolicy::Strict,
    };
    quote.verify(&key).map_err(code)
}

/// What may be believed of a log that leads to the quoted values: the events of the PCRs that it accounts for, and
/// their data where they hash to what was extended.
fn log_facts(log: &EventLog<'_>, quote: &VerifiedLoneQuote) -> Facts {
    let mut facts = Facts::default();
    for (bank, accounted) in &quote.replayed {
        let pcrs = &accounted.explained;
        facts.accounts_for.insert(bank.to_string(), pcrs.iter().map(|pcr| pcr.get()).collect());
        facts.measured.extend(measured(log, *bank, |pcr| pcrs.iter().any(|other| other.get() == pcr)));
    }
    facts
}

/// The events of these PCRs whose data are what was extended.
pub(crate) fn measured(log: &EventLog<'_>, bank: HashAlgorithm, of: impl Fn(u8) -> bool) -> Vec<usize> {
    let events = log.events().iter();
    let events = events.filter(|event| event.extends().is_some_and(|pcr| of(pcr.get())) && event.is_measured(bank));
    events.map(|event| event.number).collect()
}

/// A list has to explain every PCR that was given, and each entry that these cover has to be readable.
pub(crate) fn measurement_list(list: &[u8], pcrs: &PcrBanks) -> Result<Facts, Code> {
    let mut facts = Facts::default();
    for (bank, values) in pcrs.iter() {
        for (pcr, quoted) in values {
            let start = Replay::from_boot(*pcr, bank, Extension::Hashed);
            let covered = start.cover(list, quoted).map_err(code)?;
            for entry in covered.entries().filter(|entry| !entry.is_violation()) {
                entry.measurement().map_err(code)?;
            }
            facts.covered.insert(pcr.to_string(), covered.state().count());
        }
    }
    Ok(facts)
}
