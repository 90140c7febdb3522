//! Allow-lists for what a kernel measured.

use attest_evidence::ima::{Entry, FileName};
use attest_evidence::{Digest, HashAlgorithm};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most scopes of one rule: each entry is held against all of them.
const MOST_SCOPES: usize = 64;
/// How the agent's program is named, wherever it lies.
const AGENT: &[u8] = b"/attest-run";
/// The longest name that is kept of a file that is not allowed.
const LONGEST_NAME: usize = 200;

/// What a kernel may have measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImaRule {
    /// What becomes of a machine on which a file could not be measured reliably.
    #[serde(default)]
    pub violations: OnViolation,
    /// The agent's own program, by the digests that it may have: one of them has to have been measured.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub agent: BTreeMap<FileHash, String>,
    /// What may have been measured, by where it lies. None: anything.
    #[serde(default, rename = "scope", skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<ImaScope>,
}

/// What becomes of a machine on which a file could not be measured reliably: it was open for writing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnViolation {
    /// It does not fit.
    #[default]
    Refuse,
    /// It fits; policy is told.
    Report,
}

/// What may have been measured in one place. Of the scopes that a file lies in, the longest decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImaScope {
    /// A folder and all below it, if it ends with `/`; else the one file or event of this name.
    pub path: String,
    /// Whether anything may have been.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub any: bool,
    /// Else these: digest to what it is of, for those who read the file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub allow: BTreeMap<FileHash, String>,
}

/// The digest of a file, hexadecimal: SHA-256, SHA-384 or SHA-512, by its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileHash(Digest);

/// What a rule says of the measurements so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgedList {
    /// Whether the agent's own program is among them.
    pub(super) agent: bool,
    /// How many are not allowed.
    pub(super) strangers: u64,
    /// The first of these.
    pub(super) first: Option<Stranger>,
}

/// A measurement that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stranger {
    /// The number of its entry.
    pub entry: u64,
    /// Its name, as text.
    pub name: String,
    /// Its digest with the algorithm; or why it can't be told.
    pub digest: String,
}

/// A file that a rule did not allow before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Added {
    /// Its name, as text.
    pub name: String,
    /// Its digest with the algorithm.
    pub digest: String,
    /// Whether the rule allows it now.
    pub allowed: bool,
}

impl TryFrom<String> for FileHash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wanted = || format!("`{text}` is not the SHA-256, SHA-384 or SHA-512 digest of a file, hexadecimal");
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| wanted())?;
        HashAlgorithm::ALL
            .into_iter()
            .filter(|algorithm| !algorithm.is_weak())
            .find_map(|algorithm| Digest::from_bytes(algorithm, &bytes))
            .map(Self)
            .ok_or_else(wanted)
    }
}

impl From<FileHash> for String {
    fn from(hash: FileHash) -> Self {
        hash.0.to_string()
    }
}

impl FileHash {
    /// This digest, unless its hash is one whose collisions can be made.
    pub fn of(digest: Digest) -> Option<Self> {
        (!digest.algorithm().is_weak()).then_some(Self(digest))
    }
}

impl ImaScope {
    fn holds(&self, name: FileName<'_>) -> bool {
        let (path, name) = (self.path.as_bytes(), name.as_bytes());
        // A name with `..` in it is in no folder that its beginning says.
        if path.ends_with(b"/") { name.starts_with(path) && !climbs(name) } else { name == path }
    }
}

fn climbs(name: &[u8]) -> bool {
    name.split(|byte| *byte == b'/').any(|part| part == b"..")
}

impl ImaRule {
    /// Holds one more entry against the rule.
    pub(crate) fn judge(&self, entry: &Entry<'_>, judged: &mut JudgedList) {
        if entry.is_violation() {
            return; // counted, and judged, by itself: what it says of the file is in no digest
        }
        let stranger = match entry.measurement() {
            Ok(measured) => {
                let hash = measured.digest.known().and_then(FileHash::of);
                judged.agent |= hash.is_some_and(|hash| self.agent.contains_key(&hash));
                // The first entry is a digest of PCRs that the kernel read. The quote covers those themselves.
                let boot = entry.number == 0 && measured.name.as_bytes() == attest_evidence::ima::BootAggregate::NAME;
                if boot || self.allows(measured.name, hash) {
                    return;
                }
                let digest = attest_evidence::digest::to_hex(measured.digest.bytes);
                let digest = format!("{}:{digest}", measured.digest.algorithm);
                Stranger { entry: entry.number, name: cut(&measured.name.to_text()), digest: cut(&digest) }
            }
            Err(_) if self.scopes.is_empty() => return,
            Err(refused) => {
                Stranger { entry: entry.number, name: entry.template.to_string(), digest: cut(&refused.to_string()) }
            }
        };
        judged.strangers = judged.strangers.saturating_add(1);
        judged.first.get_or_insert(stranger);
    }

    /// Whether a file with this name and content may have been measured.
    pub fn allows(&self, name: FileName<'_>, hash: Option<FileHash>) -> bool {
        if self.scopes.is_empty() {
            return true;
        }
        let scope = self.scopes.iter().filter(|scope| scope.holds(name)).max_by_key(|scope| scope.path.len());
        scope.is_some_and(|scope| scope.any || hash.is_some_and(|hash| scope.allow.contains_key(&hash)))
    }

    /// This rule, and beside what it allows all that was measured: each file by itself, in the scope that it lies in. Returns
    /// also what was added, and what can't be: files measured by a hash whose collisions can be made.
    /// Violations are allowed by whoever says so, and not by this.
    #[must_use]
    pub fn allowing<'a>(mut self, entries: impl Iterator<Item = Entry<'a>>) -> (Self, Vec<Added>) {
        let mut added = Vec::new();
        let fresh = self.scopes.is_empty();
        for entry in entries {
            if entry.is_violation() {
                continue;
            }
            let Ok(measured) = entry.measurement() else { continue };
            let name = measured.name;
            if entry.number == 0 && name.as_bytes() == attest_evidence::ima::BootAggregate::NAME {
                continue;
            }
            let hash = measured.digest.known().and_then(FileHash::of);
            if fresh
                && name.as_bytes().ends_with(AGENT)
                && let Some(hash) = hash
            {
                self.agent.insert(hash, name.to_text().into_owned());
            }
            if !self.scopes.is_empty() && self.allows(name, hash) {
                continue;
            }
            let digest =
                format!("{}:{}", measured.digest.algorithm, attest_evidence::digest::to_hex(measured.digest.bytes));
            added.push(Added { name: cut(&name.to_text()), digest, allowed: hash.is_some() });
            if let Some(hash) = hash {
                self.scope_of(name).allow.insert(hash, cut(&name.to_text()));
            }
        }
        (self, added)
    }

    /// The scope that decides about a name; made, where there is none.
    fn scope_of(&mut self, name: FileName<'_>) -> &mut ImaScope {
        let holding = self.scopes.iter().enumerate().filter(|(_, scope)| scope.holds(name));
        let place = holding.max_by_key(|(_, scope)| scope.path.len()).map(|(place, _)| place);
        let place = place.unwrap_or_else(|| {
            let root = ImaScope { path: "/".to_owned(), any: false, allow: BTreeMap::new() };
            let own = ImaScope { path: name.to_text().into_owned(), ..root.clone() };
            self.scopes.push(if root.holds(name) { root } else { own });
            self.scopes.len() - 1
        });
        // It has just been found or made.
        #[expect(clippy::indexing_slicing, reason = "the place was found or made above")]
        &mut self.scopes[place]
    }

    /// What is wrong with it, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        if self.scopes.len() > MOST_SCOPES {
            return Some(format!("more than {MOST_SCOPES} scopes"));
        }
        let mut paths = BTreeSet::new();
        self.scopes.iter().find_map(|scope| match scope {
            ImaScope { path, .. } if path.is_empty() => Some("a scope without a path".to_owned()),
            ImaScope { path, .. } if !paths.insert(path) => Some(format!("two scopes of `{path}`")),
            ImaScope { path, any: true, allow } if !allow.is_empty() => {
                Some(format!("scope `{path}` allows anything, and lists what it allows"))
            }
            _ => None,
        })
    }
}

impl JudgedList {
    /// Whether the agent's own program was measured.
    pub const fn agent(&self) -> bool {
        self.agent
    }
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(LONGEST_NAME)).unwrap_or_default().to_owned()
}
