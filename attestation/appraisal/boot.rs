//! What a machine booted: its event log, believed as far as a quote covers it, and held against reference values.
//!
//! ```text
//! EventLog → ReplayedLog → VerifiedBoot → ApprovedBoot
//!            by itself      by a quote     by an admin's reference values
//! ```

mod ima;
mod moment;
mod propose;
mod reference;
mod rules;
mod secure_boot;

pub use ima::{Added, FileHash, ImaRule, ImaScope, JudgedList, OnViolation, Stranger};
pub use propose::SeenBoot;
pub use reference::{
    FirmwareVersion, PcrNumber, ReferenceBoot, ReferenceError, ReferenceEvent, References, SecureBootRule, moment,
};
pub use rules::{ApprovedBoot, BootRefused, Candidate};

use crate::log::LogRefused;
use attest_evidence::eventlog::{EventLog, Measured};
use attest_evidence::tpm::{PcrIndex, PcrValues};
use attest_evidence::{Digest, HashAlgorithm, Sha256Digest};
use secure_boot::SecureBootReading;
use std::collections::{BTreeMap, BTreeSet};

/// The one bank that exchanges quote.
const BANK: HashAlgorithm = HashAlgorithm::Sha256;

/// What an event log says, worked out once: the values that it leads to, and what its digests cover. Whoever wrote the log
/// may have made all of it up; it may be kept by the digest of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayedLog {
    values: BTreeMap<PcrIndex, Digest>,
    without_digest: Option<(PcrIndex, usize)>,
    facts: BootFacts,
}

/// A log that leads to what a TPM quoted.
///
/// Its one constructor is [`ReplayedLog::verify`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedBoot<'a> {
    facts: &'a BootFacts,
}

/// What a machine booted. Everything here is covered by digests, but for words that say so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootFacts {
    /// Whether Secure Boot was on; none where firmware measured nothing of it that can be believed.
    pub secure_boot: Option<bool>,
    /// Whether firmware was in a state in which Secure Boot proves nothing: debugging, or an error while measuring.
    pub weakened: Option<String>,
    /// Digests of the entries of `dbx`: image hashes, and SHA-256 of certificates.
    pub dbx: BTreeSet<Digest>,
    /// Who allowed images to run: SHA-256 of certificates, or image hashes, in their order.
    pub signers: Vec<Signer>,
    /// All events that extended a PCR.
    pub events: Vec<BootEvent>,
}

/// Who allowed an image to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// SHA-256 of the certificate, or the hash of the image.
    pub digest: Digest,
    /// In words. Covered by the event's digest.
    pub words: String,
}

/// An event that extended a PCR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootEvent {
    /// Its place in the log.
    pub number: usize,
    /// The PCR.
    pub pcr: PcrIndex,
    /// What was extended.
    pub digest: Sha256Digest,
    /// What it says, for people.
    pub words: String,
    /// How much of the words the digest covers.
    pub measured: Measured,
}

impl ReplayedLog {
    /// Replays a log in the SHA-256 bank, and reads it.
    pub fn of(log: &EventLog<'_>) -> Self {
        let uncovered = log.events().iter().find_map(|event| {
            let pcr = event.extends()?;
            event.digest(BANK).is_none().then_some((pcr, event.number))
        });
        Self { values: log.replay(BANK).values().clone(), without_digest: uncovered, facts: BootFacts::of(log) }
    }

    /// Checks that the log leads to the quoted values, of all PCRs: one that has no event in it must be as it was at
    /// reset. Otherwise whoever leaves all events of a PCR out would have it judged by none. Only the kernel's own
    /// measurements have a list of their own.
    ///
    /// The caller must have verified the quote that `quoted` is from.
    ///
    /// # Errors
    /// See [`LogRefused`].
    pub fn verify(&self, quoted: &PcrValues) -> Result<VerifiedBoot<'_>, LogRefused> {
        if let Some((pcr, event)) = self.without_digest
            && quoted.get(pcr).is_some()
        {
            return Err(LogRefused::NoDigest { bank: BANK, event });
        }
        for (pcr, value) in quoted.iter() {
            let replayed = match self.values.get(&pcr) {
                Some(replayed) => *replayed,
                None if pcr == PcrIndex::IMA => continue,
                None => pcr.at_reset(BANK),
            };
            if replayed.as_bytes() != value {
                let quoted = Digest::from_bytes(BANK, value).unwrap_or(Digest::zero(BANK));
                return Err(LogRefused::Replay { bank: BANK, pcr, replayed, quoted });
            }
        }
        Ok(VerifiedBoot { facts: &self.facts })
    }

    /// The values that the log leads to.
    pub const fn values(&self) -> &BTreeMap<PcrIndex, Digest> {
        &self.values
    }

    /// What the log says. Nothing vouches for it.
    pub const fn claimed(&self) -> &BootFacts {
        &self.facts
    }
}

impl<'a> VerifiedBoot<'a> {
    /// What was booted.
    pub const fn facts(&self) -> &'a BootFacts {
        self.facts
    }
}

impl BootFacts {
    fn of(log: &EventLog<'_>) -> Self {
        let mut facts = Self::default();
        let mut secure_boot = SecureBootReading::default();
        for event in log.events() {
            let Some(pcr) = event.extends() else { continue };
            let Some(digest) = event.digest(BANK).and_then(|digest| digest.try_into().ok()) else { continue };
            let digest = Sha256Digest::from_bytes(digest);
            if pcr == PcrIndex::SECURE_BOOT {
                secure_boot.read(event, &digest, &mut facts);
            }
            let (words, measured) = (cut(event.words()), event.measured(BANK));
            facts.events.push(BootEvent { number: event.number, pcr, digest, words, measured });
        }
        facts.secure_boot = secure_boot.result();
        facts
    }

    /// Whether Secure Boot was on, where that is worth something: not while firmware is debugged.
    pub const fn trusted_secure_boot(&self) -> Option<bool> {
        match (self.secure_boot, &self.weakened) {
            (Some(true), Some(_)) => None,
            (found, _) => found,
        }
    }

    /// The events of one PCR.
    pub fn of_pcr(&self, pcr: PcrIndex) -> impl Iterator<Item = &BootEvent> {
        self.events.iter().filter(move |event| event.pcr == pcr)
    }
}

/// The longest words about an event.
const LONGEST_WORDS: usize = 200;

/// Words for people, cut to a length for which room can be made.
fn cut(mut words: String) -> String {
    if words.len() > LONGEST_WORDS {
        let end = words.floor_char_boundary(LONGEST_WORDS);
        words.truncate(end);
        words.push('…');
    }
    words
}
