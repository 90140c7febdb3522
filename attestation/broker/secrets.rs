//! Secrets at rest: each version sealed with the key of its stage, bound to what it is.

use crate::keys::{KeyError, Purpose, RootKey};
use attest_evidence::SecretBytes;
use attest_evidence::exchange::Destination;
use attest_evidence::name::{SecretName, Stage};
use attest_evidence::report::{Explain, Fault, Report};

/// The shortest secret: shorter ones can't be masked without masking half a log, and can be guessed.
pub const SHORTEST_SECRET: usize = 8;
/// The longest secret: keys and certificates fit, files that are no secret don't.
pub const LONGEST_SECRET: usize = 64 * 1024;

/// A value that can't be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret has {SHORTEST_SECRET} to {LONGEST_SECRET} bytes, this has {0}")]
pub struct BadSecret(pub usize);

impl Explain for BadSecret {
    fn report(&self) -> Report {
        Report::new("AR-P501", Fault::Refused, self.to_string()).hint(if self.0 < SHORTEST_SECRET {
            "a shorter value could not be masked in logs without hiding ordinary text, and could be guessed"
        } else {
            "keep the file elsewhere and make a key to it the secret"
        })
    }
}

/// Checks that a value can be a secret.
///
/// # Errors
/// [`BadSecret`] if it is too short or too long.
pub fn check(value: &SecretBytes) -> Result<(), BadSecret> {
    if (SHORTEST_SECRET..=LONGEST_SECRET).contains(&value.len()) { Ok(()) } else { Err(BadSecret(value.len())) }
}

/// Seals a version of a secret: it opens as this version of this secret of this stage and as nothing else.
///
/// # Errors
/// The operating system gave no randomness.
pub fn seal(
    root: &RootKey,
    stage: Stage,
    name: &SecretName,
    version: u64,
    destinations: &Destinations,
    value: &SecretBytes,
) -> Result<Vec<u8>, KeyError> {
    let data = associated_data(stage, name, version, destinations);
    value.expose(|value| root.seal(Purpose::Secrets(stage), value, &data))
}

/// Opens what [`seal`] sealed.
///
/// # Errors
/// [`KeyError::DoesNotOpen`] if it is anything else.
pub fn open(
    root: &RootKey,
    stage: Stage,
    name: &SecretName,
    version: u64,
    destinations: &Destinations,
    sealed: &[u8],
) -> Result<SecretBytes, KeyError> {
    root.open(Purpose::Secrets(stage), sealed, &associated_data(stage, name, version, destinations))
}

/// Names have no newline, so that the parts can't be shifted. Whoever may write to the database alone can't send a secret
/// elsewhere: it opens for its own destinations only.
fn associated_data(stage: Stage, name: &SecretName, version: u64, destinations: &Destinations) -> Vec<u8> {
    let mut data = format!("{stage}\n{name}\n{version}");
    // Versions of before there were destinations have none.
    if !destinations.is_empty() {
        data.push('\n');
        data.push_str(destinations.as_text());
    }
    data.into_bytes()
}

/// Where a version of a secret may go, as it was written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destinations {
    text: String,
    list: Vec<Destination>,
}

impl Destinations {
    /// Most destinations of one secret: they travel in every grant of it.
    pub const MOST: usize = 32;

    /// These.
    #[expect(clippy::expect_used, reason = "plain structures with text keys always serialize")]
    pub fn new(list: Vec<Destination>) -> Self {
        Self { text: serde_json::to_string(&list).expect("plain structures with text keys always serialize"), list }
    }

    /// What the store keeps.
    pub(crate) fn of_text(text: String) -> Option<Self> {
        let list = serde_json::from_str(&text).ok()?;
        Some(Self { text, list })
    }

    /// One by one.
    pub fn list(&self) -> &[Destination] {
        &self.list
    }

    /// As JSON: these very bytes are part of what the value is sealed to.
    pub fn as_text(&self) -> &str {
        &self.text
    }

    /// Whether there is none: no request may carry the secret.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
