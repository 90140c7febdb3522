//! From the agent's first message to the step's end.

use crate::session::Session;
use crate::walls::{FileIdentity, WallError, Walls, seclude};
use attest_engine::{Directory, Engine, Handles, Key, Limits, Outcome as EngineOutcome, Secret};
use attest_wire::worker::{FromWorker, Outcome, Start};
use attest_wire::{Channel, Revealed};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// Why a worker can't even begin.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The arguments are not those that the spawner gives.
    #[error("its arguments are not `[--files-of UID GID]`")]
    Arguments,
    /// A wall that comes first.
    #[error(transparent)]
    Wall(#[from] WallError),
    /// Standard input is not a connection to an agent, or the agent is gone.
    #[error("its standard input is not an agent: {0}")]
    NoAgent(String),
}

/// Takes the identity that the arguments name, gives up every privilege, and hears what to run.
///
/// # Errors
/// See [`BeginError`].
pub fn begin(arguments: impl Iterator<Item = OsString>) -> Result<(Channel, Start, Vec<OwnedFd>), BeginError> {
    let arguments: Vec<String> =
        arguments.map(OsString::into_string).collect::<Result<_, _>>().map_err(|_| BeginError::Arguments)?;
    let identity = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => None,
        ["--files-of", uid, gid] => Some(FileIdentity {
            uid: uid.parse().map_err(|_| BeginError::Arguments)?,
            gid: gid.parse().map_err(|_| BeginError::Arguments)?,
        }),
        _ => return Err(BeginError::Arguments),
    };
    seclude(&Walls::all(), identity)?;
    let no_agent = |error: io::Error| BeginError::NoAgent(error.to_string());
    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(no_agent)?;
    let channel = Channel::new(UnixStream::from(stdin));
    let (start, descriptors) =
        channel.receive_with::<Start>().map_err(|error| BeginError::NoAgent(error.to_string()))?;
    Ok((channel, start, descriptors))
}

/// Raises `walls`, then compiles and runs the component.
///
/// `started` is when the process began.
pub fn serve(channel: &Channel, start: Start, descriptors: Vec<OwnedFd>, started: Instant, walls: Walls) -> ExitCode {
    let outcome = run(channel, start, descriptors, started, &walls);
    match channel.send(&FromWorker::Done(outcome)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(channel: &Channel, start: Start, descriptors: Vec<OwnedFd>, started: Instant, walls: &Walls) -> Outcome {
    let not_started = |reason: String| Outcome::NotStarted { reason };
    let Start { arguments, secrets, keys, directories, outputs, limits } = start;
    if descriptors.len() != directories.len() + 1 {
        return not_started(format!("{} descriptors came for {} directories", descriptors.len(), directories.len()));
    }
    let mut files = descriptors.into_iter().map(File::from);
    let Some(component) = files.next() else { return not_started("no component came".to_owned()) };
    let mut handles = Handles { outputs: outputs.into_iter().collect(), ..Handles::default() };
    for (granted, directory) in directories.into_iter().zip(files) {
        handles.directories.insert(granted.name, Directory { directory, mode: granted.mode });
    }
    for granted in secrets {
        let secret = match granted.revealed.map(Revealed::into_secret) {
            Some(value) => Secret::Revealable(value),
            None => Secret::Opaque,
        };
        handles.secrets.insert(granted.name, secret);
    }
    for granted in keys {
        let key = Key {
            public_key: granted.public_key,
            formats: granted.formats.into_iter().collect(),
            longest_message: granted.longest_message,
        };
        handles.keys.insert(granted.name, key);
    }

    // Traps need signal handlers and alternative stacks; the engine sets them up while it still may.
    let engine = match Engine::new() {
        Ok(engine) => engine,
        Err(error) => return not_started(error.to_string()),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().build() {
        Ok(runtime) => runtime,
        Err(error) => return not_started(error.to_string()),
    };
    let granted: Vec<_> =
        handles.directories.values().map(|granted| (granted.directory.as_fd(), granted.mode)).collect();
    if let Err(error) = walls.raise(&granted) {
        return Outcome::NoWalls { reason: error.to_string() };
    }
    drop(granted);

    let begun = Instant::now();
    let compiled = read_whole(component)
        .map_err(|error| error.to_string())
        .and_then(|bytes| engine.compile(&bytes).map_err(|error| error.to_string()));
    let compiled = match compiled {
        Ok(compiled) => compiled,
        Err(reason) => return not_started(reason),
    };
    let agent = match channel.stream().try_clone() {
        Ok(stream) => Arc::new(Channel::new(stream)),
        Err(error) => return not_started(error.to_string()),
    };
    let told = agent.send(&FromWorker::Compiled {
        started: micros(begun.duration_since(started)),
        compiling: micros(begun.elapsed()),
    });
    if told.is_err() {
        return not_started("the agent is gone".to_owned());
    }
    let limits = Limits { memory: limits.memory, output: limits.output };
    let running = Instant::now();
    let outcome = runtime.block_on(compiled.run(handles, limits, Box::new(Session(agent)), &arguments));
    match outcome {
        Ok(EngineOutcome::Succeeded) => Outcome::Succeeded { ran: micros(running.elapsed()) },
        Ok(EngineOutcome::Failed { code, message }) => Outcome::Failed { code, message },
        Ok(EngineOutcome::Trapped(reason)) => Outcome::Trapped { reason },
        Ok(EngineOutcome::OverLimit(limit)) => Outcome::OverLimit { limit },
        Ok(EngineOutcome::HostStopped) => not_started("the agent is gone".to_owned()),
        Err(error) => not_started(error.to_string()),
    }
}

/// The component lies in a sealed file in memory: its length is what it says.
fn read_whole(mut file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(file.metadata()?.len()).unwrap_or(0));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
