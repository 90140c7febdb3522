//! Cases too many to be stored: every bit, every length, and what is too large. The manifest has them as rules.

use super::areas;
use super::case::{Case, Files, IMA, Kind, LOG, MESSAGE, NONCE, PCRS, PUBLIC, SIGNATURE};
use super::events::{EventParts, LogParts};
use super::judge::{file, judge, measured, pcrs};
use super::parents::{self, json};
use attest_evidence::eventlog::{EventLog, EventType, LARGEST_LOG, MOST_EVENTS};
use attest_evidence::ima::{Entries, LONGEST_LIST, MOST_ENTRIES};
use attest_evidence::tpm::Public;
use attest_evidence::{Digest, HashAlgorithm};
use serde::{Deserialize, Serialize};

/// A family of cases, each of which is one change of one file of a parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) parent: String,
    pub(crate) file: String,
    /// Each change, one at a time.
    pub(crate) change: Change,
    /// Which of the results may be accepted, in words.
    pub(crate) accepted: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Change {
    /// Each bit changed.
    FlipEachBit,
    /// Cut after each number of bytes but all of them.
    CutAtEachLength,
    /// Each byte from 0 to 255 behind the last one.
    AppendEachByte,
}

impl Change {
    /// Calls `with` for each changed copy of `bytes`, with where it was changed.
    fn each(self, bytes: &[u8], mut with: impl FnMut(Vec<u8>, usize)) {
        match self {
            Self::FlipEachBit => {
                for bit in 0..bytes.len() * 8 {
                    let mut changed = bytes.to_vec();
                    changed[bit / 8] ^= 1 << (bit % 8);
                    with(changed, bit / 8);
                }
            }
            Self::CutAtEachLength => (0..bytes.len()).for_each(|length| with(bytes[..length].to_vec(), length)),
            Self::AppendEachByte => (0..=255).for_each(|byte| with([bytes, &[byte]].concat(), bytes.len())),
        }
    }
}

const NEVER: &str = "none";
const OTHER_NAME: &str = "those that change neither the key nor its scheme, nor an attribute that an attestation key \
                          must have or must not have: the key has another Name then, and is not the enrolled one";
const NOT_COVERED: &str = "those that change what no PCR covers: types and data of events, digests of other banks, \
                           events of type EV_NO_ACTION, the header. The log accounts for the same PCRs, and data that \
                           are changed are not measured";
const VIOLATION: &str = "those within an entry that is a violation: nothing vouches for its template and data";

/// All rules, with the parents that they speak of.
pub(crate) fn rules() -> Vec<(Case, Rule)> {
    let mut rules = Vec::new();
    let mut add = |parent: &Case, file: &'static str, change, accepted: &str| {
        let (name, accepted) = (parent.name.clone(), accepted.to_owned());
        rules.push((parent.clone(), Rule { parent: name, file: file.to_owned(), change, accepted }));
    };
    let laptop = parents::real_laptop("real-laptop", "issue926-x1carbon-before");
    let made = [parents::made_p256().case, parents::made_rsassa().case, parents::made_rsapss().case];
    let real = [parents::real_azure(), parents::real_gce(), laptop];
    for parent in made.iter().chain(&real) {
        for name in [MESSAGE, SIGNATURE] {
            add(parent, name, Change::FlipEachBit, NEVER);
            add(parent, name, Change::CutAtEachLength, NEVER);
            add(parent, name, Change::AppendEachByte, NEVER);
        }
        if parent.files.contains_key(PUBLIC) {
            add(parent, PUBLIC, Change::FlipEachBit, OTHER_NAME);
            add(parent, PUBLIC, Change::CutAtEachLength, NEVER);
            add(parent, PUBLIC, Change::AppendEachByte, NEVER);
        }
    }
    for parent in &made {
        add(parent, NONCE, Change::FlipEachBit, NEVER);
        add(parent, NONCE, Change::CutAtEachLength, NEVER);
        add(parent, NONCE, Change::AppendEachByte, NEVER);
    }
    for parent in [parents::workstation_log().case, parents::locality_log().case] {
        add(&parent, LOG, Change::FlipEachBit, NOT_COVERED);
        add(&parent, LOG, Change::CutAtEachLength, NEVER);
    }
    for parent in [parents::made_list(), parents::server_list(), parents::laptop_list()] {
        add(&parent, IMA, Change::FlipEachBit, VIOLATION);
        add(&parent, IMA, Change::CutAtEachLength, NEVER);
    }
    for parent in [areas::area_p256(), areas::area_rsa()] {
        add(&parent, PUBLIC, Change::CutAtEachLength, NEVER);
        add(&parent, PUBLIC, Change::AppendEachByte, NEVER);
    }
    rules
}

/// Whether the parent's log is long: its quote, whose parts stay as they are, is not verified again for each bit of it.
fn is_long(parent: &Case) -> bool {
    parent.files.get(LOG).is_some_and(|log| log.len() > 4096)
}

/// Runs the rules of one file, and says how many cases there were and how many were accepted.
fn run(name: &str) -> (usize, usize) {
    let (mut cases, mut accepted) = (0, 0);
    for (parent, rule) in rules().into_iter().filter(|(parent, rule)| rule.file == name && !is_long(parent)) {
        let key = *parent.files.get_key_value(name).unwrap().0;
        let mut files = parent.files.clone();
        rule.change.each(parent.file(name), |changed, at| {
            files.insert(key, changed);
            cases += 1;
            if judge(parent.kind, &files).is_ok() {
                accepted += 1;
                assert!(may_pass(&parent, &files, at), "{}: {rule:?} at byte {at}", parent.name);
            }
        });
    }
    (cases, accepted)
}

/// Whether what was accepted is one of those that the rule leaves.
fn may_pass(parent: &Case, files: &Files, at: usize) -> bool {
    let changed: Vec<_> = parent.files.iter().filter(|(name, bytes)| file(files, name) != bytes.as_slice()).collect();
    let [(name, before)] = changed.as_slice() else { return false };
    let after = file(files, name);
    match **name {
        PUBLIC if parent.kind == Kind::Quote => {
            let (before, after) = (Public::parse(before).unwrap(), Public::parse(after).unwrap());
            before.key == after.key && before.scheme == after.scheme && before.name != after.name
        }
        LOG => before.len() == after.len() && same_measurements(before, after, &pcrs(files)),
        IMA => {
            let entries: Vec<_> = Entries::of(before).unwrap().map(Result::unwrap).collect();
            let ends = entries.iter().skip(1).map(|entry| entry.offset).chain([before.len()]);
            let changed = entries.iter().zip(ends).find(|(_, end)| at < *end);
            changed.is_some_and(|(entry, _)| entry.is_violation() && at >= entry.offset + 4 + 20)
        }
        _ => false,
    }
}

/// Whether what is measured of `after` was measured of `before`, too, and is the same.
fn same_measurements(before: &[u8], after: &[u8], pcrs: &attest_evidence::tpm::PcrBanks) -> bool {
    let (before, after) = (EventLog::parse(before).unwrap(), EventLog::parse(after).unwrap());
    let bank = HashAlgorithm::Sha256;
    let quoted = pcrs.bank(bank).unwrap();
    let of = |pcr: u8| quoted.keys().any(|quoted| quoted.get() == pcr);
    let known = measured(&before, bank, of);
    measured(&after, bank, of)
        .iter()
        .all(|number| known.contains(number) && before.events()[*number].data == after.events()[*number].data)
}

#[test]
fn no_changed_message_is_accepted() {
    assert_eq!(run(MESSAGE), (8_871, 0));
}

#[test]
fn no_changed_signature_is_accepted() {
    assert_eq!(run(SIGNATURE), (12_264, 0));
}

/// The 8 attributes that are neither wanted, nor forbidden, nor reserved.
#[test]
fn a_changed_public_area_is_refused_or_has_another_name() {
    assert_eq!(run(PUBLIC), (10_256, 4 * 8));
}

#[test]
fn no_changed_nonce_is_accepted() {
    assert_eq!(run(NONCE), (3 * (256 + 32 + 256), 0));
}

#[test]
fn a_changed_log_is_refused_or_says_nothing_that_was_not_measured() {
    assert_eq!(run(LOG), (13_716, 5_455));
}

#[test]
fn a_changed_log_of_a_real_machine_is_refused_or_says_nothing_that_was_not_measured() {
    let parent = parents::workstation_log();
    let (bytes, bank) = (parent.case.file(LOG), HashAlgorithm::Sha256);
    let quoted = parent.pcrs.bank(bank).unwrap();
    let (mut cases, mut accepted) = (0, 0);
    for change in [Change::FlipEachBit, Change::CutAtEachLength] {
        change.each(bytes, |changed, at| {
            cases += 1;
            let Ok(log) = EventLog::parse(&changed) else { return };
            let replay = log.replay(bank);
            if replay.values() == quoted && replay.without_digest().is_none() {
                accepted += 1;
                assert!(change == Change::FlipEachBit && same_measurements(bytes, &changed, &parent.pcrs), "{at}");
            }
        });
    }
    assert_eq!((cases, accepted), (140_211, 115_118));
}

#[test]
fn a_changed_measurement_list_is_refused_but_for_what_nothing_vouches_for() {
    assert_eq!(run(IMA), (23_976, 1_696));
}

#[test]
fn no_changed_value_is_accepted() {
    let made = parents::made_p256();
    let bank = HashAlgorithm::Sha256;
    for (pcr, value) in made.pcrs.bank(bank).unwrap() {
        Change::FlipEachBit.each(value.as_bytes(), |changed, _| {
            let mut pcrs = made.pcrs.clone();
            let mut values = pcrs.bank(bank).unwrap().clone();
            values.insert(*pcr, Digest::from_bytes(bank, &changed).unwrap());
            pcrs.insert(bank, values);
            let case = made.case.clone().with(PCRS, json(&pcrs));
            assert_eq!(judge(Kind::Quote, &case.files), Err("AR-E208".to_owned()));
        });
    }
}

/// Good evidence with one file in which nothing is right but that there is much of it.
#[test]
fn what_is_too_large_is_refused_at_once() {
    let junk = || vec![0x5a; 10 << 20];
    let log = parents::workstation_log().case;
    let (quote, list, area) = (parents::made_p256().case, parents::made_list(), areas::area_p256());
    let nothing = EventParts { digests: Vec::new(), data: Vec::new(), ..EventParts::locality(0) };
    let header = LogParts::made().header;
    let many_events =
        LogParts { header, events: vec![EventParts { kind: EventType::NO_ACTION, ..nothing }; MOST_EVENTS] };
    let entry = [&[10, 0, 0, 0], [0; 20].as_slice(), &[1, 0, 0, 0], b"x", &[0; 4]].concat();
    let many_entries = entry.repeat(usize::try_from(MOST_ENTRIES).unwrap() + 1);
    for (case, name, bytes, code) in [
        (&quote, MESSAGE, junk(), "AR-E201"),
        (&quote, SIGNATURE, junk(), "AR-E201"),
        (&area, PUBLIC, junk(), "AR-E101"),
        (&log, LOG, junk(), "AR-E502"),
        (&log, LOG, vec![0x5a; LARGEST_LOG], "AR-E501"),
        (&log, LOG, vec![0; LARGEST_LOG + 1], "AR-E502"),
        (&log, LOG, many_events.bytes(), "AR-E502"),
        (&list, IMA, junk(), "AR-E601"),
        (&list, IMA, vec![0x5a; LONGEST_LIST + 1], "AR-E602"),
        (&list, IMA, many_entries, "AR-E602"),
    ] {
        let case = case.clone().with(name, bytes);
        assert_eq!(judge(case.kind, &case.files), Err(code.to_owned()), "{} {name}", case.name);
    }
}
