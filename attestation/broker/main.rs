//! `attest-broker`: parses the command line and does what it says.

use attest_broker::admin::{Command, explain, run};
use attest_help::Question;
use clap::{CommandFactory as _, Parser as _};
use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match Question::of(&Command::command(), &arguments) {
        Some(question) => explain(&question),
        None => run(Command::parse_from(arguments)),
    }
}
