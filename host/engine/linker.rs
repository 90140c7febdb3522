//! What is linked: the log, and what was granted.

use crate::bindings::attest::step::{directories, log, outputs, reveal, secrets, signing, types};
use crate::handles::{Handles, Secret};
use crate::state::{State, Step};
use wasmtime::Result;
use wasmtime::component::Linker;
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{clocks, filesystem};

/// Links exactly what `handles` hold.
pub(crate) fn link(linker: &mut Linker<State>, handles: &Handles) -> Result<()> {
    types::add_to_linker::<_, Step>(linker, |state| state)?;
    log::add_to_linker::<_, Step>(linker, |state| state)?;
    if !handles.secrets.is_empty() {
        secrets::add_to_linker::<_, Step>(linker, |state| state)?;
    }
    if handles.secrets.values().any(|secret| matches!(secret, Secret::Revealable(_))) {
        reveal::add_to_linker::<_, Step>(linker, |state| state)?;
    }
    if !handles.keys.is_empty() {
        signing::add_to_linker::<_, Step>(linker, |state| state)?;
    }
    if !handles.directories.is_empty() {
        directories::add_to_linker::<_, Step>(linker, |state| state)?;
    }
    if !handles.outputs.is_empty() {
        outputs::add_to_linker::<_, Step>(linker, |state| state)?;
    }
    // Files, and the streams they are read by, come with directories and with keys that sign files. Without a
    // directory there is no descriptor to begin with.
    if !handles.directories.is_empty() || !handles.keys.is_empty() {
        wasmtime_wasi_io::add_to_linker_async(linker)?;
        clocks::wall_clock::add_to_linker::<_, WasiClocks>(linker, State::clocks)?;
        filesystem::types::add_to_linker::<_, WasiFilesystem>(linker, State::filesystem)?;
    }
    Ok(())
}
