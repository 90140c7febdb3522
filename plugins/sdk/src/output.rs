//! Values for the steps that follow.

use crate::bindings::attest::step::outputs;
use crate::error::{Error, Result};

/// Sets a declared output, once.
pub fn set_output(name: &str, value: &str) -> Result {
    outputs::set(name, value).map_err(|error| Error::output(name, error))
}
