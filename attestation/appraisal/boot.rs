//! What a machine booted: its event log, believed as far as a quote covers it, and held against reference values.
//!
//! ```text
//! EventLog → ReplayedLog → VerifiedBoot → ApprovedBoot
//!            by itself      by a quote     by an admin's reference values
//! ```

mod moment;
mod propose;
mod reference;
mod rules;

pub use propose::SeenBoot;
pub use reference::{
    FirmwareVersion, PcrNumber, ReferenceBoot, ReferenceError, ReferenceEvent, References, SecureBootRule, moment,
};
pub use rules::{ApprovedBoot, BootRefused, Candidate};

use crate::log::LogRefused;
use attest_evidence::eventlog::{EventLog, Meaning, Measured};
use attest_evidence::tpm::{PcrIndex, PcrValues};
use attest_evidence::uefi::signature_list::{Authority, AuthorityKind, SignatureKind};
use attest_evidence::uefi::{Guid, Signature, Variable};
use attest_evidence::{Digest, HashAlgorithm, Sha256Digest};
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
        match self.without_digest {
            Some((pcr, event)) if quoted.get(pcr).is_some() => Err(LogRefused::NoDigest { bank: BANK, event }),
            _ => Ok(VerifiedBoot { facts: &self.facts }),
        }
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
        // What firmware says of Secure Boot stands in PCR 7 in front of its separator; what comes behind, anybody can extend.
        let mut configured = false;
        let mut flags = Vec::new();
        for event in log.events() {
            let Some(pcr) = event.extends() else { continue };
            let Some(digest) = event.digest(BANK).and_then(|digest| digest.try_into().ok()) else { continue };
            let (meaning, measured) = (event.meaning(), event.measured(BANK));
            if pcr == PcrIndex::SECURE_BOOT {
                let whole = measured == Measured::Whole;
                match &meaning {
                    Meaning::Separator { error } if whole => {
                        configured = true;
                        if *error {
                            facts.weakened = Some("firmware ended its measurements with an error".to_owned());
                        }
                    }
                    Meaning::Config(variable) if whole && !configured => facts.configure(variable, &mut flags),
                    Meaning::Authority(variable) if whole => facts.signers.extend(signer(variable, &meaning)),
                    Meaning::Action(action) if whole && !configured && action.contains("Debug Mode") => {
                        facts.weakened = Some((*action).to_owned());
                    }
                    _ => {}
                }
            }
            let words = match &meaning {
                Meaning::Other => event.kind.to_string(),
                meaning => meaning.to_string(),
            };
            let digest = Sha256Digest::from_bytes(digest);
            facts.events.push(BootEvent { number: event.number, pcr, digest, words, measured });
        }
        // Said once, and in front of the separator.
        if let ([flag], true) = (flags.as_slice(), configured) {
            facts.secure_boot = *flag;
        }
        facts
    }

    fn configure(&mut self, variable: &Variable<'_>, flags: &mut Vec<Option<bool>>) {
        if variable.is(Guid::GLOBAL_VARIABLE, "SecureBoot") {
            flags.push(variable.as_flag().ok().flatten());
        } else if variable.is(Guid::IMAGE_SECURITY_DATABASE, "dbx")
            && let Ok(entries) = Signature::parse_lists(variable.data)
        {
            self.dbx.extend(entries.iter().filter_map(|entry| match entry.kind {
                SignatureKind::Hash(digest) | SignatureKind::X509Hash { digest, .. } => Some(digest),
                SignatureKind::X509(der) => Some(HashAlgorithm::Sha256.hash(der)),
                SignatureKind::Other { .. } => None,
            }));
        }
    }

    /// The events of one PCR.
    pub fn of_pcr(&self, pcr: PcrIndex) -> impl Iterator<Item = &BootEvent> {
        self.events.iter().filter(move |event| event.pcr == pcr)
    }
}

/// Who an authority event names. Shim also writes flags and levels as authorities: they name nobody.
fn signer(variable: &Variable<'_>, meaning: &Meaning<'_>) -> Option<Signer> {
    let digest = match Authority::parse(variable.data).ok()?.kind {
        AuthorityKind::X509(der) => HashAlgorithm::Sha256.hash(der),
        AuthorityKind::Hash(digest) => digest,
    };
    Some(Signer { digest, words: meaning.to_string() })
}
