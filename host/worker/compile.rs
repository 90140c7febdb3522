//! The worker's program as a compiler: a component comes, its code goes, and nothing else is in reach.

use crate::fence::fence;
use attest_engine::Engine;
use attest_walls::Walls;
use attest_wire::Channel;
use attest_wire::compiler::FromCompiler;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Instant;

/// Compiles the first of `descriptors` into the second, behind `walls`.
pub fn compile(channel: &Channel, descriptors: Vec<OwnedFd>, walls: &Walls) -> ExitCode {
    let answer = run(descriptors, walls).unwrap_or_else(|failed| failed);
    match channel.send(&answer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(descriptors: Vec<OwnedFd>, walls: &Walls) -> Result<FromCompiler, FromCompiler> {
    let not_compiled = |reason: String| FromCompiler::NotCompiled { reason };
    let [component, code] = <[OwnedFd; 2]>::try_from(descriptors)
        .map_err(|descriptors| not_compiled(format!("{} descriptors came, and not 2", descriptors.len())))?;
    let engine = Engine::new().map_err(|error| not_compiled(error.to_string()))?;
    walls.raise(&fence(Vec::new())).map_err(|error| FromCompiler::NoWalls { reason: error.to_string() })?;

    let began = Instant::now();
    let mut bytes = Vec::new();
    File::from(component).read_to_end(&mut bytes).map_err(|error| not_compiled(error.to_string()))?;
    let compiled = engine.compile(&bytes).map_err(|error| not_compiled(error.to_string()))?;
    File::from(code).write_all(&compiled).map_err(|error| not_compiled(error.to_string()))?;
    Ok(FromCompiler::Compiled { took: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX) })
}
