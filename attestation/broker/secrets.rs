//! Secrets at rest: each version sealed with the key of its stage, bound to what it is.

use crate::keys::{KeyError, Purpose, RootKey};
use attest_evidence::SecretBytes;
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
    value: &SecretBytes,
) -> Result<Vec<u8>, KeyError> {
    value.expose(|value| root.seal(Purpose::Secrets(stage), value, &associated_data(stage, name, version)))
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
    sealed: &[u8],
) -> Result<SecretBytes, KeyError> {
    root.open(Purpose::Secrets(stage), sealed, &associated_data(stage, name, version))
}

/// Names have no newline, so that the parts can't be shifted.
fn associated_data(stage: Stage, name: &SecretName, version: u64) -> Vec<u8> {
    format!("{stage}\n{name}\n{version}").into_bytes()
}
