//! `attest-spawner`: what an agent starts first, to have it start all else.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Option<Vec<String>> =
        std::env::args_os().skip(1).map(|argument| argument.into_string().ok()).collect();
    match attest_spawner::serve(&arguments.unwrap_or_default()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("attest-spawner: {error}. It is started by attest-agent, not by hand");
            ExitCode::FAILURE
        }
    }
}
