//! Keys that sign.

use crate::bindings::attest::step::signing;
use crate::directory::File;
use crate::error::{Error, Result};

pub use crate::bindings::attest::step::signing::Format as SignatureFormat;

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
        self.sign_message_as(SignatureFormat::Raw, message)
    }

    /// The bare signature over a file's contents. The host reads it; the step need not.
    pub fn sign_file(&self, file: &File) -> Result<Vec<u8>> {
        self.sign_file_as(SignatureFormat::Raw, file)
    }

    /// The signature over a message in a format that is declared.
    pub fn sign_message_as(&self, format: SignatureFormat, message: &[u8]) -> Result<Vec<u8>> {
        self.0.sign_message(message, format).map_err(Error::signing)
    }

    /// The signature over a file's contents in a format that is declared. The host reads it; the step need not.
    pub fn sign_file_as(&self, format: SignatureFormat, file: &File) -> Result<Vec<u8>> {
        self.0.sign_file(&file.descriptor, format).map_err(|error| Error::signing(error).during(&file.name))
    }
}
