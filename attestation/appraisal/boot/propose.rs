//! A rule out of what was seen: what `attest-broker runner approve NAME --diff` proposes.

use super::reference::{FirmwareVersion, PcrNumber, ReferenceBoot, ReferenceEvent, SecureBootRule};
use super::{BootEvent, BootFacts};
use crate::certificate::TpmClass;
use attest_evidence::eventlog::Measured;
use attest_evidence::name::RunnerName;
use attest_evidence::tpm::{PcrIndex, PcrValues};
use attest_evidence::{HashAlgorithm, Sha256Digest};
use std::collections::{BTreeMap, BTreeSet};

/// PCRs that hold code of firmware and its drivers, and their configuration: they change with firmware alone, so that exact
/// values say it best (PC Client Platform Firmware Profile §3.3.4).
const OF_FIRMWARE: [u8; 3] = [0, 2, 3];
/// PCRs that hold what was loaded and how: loaders, commands, files, shim's keys. Each event is allowed by itself, so that
/// what is run in another order, or not at all, needs no new rule.
const OF_LOADERS: [u8; 4] = [4, 8, 9, 14];

/// What was seen of a boot, to make a rule of.
#[derive(Debug, Clone, Copy)]
pub struct SeenBoot<'a> {
    /// Which runner's.
    pub runner: &'a RunnerName,
    /// What its TPM is.
    pub class: TpmClass,
    /// The TPM's firmware version.
    pub firmware: u64,
    /// What was quoted.
    pub pcrs: &'a PcrValues,
    /// What the event log says that leads to it.
    pub facts: Option<&'a BootFacts>,
}

impl ReferenceBoot {
    /// The narrowest rule that allows this boot and its like. With an event log: firmware by exact values, Secure Boot as it
    /// is with its signers and at least its revocations, loaders, commands and files each by themselves; what changes from
    /// boot to boot (boot order, partitions) not at all. Without one: all that was quoted, exactly.
    pub fn allowing(name: String, seen: SeenBoot<'_>) -> Self {
        let mut rule = Self {
            name,
            runners: BTreeSet::from([seen.runner.clone()]),
            until: None,
            classes: BTreeSet::from([seen.class]),
            minimum_firmware: Some(FirmwareVersion(seen.firmware)),
            pcrs: BTreeMap::new(),
            secure_boot: None,
            events: BTreeMap::new(),
            ima: None,
        };
        let exact = |pcr: PcrIndex| {
            let value = seen.pcrs.get(pcr).copied().map(Sha256Digest::from_bytes)?;
            Some((PcrNumber(pcr), BTreeSet::from([value])))
        };
        let Some(facts) = seen.facts else {
            rule.pcrs = seen.pcrs.iter().filter_map(|(pcr, _)| exact(pcr)).collect();
            return rule;
        };
        rule.pcrs = OF_FIRMWARE.into_iter().filter_map(PcrIndex::new).filter_map(exact).collect();
        // Where it is off, PCR 7 says who could turn it on: that has to stay as it is.
        match facts.secure_boot {
            Some(true) if facts.weakened.is_none() => rule.secure_boot = Some(SecureBootRule::of(facts)),
            _ => rule.pcrs.extend(exact(PcrIndex::SECURE_BOOT)),
        }
        for pcr in OF_LOADERS.into_iter().filter_map(PcrIndex::new).filter(|pcr| seen.pcrs.get(*pcr).is_some()) {
            rule.events.insert(PcrNumber(pcr), events(facts.of_pcr(pcr)));
        }
        rule
    }
}

impl SecureBootRule {
    fn of(facts: &BootFacts) -> Self {
        let sha256 = |digest: &attest_evidence::Digest| {
            (digest.algorithm() == HashAlgorithm::Sha256)
                .then(|| digest.as_bytes().try_into().ok().map(Sha256Digest::from_bytes))
                .flatten()
        };
        let mut signers: Vec<ReferenceEvent> = facts
            .signers
            .iter()
            .filter_map(|signer| Some(ReferenceEvent { digest: sha256(&signer.digest)?, what: signer.words.clone() }))
            .collect();
        signers.sort();
        signers.dedup();
        Self { enabled: true, dbx_at_least: facts.dbx.iter().filter_map(sha256).collect(), signers: Some(signers) }
    }
}

fn events<'a>(events: impl Iterator<Item = &'a BootEvent>) -> Vec<ReferenceEvent> {
    let mut all: Vec<ReferenceEvent> = Vec::new();
    let mut known = BTreeSet::new();
    for event in events {
        if known.insert(event.digest) {
            // Of what is not in the log, whoever wrote the log says what it is.
            let what = match event.measured {
                Measured::No => format!("said to be {}", event.words),
                Measured::Value | Measured::Whole => event.words.clone(),
            };
            all.push(ReferenceEvent { digest: event.digest, what });
        }
    }
    all
}
