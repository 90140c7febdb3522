//! Keys that sign.

use crate::bindings::attest::step::signing::{self, Format};
use crate::directory::File;
use crate::error::{Error, Result};

/// A key that the step may have used, and does not see.
pub struct Key(signing::Key);

impl Key {
    /// The handle of a declared key.
    pub fn open(name: &str) -> Result<Self> {
        signing::open(name).map(Self).map_err(|error| Error::not_declared("key", name, error))
    }

    /// Its public key, PEM.
    pub fn public_key(&self) -> String {
        self.0.public_key()
    }

    /// The bare signature over a message.
    pub fn sign_message(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.0.sign_message(message, Format::Raw).map_err(Error::signing)
    }

    /// The bare signature over a file's contents. The host reads it; the step need not.
    pub fn sign_file(&self, file: &File) -> Result<Vec<u8>> {
        self.0.sign_file(&file.descriptor, Format::Raw).map_err(|error| Error::signing(error).during(&file.name))
    }
}
