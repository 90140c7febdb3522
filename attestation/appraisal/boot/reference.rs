//! Reference values: what machines may have booted, as an admin wrote it down (RFC 9334 §8.3).

use super::ima::ImaRule;
use crate::certificate::TpmClass;
use attest_evidence::name::RunnerName;
use attest_evidence::tpm::PcrIndex;
use attest_evidence::{HashAlgorithm, Sha256Digest, UnixSeconds};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The longest document.
const LONGEST: usize = 4 << 20;
/// Most blocks.
const MOST_BLOCKS: usize = 1000;

/// All reference values of a broker: blocks, any one of which a machine has to fit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct References {
    /// The blocks.
    #[serde(default, rename = "boot", skip_serializing_if = "Vec::is_empty")]
    pub boots: Vec<ReferenceBoot>,
}

/// One state that machines may be in. What it does not mention is not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ReferenceBoot {
    /// What people call it.
    pub name: String,
    /// Runners that it is for. Empty: all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub runners: BTreeSet<RunnerName>,
    /// The moment from which it counts no more: updates happen, and old states stop being good.
    #[serde(default, with = "super::moment", skip_serializing_if = "Option::is_none")]
    pub until: Option<UnixSeconds>,
    /// What the TPM may be. Empty: anything.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub classes: BTreeSet<TpmClass>,
    /// The TPM's lowest firmware version, 16 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_firmware: Option<FirmwareVersion>,
    /// Exact values: PCR to those that it may have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pcrs: BTreeMap<PcrNumber, BTreeSet<Sha256Digest>>,
    /// What Secure Boot has to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<SecureBootRule>,
    /// Allow-lists: PCR to the events that may have extended it, each any number of times and in any order.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub events: BTreeMap<PcrNumber, Vec<ReferenceEvent>>,
    /// What the kernel may have measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ima: Option<ImaRule>,
}

/// What Secure Boot has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SecureBootRule {
    /// Whether it has to be on.
    pub enabled: bool,
    /// Entries that `dbx` has to hold at least.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub dbx_at_least: BTreeSet<Sha256Digest>,
    /// Who may have allowed images to run: SHA-256 of certificates, or image hashes. None: anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signers: Option<Vec<ReferenceEvent>>,
}

/// A digest, and what it is of for those who read the file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceEvent {
    /// SHA-256.
    pub digest: Sha256Digest,
    /// What it is of. Nothing is decided by it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub what: String,
}

/// A PCR as the key of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PcrNumber(pub PcrIndex);

/// A TPM's firmware version, compared as a number. As text: 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FirmwareVersion(pub u64);

/// Why a document holds no reference values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Too long, or too many blocks.
    #[error("reference values are at most {LONGEST} bytes and {MOST_BLOCKS} blocks")]
    TooLong,
    /// Not of its form.
    #[error("{0}")]
    Malformed(String),
    /// Two blocks have one name.
    #[error("two blocks are named `{0}`")]
    NameTwice(String),
    /// A block that every machine fits.
    #[error("block `{0}` asks for nothing: every machine would fit it")]
    Empty(String),
    /// An allow-list that can't be meant so.
    #[error("block `{block}`, ima: {problem}")]
    Ima {
        /// Which.
        block: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A list of events that are in no event log, so that it would allow anything.
    #[error("block `{0}` lists events of PCR {IMA}: the kernel extends it, and no event log has them", IMA = PcrIndex::IMA)]
    NotInLog(String),
}

impl TryFrom<String> for PcrNumber {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let index = text.parse().ok().and_then(PcrIndex::new).filter(|index| index.to_string() == text);
        index.map(Self).ok_or_else(|| format!("`{text}` is not the index of a PCR (0 to 23)"))
    }
}

impl From<PcrNumber> for String {
    fn from(number: PcrNumber) -> Self {
        number.0.to_string()
    }
}

impl TryFrom<String> for FirmwareVersion {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let version = digits.then(|| u64::from_str_radix(&text, 16).ok()).flatten();
        version.map(Self).ok_or("a firmware version is 16 hexadecimal digits, as `attest-broker runner show` prints it")
    }
}

impl From<FirmwareVersion> for String {
    fn from(version: FirmwareVersion) -> Self {
        format!("{:016x}", version.0)
    }
}

/// Reads a moment (RFC 3339), as reference values write it.
pub fn moment(text: &str) -> Option<UnixSeconds> {
    super::moment::parse(text)
}

impl References {
    /// Reads a TOML document.
    ///
    /// # Errors
    /// See [`ReferenceError`].
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.len() > LONGEST {
            return Err(ReferenceError::TooLong);
        }
        let read: Self = toml::from_str(text).map_err(|error| ReferenceError::Malformed(error.to_string()))?;
        read.check()?;
        Ok(read)
    }

    /// As a TOML document.
    ///
    /// # Errors
    /// See [`ReferenceError`]: what can't be read again is not written.
    pub fn to_text(&self) -> Result<String, ReferenceError> {
        self.check()?;
        let text = toml::to_string_pretty(self).map_err(|error| ReferenceError::Malformed(error.to_string()))?;
        if text.len() > LONGEST { Err(ReferenceError::TooLong) } else { Ok(text) }
    }

    /// A name for a new block about `runner`, after the day `now`: one that no block has.
    pub fn free_name(&self, runner: &RunnerName, now: UnixSeconds) -> String {
        let day =
            super::moment::text(now).and_then(|text| text.split('T').next().map(str::to_owned)).unwrap_or_default();
        let first = format!("{runner} {day}");
        let taken = |name: &String| self.boots.iter().any(|boot| boot.name == *name);
        let names =
            std::iter::once(first.clone()).chain((2..=self.boots.len() + 2).map(|number| format!("{first} #{number}")));
        names.into_iter().find(|name| !taken(name)).unwrap_or(first)
    }

    fn check(&self) -> Result<(), ReferenceError> {
        if self.boots.len() > MOST_BLOCKS {
            return Err(ReferenceError::TooLong);
        }
        let mut names = BTreeSet::new();
        for boot in &self.boots {
            if !names.insert(&boot.name) {
                return Err(ReferenceError::NameTwice(boot.name.clone()));
            }
            if boot.pcrs.is_empty() && boot.secure_boot.is_none() && boot.events.is_empty() && boot.ima.is_none() {
                return Err(ReferenceError::Empty(boot.name.clone()));
            }
            if let Some(problem) = boot.ima.as_ref().and_then(ImaRule::problem) {
                return Err(ReferenceError::Ima { block: boot.name.clone(), problem });
            }
            if boot.events.contains_key(&PcrNumber(PcrIndex::IMA)) {
                return Err(ReferenceError::NotInLog(boot.name.clone()));
            }
        }
        Ok(())
    }

    /// Whether an admin has said anything about what this runner's kernel measures.
    pub fn ask_for_measurements(&self, runner: &RunnerName) -> bool {
        self.boots.iter().any(|boot| boot.is_for(runner) && boot.ima.is_some())
    }

    /// Whether an admin has said anything about this runner.
    pub fn speak_of(&self, runner: &RunnerName) -> bool {
        self.boots.iter().any(|boot| boot.is_for(runner))
    }
}

impl ReferenceBoot {
    /// Whether it is for this runner.
    pub fn is_for(&self, runner: &RunnerName) -> bool {
        self.runners.is_empty() || self.runners.contains(runner)
    }
}

impl ReferenceEvent {
    /// Whether `digest` is what was allowed.
    pub(super) fn allows(&self, digest: &attest_evidence::Digest) -> bool {
        digest.algorithm() == HashAlgorithm::Sha256 && digest.as_bytes() == self.digest.as_bytes()
    }
}
