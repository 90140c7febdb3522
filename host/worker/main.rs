//! `attest-worker`: one step, one process.

use std::process::ExitCode;

fn main() -> ExitCode {
    let started = std::time::Instant::now();
    if std::env::args_os().skip(1).eq(["--check-walls"]) {
        return check_walls();
    }
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

/// Raises all walls around nothing, for `attest-run doctor`: can this machine run steps?
fn check_walls() -> ExitCode {
    let walls = attest_worker::walls::Walls::all();
    match attest_worker::walls::seclude(&walls, None).and_then(|()| walls.raise(&[])) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
