//! `attest-worker`: one step, one process.

use std::process::ExitCode;

fn main() -> ExitCode {
    let started = std::time::Instant::now();
    match attest_worker::begin(std::env::args_os().skip(1)) {
        Ok((channel, start, descriptors)) => {
            attest_worker::serve(&channel, start, descriptors, started, attest_worker::walls::Walls::all())
        }
        Err(problem) => {
            eprintln!("attest-worker: {problem}. It is started by attest-run, not by hand");
            ExitCode::from(2)
        }
    }
}
