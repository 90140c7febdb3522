//! What a kernel measured (Linux IMA), as far as quotes vouch for it, and what allow-lists say of it.
//!
//! ```text
//! list → Followed → Measurements
//!        by a quote  by an admin's reference values
//! ```
//!
//! A list only grows while a machine is up. What one quote vouched for is remembered: its entries were judged then, and the
//! next list goes on from there. So ten new entries cost what ten entries cost.

use crate::boot::{JudgedList, References};
use crate::quote::VerifiedQuote;
use attest_evidence::ima::{Covered, Entry, Extension, ImaRefused, LONGEST_LIST, MOST_ENTRIES, Replay};
use attest_evidence::name::RunnerName;
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::tpm::{ClockInfo, PcrIndex};
use attest_evidence::{Digest, HashAlgorithm, Sha256Digest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The one bank that exchanges quote.
const BANK: HashAlgorithm = HashAlgorithm::Sha256;

/// Which boot of a machine, by the counts of its TPM (Part 1 §36.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootCounts {
    /// Resets: reboots.
    pub reset_count: u32,
    /// Restarts and resumes since the last reset.
    pub restart_count: u32,
}

/// A place in the list: so many entries, and what PCR 10 held then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Entries of the list, of any PCR.
    pub count: u64,
    /// PCR 10 of the SHA-256 bank.
    pub value: Sha256Digest,
}

/// What a kernel measured in one boot, up to a place that was quoted.
///
/// Whoever keeps one has to keep it as it is: a changed one is measurements made up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurements {
    boot: BootCounts,
    quoted: Checkpoint,
    /// Bytes of the list up to there.
    bytes: u64,
    /// Files that could not be measured reliably.
    violations: u64,
    /// The version of the reference values that have judged it; none have before the first.
    judged_by: Option<i64>,
    /// By the name of their block.
    judged: BTreeMap<String, JudgedList>,
}

/// Measurements that a quote vouches for, the new ones not judged yet.
///
/// Its one constructor is [`Measurements::follow`].
#[derive(Debug, Clone)]
pub struct Followed<'a> {
    known: Measurements,
    new: Option<Covered<'a>>,
}

/// Why a measurement list is not what a kernel measured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MeasurementsRefused {
    /// It is no list, or does not lead to the quoted value.
    #[error(transparent)]
    List(#[from] ImaRefused),
    /// It does not go on from what was vouched for last.
    #[error("the measurements begin with entry {first}, and do not join the {known} that are known of this boot")]
    NotJoined {
        /// Its first entry.
        first: u64,
        /// How many entries are known.
        known: u64,
    },
}

impl BootCounts {
    /// Those of a quote.
    pub const fn of(clock: ClockInfo) -> Self {
        Self { reset_count: clock.reset_count, restart_count: clock.restart_count }
    }
}

impl Checkpoint {
    /// At boot: no entries, zeros.
    pub const BOOT: Self = Self { count: 0, value: Sha256Digest::from_bytes([0; 32]) };

    fn digest(self) -> Option<Digest> {
        Digest::from_bytes(BANK, self.value.as_bytes())
    }

    fn replay(self) -> Replay {
        let value = self.digest().unwrap_or(Digest::zero(BANK));
        Replay::resumed(PcrIndex::IMA, Extension::Hashed, self.count, value)
    }
}

impl Measurements {
    /// Nothing yet of this boot.
    const fn at(boot: BootCounts) -> Self {
        let judged = BTreeMap::new();
        Self { boot, quoted: Checkpoint::BOOT, bytes: 0, violations: 0, judged_by: None, judged }
    }

    /// Follows `list`, whose first entry is number `from.count`, to the quoted value. `None` where PCR 10 was not quoted.
    ///
    /// `known` is what was remembered of this attestation key, if anything. `from` is a place at which one of its lists was
    /// joined to the one before, or [`Checkpoint::BOOT`], and `overlap` what is known of the list from there on: that is
    /// not taken from the sender a second time, which must send the same bytes.
    ///
    /// # Errors
    /// See [`MeasurementsRefused`].
    pub fn follow<'a>(
        quote: &VerifiedQuote,
        known: Option<Self>,
        from: Checkpoint,
        overlap: &[u8],
        list: &'a [u8],
    ) -> Result<Option<Followed<'a>>, MeasurementsRefused> {
        let Some(quoted) = quote.pcrs().get(PcrIndex::IMA).and_then(|value| Digest::from_bytes(BANK, value)) else {
            return Ok(None);
        };
        let boot = BootCounts::of(quote.clock());
        let known = known.filter(|known| known.boot == boot).unwrap_or(Self::at(boot));
        let not_joined = MeasurementsRefused::NotJoined { first: from.count, known: known.quoted.count };
        let rest = if from == known.quoted {
            list
        } else if from.count > known.quoted.count {
            return Err(not_joined);
        } else if from.replay().cover(overlap, &quoted).is_ok() {
            // Another exchange has overtaken this one: what it quotes is known.
            return Ok(Some(Followed { known, new: None }));
        } else {
            list.strip_prefix(overlap).ok_or(not_joined)?
        };
        let covered = known.quoted.replay().cover(rest, &quoted)?;
        let bytes = known.bytes.saturating_add(covered.list().len() as u64);
        if covered.state().count() > MOST_ENTRIES {
            return Err(ImaRefused::TooManyEntries.into());
        }
        if bytes > LONGEST_LIST as u64 {
            return Err(ImaRefused::TooLong { bytes: usize::try_from(bytes).unwrap_or(usize::MAX) }.into());
        }
        Ok(Some(Followed { known, new: Some(covered) }))
    }

    /// Judges all of them anew: `list` is what is known, from boot on.
    #[must_use]
    pub fn judged_anew(self, list: &[u8], references: &References, version: i64, runner: &RunnerName) -> Self {
        let value = self.quoted.digest().unwrap_or(Digest::zero(BANK));
        let mut anew = Self { violations: 0, judged: BTreeMap::new(), judged_by: Some(version), ..self };
        match Checkpoint::BOOT.replay().cover(list, &value) {
            Ok(covered) => anew.judge(covered.entries(), references, runner),
            // What is kept does not lead there: nothing is known of it, and every rule refuses that.
            Err(_) => anew.judged_by = None,
        }
        anew
    }

    fn judge<'a>(&mut self, entries: impl Iterator<Item = Entry<'a>>, references: &References, runner: &RunnerName) {
        let rules = || {
            references
                .boots
                .iter()
                .filter(|block| block.is_for(runner))
                .filter_map(|block| Some((&block.name, block.ima.as_ref()?)))
        };
        for (name, _) in rules() {
            self.judged.entry(name.clone()).or_default();
        }
        for entry in entries {
            if entry.is_violation() {
                self.violations = self.violations.saturating_add(1);
            }
            for (name, rule) in rules() {
                if let Some(judged) = self.judged.get_mut(name) {
                    rule.judge(&entry, judged);
                }
            }
        }
    }

    /// The entries, of `list`, which is all that is known from boot on. Nothing, where that does not lead to what was quoted.
    pub fn entries<'a>(&self, list: &'a [u8]) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let covered = self.quoted.digest().and_then(|value| Checkpoint::BOOT.replay().cover(list, &value).ok());
        covered.into_iter().flat_map(|covered| covered.entries())
    }

    /// Which boot they are of.
    pub const fn boot(&self) -> BootCounts {
        self.boot
    }

    /// Up to where.
    pub const fn quoted(&self) -> Checkpoint {
        self.quoted
    }

    /// How often a file could not be measured reliably: it was open for writing.
    pub const fn violations(&self) -> u64 {
        self.violations
    }

    /// The version of the reference values that have judged them.
    pub const fn judged_by(&self) -> Option<i64> {
        self.judged_by
    }

    /// What the block with this name says of them.
    pub(crate) fn judged(&self, block: &str) -> Option<&JudgedList> {
        self.judged.get(block).filter(|_| self.judged_by.is_some())
    }
}

impl<'a> Followed<'a> {
    /// What was known before.
    pub const fn known(&self) -> &Measurements {
        &self.known
    }

    /// The bytes of the list that are new.
    pub fn new_list(&self) -> &'a [u8] {
        self.new.map(|covered| covered.list()).unwrap_or_default()
    }

    /// With what is new judged by `references`, which must be those that have judged what was known.
    #[must_use]
    pub fn judged(self, references: &References, version: i64, runner: &RunnerName) -> Measurements {
        let mut all = self.known;
        all.judged_by = Some(version);
        let Some(covered) = self.new else { return all };
        all.judge(covered.entries(), references, runner);
        let value = covered.state().value().as_bytes().try_into().map(Sha256Digest::from_bytes);
        all.quoted = Checkpoint { count: covered.state().count(), value: value.unwrap_or(all.quoted.value) };
        all.bytes = all.bytes.saturating_add(covered.list().len() as u64);
        all
    }

    /// As [`judged`](Self::judged), where what was known has to be judged anew: `known` is its list from boot on.
    #[must_use]
    pub fn judged_anew(
        mut self,
        known: &[u8],
        references: &References,
        version: i64,
        runner: &RunnerName,
    ) -> Measurements {
        self.known = self.known.judged_anew(known, references, version, runner);
        match self.known.judged_by {
            Some(_) => self.judged(references, version, runner),
            None => self.known,
        }
    }
}

impl Explain for MeasurementsRefused {
    fn report(&self) -> Report {
        match self {
            Self::List(refused) => refused.report(),
            Self::NotJoined { first, known } => Report::new("AR-X108", Fault::Identity, self.to_string())
                .fact("first", first)
                .fact("known", known)
                .hint("the agent sends the list from boot on by itself"),
        }
    }
}
