//! `attest-broker`: parses the command line and does what it says.

use attest_broker::admin::{Command, run};
use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    run(Command::parse())
}
