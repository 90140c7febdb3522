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
pub use moment::text as moment_text;
pub use propose::SeenBoot;
pub use reference::{
    FirmwareVersion, PcrNumber, ReferenceBoot, ReferenceError, ReferenceEvent, References, SecureBootRule, moment,
};
pub use rules::{ApprovedBoot, BootRefused, Candidate};

use crate::log::{LogRefused, LogValues};
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
    values: LogValues,
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
    /// Who allowed images to run, in their order.
    pub signers: Vec<Signer>,
    /// All events that extended a PCR.
    pub events: Vec<BootEvent>,
}

/// Who allowed an image to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// SHA-256: of the certificate, of its signed part where the database has that alone, of the image; where the database has
    /// neither, what the event extended.
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
        Self { values: LogValues::of(log, BANK), facts: BootFacts::of(log) }
    }

    /// Checks that the log leads to the quoted values, of all PCRs but the kernel's.
    ///
    /// The caller must have verified the quote that `quoted` is from.
    ///
    /// # Errors
    /// See [`LogRefused`].
    pub fn verify(&self, quoted: &PcrValues) -> Result<VerifiedBoot<'_>, LogRefused> {
        self.values.lead_to(quoted.iter().map(|(pcr, value)| (pcr, value.as_slice())))?;
        Ok(VerifiedBoot { facts: &self.facts })
    }

    /// The values that the log leads to.
    pub const fn values(&self) -> &BTreeMap<PcrIndex, Digest> {
        self.values.values()
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
