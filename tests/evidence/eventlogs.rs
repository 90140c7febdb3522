//! Event logs, replayed, beside the PCRs that their machines reported and what `tpm2_eventlog` 5.4 makes of them.

use super::read;
use attest_evidence::HashAlgorithm;
use attest_evidence::eventlog::EventLog;
use attest_evidence::tpm::PcrBanks;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
pub(crate) struct Known {
    /// Number of events; none where the log must be refused.
    pub(crate) events: Option<usize>,
    /// What the machine reported.
    reported: Option<PcrBanks>,
    /// What `tpm2_eventlog` 5.4 computes.
    tpm2_eventlog: Option<PcrBanks>,
    /// Whether that is right.
    agree: Option<bool>,
}

pub(crate) fn known() -> BTreeMap<String, Known> {
    serde_json::from_slice(&read("eventlogs/known.json")).unwrap()
}

/// PCRs that a machine reported and its log does not lead to, and why.
const EXCLUDED: [(&str, HashAlgorithm, &[u8], &str); 2] = [
    (
        "real-machines/dell-notebook-5eventlogs-WBCL",
        HashAlgorithm::Sha256,
        &[12, 13, 14],
        "the log is of an earlier boot than the values: of the five logs of this machine, the last one is of theirs",
    ),
    (
        "real-machines/t480s-values",
        HashAlgorithm::Sha1,
        &[0, 1, 2, 3, 4, 5, 6, 7],
        "the log has no SHA-1 digests from event 44 on, and the bank holds something else from the start",
    ),
];

#[test]
fn logs_of_real_machines_lead_to_the_pcrs_that_they_reported() {
    let (mut logs, mut refused, mut values) = (0, 0, 0);
    let mut wrong = BTreeSet::new();
    for (name, known) in known() {
        let bytes = read(&format!("eventlogs/{name}"));
        let log = EventLog::parse(&bytes);
        let Some(events) = known.events else {
            assert!(log.is_err(), "{name}");
            refused += 1;
            continue;
        };
        let log = log.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(log.events().len(), events, "{name}");
        logs += 1;
        for (bank, reported) in known.reported.iter().flat_map(PcrBanks::iter) {
            for (pcr, value) in log.replay(bank).values() {
                if reported.get(pcr).is_some_and(|reported| reported == value) {
                    values += 1;
                } else if reported.contains_key(pcr) {
                    wrong.insert((name.clone(), bank, pcr.get()));
                }
            }
        }
    }
    let excluded: BTreeSet<_> = EXCLUDED
        .iter()
        .flat_map(|(name, bank, pcrs, _)| pcrs.iter().map(|pcr| ((*name).to_owned(), *bank, *pcr)))
        .collect();
    assert_eq!(wrong, excluded);
    assert_eq!((logs, refused, values), (47, 5, 278));
}

#[test]
fn where_tpm2_eventlog_says_otherwise_it_forgot_the_locality_of_pcr_0() {
    let mut compared = 0;
    for (name, known) in known() {
        let Some(theirs) = known.tpm2_eventlog else { continue };
        let bytes = read(&format!("eventlogs/{name}"));
        let log = EventLog::parse(&bytes).unwrap();
        let mut differ = BTreeSet::new();
        for (bank, values) in theirs.iter() {
            let ours = log.replay(bank);
            assert_eq!(ours.values().keys().collect::<Vec<_>>(), values.keys().collect::<Vec<_>>(), "{name} {bank}");
            let others = ours.values().iter().filter(|(pcr, value)| values.get(pcr) != Some(value));
            differ.extend(others.map(|(pcr, _)| pcr.get()));
            compared += 1;
        }
        if known.agree == Some(true) {
            assert_eq!(differ, BTreeSet::new(), "{name}");
        } else {
            assert_eq!((differ, log.startup_locality()), (BTreeSet::from([0]), 3), "{name}");
        }
    }
    assert_eq!(compared, 76);
}
