//! The job's log.

use crate::bindings::attest::step::log::{Level, write};

/// For whoever looks for a defect.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// For whoever reads the log.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Something may be wrong.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Something is wrong.
pub fn error(message: &str) {
    write(Level::Error, message);
}
