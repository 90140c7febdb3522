//! What is linked: what needs no grant, and what was granted.

use crate::bindings::attest::step::{
    annotations, derive, directories, http, log, outputs, reveal, secrets, signing, summary, types,
};
use crate::files;
use crate::handles::{Handles, Key, Secret};
use crate::state::{State, Step};
use wasmtime::Result;
use wasmtime::component::Linker;
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random, sockets};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView as _};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};

/// What a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A step of the contract: it exports `run`.
    Step,
    /// A command: it exports `wasi:cli/run`.
    Command,
}

/// Links exactly what `handles` hold, what needs none, and for a command what every command is given.
pub(crate) fn link(linker: &mut Linker<State>, handles: &Handles, kind: Kind) -> Result<()> {
    wasmtime_wasi_io::add_to_linker_async(linker)?;
    clocks::wall_clock::add_to_linker::<_, WasiClocks>(linker, State::clocks)?;
    clocks::monotonic_clock::add_to_linker::<_, WasiClocks>(linker, State::clocks)?;
    random::random::add_to_linker::<_, WasiRandom>(linker, State::random)?;
    types::add_to_linker::<_, Step>(linker, |state| state)?;
    log::add_to_linker::<_, Step>(linker, |state| state)?;
    let secrets = || handles.secrets.values();
    if !handles.secrets.is_empty() {
        secrets::add_to_linker::<_, Step>(linker, |state| state)?;
    }
    if secrets().any(|secret| matches!(secret, Secret::Revealable(_))) {
        reveal::add_to_linker::<_, Step>(linker, |state| state)?;
    }
    if handles.keys.values().any(|key| matches!(key, Key::Signs(_))) {
        signing::add_to_linker::<_, Step>(linker, |state| state)?;
    }
    if handles.keys.values().any(|key| matches!(key, Key::Derives)) {
        derive::add_to_linker::<_, Step>(linker, |state| state)?;
    }
    if !handles.directories.is_empty() {
        directories::add_to_linker::<_, Step>(linker, |state| state)?;
    }
    if !handles.outputs.is_empty() {
        outputs::add_to_linker::<_, Step>(linker, |state| state)?;
    }
    if handles.summary {
        summary::add_to_linker::<_, Step>(linker, |state| state)?;
    }
    if handles.annotations {
        annotations::add_to_linker::<_, Step>(linker, |state| state)?;
    }
    if handles.http.is_some() {
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
        if secrets().any(|secret| matches!(secret, Secret::Opaque)) {
            http::add_to_linker::<_, Step>(linker, |state| state)?;
        }
    }
    // Files come with directories and with keys that sign files. Without a directory there is no descriptor to begin with.
    if !handles.directories.is_empty() || !handles.keys.is_empty() || kind == Kind::Command {
        files::link(linker)?;
    }
    match kind {
        Kind::Step => Ok(()),
        Kind::Command => link_command(linker),
    }
}

/// What toolchains have every command import. Sockets are among it, and none of them can be bound or connected: the
/// context allows no address, and no name is looked up.
fn link_command(linker: &mut Linker<State>) -> Result<()> {
    filesystem::preopens::add_to_linker::<_, Step>(linker, |state| state)?;
    random::insecure::add_to_linker::<_, WasiRandom>(linker, State::random)?;
    random::insecure_seed::add_to_linker::<_, WasiRandom>(linker, State::random)?;
    cli::exit::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::environment::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::stdin::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::stdout::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::stderr::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(linker, State::cli)?;
    let options = sockets::network::LinkOptions::default();
    sockets::network::add_to_linker::<_, WasiSockets>(linker, &options, State::sockets)?;
    sockets::instance_network::add_to_linker::<_, WasiSockets>(linker, State::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<_, WasiSockets>(linker, State::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<_, WasiSockets>(linker, State::sockets)?;
    sockets::tcp::add_to_linker::<_, WasiSockets>(linker, State::sockets)?;
    sockets::udp_create_socket::add_to_linker::<_, WasiSockets>(linker, State::sockets)?;
    sockets::udp::add_to_linker::<_, WasiSockets>(linker, State::sockets)
}
