//! From the agent's first message to the step's end.
#![expect(unsafe_code, reason = "the engine loads code on our word")]

use crate::fence::fence;
use crate::session::{MOST_PATHS, Session, files};
use attest_engine::{
    Directory, Engine, EngineError, FilesSeen, Handles, Key, Limits, Outcome as EngineOutcome, Secret, SigningKey,
};
use attest_evidence::name::DirectoryName;
use attest_walls::{Identity, User, WallError, Walls, seclude};
use attest_wire::worker::{FromWorker, GrantedDirectory, GrantedKeyUse, Outcome, Start};
use attest_wire::{Channel, Revealed, WireError};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// Why a worker can't even begin.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The arguments are not those that the spawner gives.
    #[error("its arguments are neither `[--search] [--files-of UID GID]` nor `--compile`")]
    Arguments,
    /// A wall that comes first.
    #[error(transparent)]
    Wall(#[from] WallError),
    /// Standard input is not a connection to an agent, or the agent is gone.
    #[error("its standard input is not an agent: {0}")]
    NoAgent(#[from] WireError),
}

/// Takes the identity that the arguments name, gives up every privilege, and hears what to do.
///
/// # Errors
/// See [`BeginError`].
pub fn begin<T: DeserializeOwned>(arguments: &[OsString]) -> Result<(Channel, T, Vec<OwnedFd>), BeginError> {
    let arguments: Vec<String> = arguments
        .iter()
        .map(|argument| argument.to_str().map(str::to_owned))
        .collect::<Option<_>>()
        .ok_or(BeginError::Arguments)?;
    let identity = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] | ["--compile"] | ["--search"] => Identity::Unchanged,
        ["--files-of", uid, gid] | ["--search", "--files-of", uid, gid] => {
            Identity::FilesOf(User::parse(uid, gid).ok_or(BeginError::Arguments)?)
        }
        _ => return Err(BeginError::Arguments),
    };
    seclude(&Walls::all(), identity)?;
    let channel = Channel::at_stdin().map_err(WireError::from)?;
    let (start, descriptors) = channel.receive_with()?;
    Ok((channel, start, descriptors))
}

/// Raises `walls`, then loads and runs the component.
pub fn serve(channel: &Channel, start: Start, descriptors: Vec<OwnedFd>, walls: Walls) -> ExitCode {
    let directories: Vec<_> = start.directories.iter().map(|granted| granted.name.clone()).collect();
    let done = match run(channel, start, descriptors, &walls) {
        Ok((outcome, mut seen)) => {
            let mut left = MOST_PATHS;
            let files =
                directories.iter().map(|name| files(seen.remove(name).unwrap_or_default(), &mut left)).collect();
            FromWorker::Done { outcome, files }
        }
        Err(outcome) => FromWorker::Done { outcome, files: Vec::new() },
    };
    match channel.send(&done) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn not_started(reason: impl ToString) -> Outcome {
    Outcome::NotStarted { reason: reason.to_string() }
}

/// The component's code, what the step holds, and what it is told and may consume.
struct Prepared {
    code: File,
    handles: Handles,
    arguments: Vec<String>,
    limits: Limits,
}

/// Puts what the agent says and what it sent along together.
fn prepare(start: Start, descriptors: Vec<OwnedFd>) -> Result<Prepared, Outcome> {
    let Start { arguments, environment, secrets, keys, directories, outputs, http, summary, annotations, limits } =
        start;
    let wanted = 1 + directories.len() + usize::from(http);
    if descriptors.len() != wanted {
        return Err(not_started(format!("{} descriptors came, and {wanted} were announced", descriptors.len())));
    }
    let mut descriptors = descriptors.into_iter();
    let code = descriptors.next().map(File::from).ok_or_else(|| not_started("no component came"))?;
    let mut handles = Handles { outputs: outputs.into_iter().collect(), summary, annotations, ..Handles::default() };
    for (granted, directory) in directories.into_iter().zip(descriptors.by_ref()) {
        let GrantedDirectory { name, mode, place } = granted;
        handles.directories.insert(name, Directory { directory: File::from(directory), mode, place });
    }
    handles.http = descriptors.next().map(UnixStream::from);
    // Behind the walls it can't be made so any more.
    if let Some(connection) = &handles.http {
        connection.set_nonblocking(true).map_err(not_started)?;
    }
    handles.environment = environment.into_iter().map(|set| (set.name, set.value.into_secret())).collect();
    for granted in secrets {
        let secret = match granted.revealed.map(Revealed::into_secret) {
            Some(value) => Secret::Revealable(value),
            None => Secret::Opaque,
        };
        handles.secrets.insert(granted.name, secret);
    }
    for granted in keys {
        let key = match granted.usage {
            GrantedKeyUse::Sign { public_key, formats, longest_message } => {
                Key::Signs(SigningKey { public_key, formats: formats.into_iter().collect(), longest_message })
            }
            GrantedKeyUse::Derive => Key::Derives,
        };
        handles.keys.insert(granted.name, key);
    }
    let limits = Limits { memory: limits.memory, output: limits.output };
    Ok(Prepared { code, handles, arguments, limits })
}

type Files = BTreeMap<DirectoryName, FilesSeen>;

fn run(channel: &Channel, start: Start, descriptors: Vec<OwnedFd>, walls: &Walls) -> Result<(Outcome, Files), Outcome> {
    let Prepared { code, handles, arguments, limits } = prepare(start, descriptors)?;
    // Traps need signal handlers and alternative stacks, and the runtime what it waits with: set up while they still
    // can be.
    let engine = Engine::new().map_err(not_started)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(not_started)?;
    let granted = handles.directories.values().map(|granted| (granted.directory.as_fd(), granted.mode)).collect();
    walls.raise(&fence(granted)).map_err(|error| Outcome::NoWalls { reason: error.to_string() })?;

    let begun = Instant::now();
    let code = read_whole(code).map_err(not_started)?;
    // SAFETY: the agent alone can send it. It had a compiler make it, and sends it in a sealed file in memory whose
    // authentication code it has checked there.
    let compiled = unsafe { engine.load(&code) }.map_err(|error| match error {
        EngineError::NotOurs(reason) => Outcome::NotOurs { reason },
        error => not_started(error),
    })?;
    drop(code);
    let agent = Arc::new(Channel::new(channel.stream().try_clone().map_err(not_started)?));
    let told = agent.send(&FromWorker::Loaded { loading: micros(begun.elapsed()) });
    told.map_err(|_| not_started("the agent is gone"))?;
    let running = Instant::now();
    let ended =
        runtime.block_on(compiled.run(handles, limits, Arc::new(Session(agent)), &arguments)).map_err(not_started)?;
    let outcome = match ended.outcome {
        EngineOutcome::Succeeded => Outcome::Succeeded { ran: micros(running.elapsed()) },
        EngineOutcome::Failed { code, message } => Outcome::Failed { code, message },
        EngineOutcome::Trapped(reason) => Outcome::Trapped { reason },
        EngineOutcome::OverLimit(limit) => Outcome::OverLimit { limit },
        EngineOutcome::HostStopped => not_started("the agent is gone"),
    };
    Ok((outcome, ended.files))
}

/// The file is sealed: its length is what it says. Others read it too, so that its place in it is nobody's.
fn read_whole(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
