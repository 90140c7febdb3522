//! Symmetric keys that the TPM derives.

use crate::bindings::attest::step::derive::{self, DeriveError};
use crate::error::{Error, Result};
use std::fmt;

/// A key that others are derived from, and that the step does not see. Needs `[keys.NAME]` with `use = "derive"`.
pub struct DerivationKey(derive::DerivationKey);

/// A symmetric key of 32 bytes. `Debug` does not show it.
pub struct DerivedKey([u8; 32]);

impl DerivationKey {
    /// The handle of a declared key.
    pub fn open(name: &str) -> Result<Self> {
        derive::open(name).map(Self).map_err(|error| Error::not_declared("key", name, error))
    }

    /// The key for a purpose: the same on this TPM for the same stage, name and purpose, others everywhere else. A
    /// purpose has 1 to 64 characters of `a-z`, `0-9`, `-`, `_` and `.`.
    pub fn derive(&self, purpose: &str) -> Result<DerivedKey> {
        let key = self.0.derive(purpose).map_err(|error| self.failed(purpose, error))?;
        let length = key.len();
        key.try_into().map(DerivedKey).map_err(|_| Error::new(format!("a derived key has 32 bytes, not {length}")))
    }

    /// HMAC-SHA-256 (RFC 2104) of a message with the key for a purpose, without the step seeing that key.
    pub fn mac(&self, purpose: &str, message: &[u8]) -> Result<Vec<u8>> {
        self.0.mac(purpose, message).map_err(|error| self.failed(purpose, error))
    }

    fn failed(&self, purpose: &str, error: DeriveError) -> Error {
        let reason = match error {
            DeriveError::BadPurpose => {
                format!("`{}` is no purpose: 1 to 64 of a-z, 0-9, `-`, `_` and `.`", purpose.escape_debug())
            }
            DeriveError::TooLong(most) => format!("a message has at most {most} bytes"),
            DeriveError::Failed(reason) => format!("the host did not derive: {reason}"),
        };
        Error::new(reason).during(&format!("key `{}`", self.0.name()))
    }
}

impl DerivedKey {
    /// Its bytes.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for DerivedKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("DerivedKey(32 bytes)")
    }
}
