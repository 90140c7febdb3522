//! `attest-egress`: the requests of one step, one process.

use attest_egress::fence;
use attest_walls::{Identity, Walls, seclude};
use std::process::ExitCode;

fn main() -> ExitCode {
    // What a panic says could hold a secret. Where it happened does not.
    std::panic::set_hook(Box::new(|panic| {
        match panic.location() {
            Some(place) => eprintln!("attest-egress: a bug, at {}:{}", place.file(), place.line()),
            None => eprintln!("attest-egress: a bug"),
        }
        std::process::abort();
    }));
    if std::env::args_os().skip(1).eq(["--check-walls"]) {
        return check_walls();
    }
    match attest_egress::begin(std::env::args_os().skip(1)) {
        Ok((channel, start, descriptors)) => attest_egress::run(channel, start, descriptors, &Walls::all()),
        Err(problem) => {
            eprintln!("attest-egress: {problem}. It is started by attest-run, not by hand");
            ExitCode::from(2)
        }
    }
}

/// Raises all walls around nothing, for `attest-run doctor`: can this machine send requests?
fn check_walls() -> ExitCode {
    let walls = Walls::all();
    match seclude(&walls, Identity::Unchanged).and_then(|()| walls.raise(&fence())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
