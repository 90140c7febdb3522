//! What a step's imports do, one file for each handful of interfaces.

mod directories;
mod http;
mod keys;
mod page;
mod secrets;

use crate::bindings::attest::step::types;
use crate::state::State;
use attest_evidence::report::excerpt;

impl types::Host for State {}

/// What to add to `step.toml` for a name that it doesn't declare. The name is the step's: shown as TOML text.
fn lines(section: &str, name: &str, rest: &str) -> String {
    let name = excerpt(name);
    format!("[{section}.\"{name}\"]\n{rest}why = \"…\"")
}
