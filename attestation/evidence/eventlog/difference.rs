//! What changed between two boots.

use super::meaning::Meaning;
use super::{Event, EventLog, EventType};
use crate::hash::{Digest, HashAlgorithm};
use crate::tpm::PcrIndex;
use crate::uefi::Signature;
use crate::uefi::signature_list::SignatureKind;
use std::collections::BTreeMap;

/// What differs in one PCR between two logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrDifference<'a> {
    /// Which PCR.
    pub pcr: PcrIndex,
    /// Where the old log leads; none where it has no event of it.
    pub before: Option<Digest>,
    /// Where the new one leads.
    pub after: Option<Digest>,
    /// The events that differ, in their order.
    pub changes: Vec<Change<'a>>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<'a> {
    /// There is no such event any more.
    Removed(Event<'a>),
    /// There was no such event before.
    Added(Event<'a>),
    /// The same thing, with another digest.
    Changed {
        /// As it was.
        before: Event<'a>,
        /// As it is.
        after: Event<'a>,
    },
    /// The same events in another order, or another number of times.
    Reordered,
    /// The TPM was started from another locality.
    StartupLocality {
        /// From where it was.
        before: u8,
        /// From where it is.
        after: u8,
    },
}

/// Compares two logs in one bank: the PCRs that they lead to differently, and why. In linear time: what lies between the
/// first and the last difference of a PCR is compared as sets.
pub fn difference<'a>(before: &EventLog<'a>, after: &EventLog<'a>, bank: HashAlgorithm) -> Vec<PcrDifference<'a>> {
    let (old, new) = (by_pcr(before), by_pcr(after));
    let (replayed_old, replayed_new) = (before.replay(bank), after.replay(bank));
    let mut all = Vec::new();
    for pcr in (0..PcrIndex::COUNT).filter_map(PcrIndex::new) {
        let values = [replayed_old.values().get(&pcr).copied(), replayed_new.values().get(&pcr).copied()];
        let [value_before, value_after] = values;
        if value_before == value_after {
            continue;
        }
        let none = Vec::new();
        let (old, new) = (old.get(&pcr).unwrap_or(&none), new.get(&pcr).unwrap_or(&none));
        let mut changes = Vec::new();
        let localities = (before.startup_locality(), after.startup_locality());
        if pcr.get() == 0 && localities.0 != localities.1 {
            changes.push(Change::StartupLocality { before: localities.0, after: localities.1 });
        }
        compare(old, new, bank, &mut changes);
        all.push(PcrDifference { pcr, before: value_before, after: value_after, changes });
    }
    all
}

fn by_pcr<'a>(log: &EventLog<'a>) -> BTreeMap<PcrIndex, Vec<Event<'a>>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in log.events() {
        if let Some(pcr) = event.extends() {
            all.entry(pcr).or_default().push(*event);
        }
    }
    all
}

fn compare<'a>(old: &[Event<'a>], new: &[Event<'a>], bank: HashAlgorithm, changes: &mut Vec<Change<'a>>) {
    let same = |(one, other): &(&Event<'_>, &Event<'_>)| one.digest(bank) == other.digest(bank);
    let front = old.iter().zip(new).take_while(same).count();
    let (old, new) = (old.get(front..).unwrap_or_default(), new.get(front..).unwrap_or_default());
    let back = old.iter().rev().zip(new.iter().rev()).take_while(same).count();
    let old = old.get(..old.len() - back).unwrap_or_default();
    let new = new.get(..new.len() - back).unwrap_or_default();
    if old.is_empty() && new.is_empty() {
        return;
    }
    let removed = without(old, new, bank);
    let mut added = without(new, old, bank);
    if removed.is_empty() && added.is_empty() {
        changes.push(Change::Reordered);
        return;
    }
    // What is new and about the same thing as something that is gone is a change of it.
    let mut places: BTreeMap<Identity, Vec<usize>> = BTreeMap::new();
    for (place, event) in added.iter().enumerate().rev() {
        if let Some(event) = event {
            places.entry(identity(event)).or_default().push(place);
        }
    }
    for event in removed.into_iter().flatten() {
        let place = places.get_mut(&identity(&event)).and_then(Vec::pop);
        let successor = place.and_then(|place| added.get_mut(place)).and_then(Option::take);
        changes.push(match successor {
            Some(after) => Change::Changed { before: event, after },
            None => Change::Removed(event),
        });
    }
    changes.extend(added.into_iter().flatten().map(Change::Added));
}

/// The events of `these` whose digest is not among `those`, as often as there are more of them.
fn without<'a>(these: &[Event<'a>], those: &[Event<'a>], bank: HashAlgorithm) -> Vec<Option<Event<'a>>> {
    let mut counts: BTreeMap<Option<&[u8]>, usize> = BTreeMap::new();
    for event in those {
        *counts.entry(event.digest(bank)).or_default() += 1;
    }
    let mut rest = Vec::new();
    for event in these {
        match counts.get_mut(&event.digest(bank)).filter(|count| **count > 0) {
            Some(count) => *count -= 1,
            None => rest.push(Some(*event)),
        }
    }
    rest
}

type Identity = (EventType, String);

/// What an event is about: two events of two boots with the same are one thing that changed.
fn identity(event: &Event<'_>) -> Identity {
    let name = match event.meaning() {
        Meaning::Config(variable) | Meaning::Boot(variable) => format!("{}/{}", variable.vendor, variable.name),
        Meaning::Image(image) => image.path.and_then(|path| path.file()).unwrap_or_default(),
        Meaning::Command { kind, text } => {
            format!("{kind}: {}", text.split(' ').next().unwrap_or_default())
        }
        Meaning::Label(label) => label.to_owned(),
        Meaning::Tagged(tagged) => tagged.id.to_string(),
        _ => String::new(),
    };
    (event.kind, name)
}

/// What came into a signature database and what went out of it, where both events are one.
pub(super) fn database_difference<'a>(
    before: &Event<'a>,
    after: &Event<'a>,
) -> Option<(Vec<Signature<'a>>, Vec<Signature<'a>>)> {
    let entries = |event: &Event<'a>| match event.meaning() {
        Meaning::Config(variable) => {
            let entries = Signature::parse_lists(variable.data).ok()?;
            let named: BTreeMap<Vec<u8>, Signature<'a>> =
                entries.into_iter().map(|entry| (key(&entry), entry)).collect();
            Some(named)
        }
        _ => None,
    };
    let (before, after) = (entries(before)?, entries(after)?);
    let only = |these: &BTreeMap<Vec<u8>, Signature<'a>>, those: &BTreeMap<Vec<u8>, Signature<'a>>| {
        these.iter().filter(|(key, _)| !those.contains_key(*key)).map(|(_, entry)| *entry).collect::<Vec<_>>()
    };
    Some((only(&after, &before), only(&before, &after)))
}

fn key(entry: &Signature<'_>) -> Vec<u8> {
    let (kind, bytes): (u8, &[u8]) = match &entry.kind {
        SignatureKind::X509(der) => (0, der),
        SignatureKind::Hash(digest) => (1, digest.as_bytes()),
        SignatureKind::X509Hash { digest, .. } => (2, digest.as_bytes()),
        SignatureKind::Other { data, .. } => (3, data),
    };
    [&[kind], bytes].concat()
}
