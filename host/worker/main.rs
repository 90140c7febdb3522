//! `attest-worker`: one step, one process.

use attest_walls::{Identity, Walls, seclude};
use attest_wire::compiler::Compile;
use attest_wire::search::Search;
use attest_wire::worker::Start;
use attest_worker::fence;
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().skip(1).eq(["--check-walls"]) {
        return check_walls();
    }
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let role = arguments.first().and_then(|first| first.to_str());
    let done = match role {
        Some("--compile") => attest_worker::begin::<Compile>(&arguments)
            .map(|(channel, Compile, descriptors)| attest_worker::compile(&channel, descriptors, &Walls::all())),
        Some("--search") => attest_worker::begin::<Search>(&arguments)
            .map(|(channel, search, descriptors)| attest_worker::search(&channel, search, descriptors, &Walls::all())),
        _ => attest_worker::begin::<Start>(&arguments)
            .map(|(channel, start, descriptors)| attest_worker::serve(&channel, start, descriptors, Walls::all())),
    };
    done.unwrap_or_else(|problem| {
        eprintln!("attest-worker: {problem}. It is started by attest-agent, not by hand");
        ExitCode::from(2)
    })
}

/// Raises all walls around nothing, for `attest-run doctor`: can this machine run steps?
fn check_walls() -> ExitCode {
    let walls = Walls::all();
    match seclude(&walls, Identity::Unchanged).and_then(|()| walls.raise(&fence(Vec::new()))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
