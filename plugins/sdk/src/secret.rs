//! Secrets.

use crate::bindings::attest::step::{reveal, secrets};
use crate::error::{Error, Result};

/// A secret, or a token, that the step may have used, and does not see: [`Request`](crate::http::Request) says in which place.
pub struct Secret(pub(crate) secrets::Secret);

impl Secret {
    /// The handle of a declared secret or token.
    pub fn open(name: &str) -> Result<Self> {
        secrets::open(name).map(Self).map_err(|error| Error::not_declared("secret", name, error))
    }

    /// Its name, as declared.
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// Its bytes, once; for secrets declared with `use = "reveal"`.
    pub fn reveal(self) -> Result<Vec<u8>> {
        let name = self.0.name();
        reveal::reveal(self.0).map_err(|error| Error::revealing(&name, error))
    }
}
