//! From the agent's message to walls that stand.

use crate::exchange::Timeouts;
use crate::fence::fence;
use crate::granted::Granted;
use crate::names::SystemNames;
use crate::reach::Hosts;
use crate::serve::{Lease, serve};
use crate::trust;
use attest_walls::{Identity, User, WallError, Walls, seclude};
use attest_wire::egress::{FromEgress, Start};
use attest_wire::{Channel, WireError};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use tokio::runtime::{Builder, Runtime};

/// Why egress can't even begin.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The arguments are not those that the agent gives.
    #[error("its arguments are not `[--user UID GID]`")]
    Arguments,
    /// A wall that comes first.
    #[error(transparent)]
    Wall(#[from] WallError),
    /// Standard input is not a connection to an agent, or the agent is gone.
    #[error("its standard input is not an agent: {0}")]
    NoAgent(#[from] WireError),
}

/// Takes the identity that the arguments name, gives up every privilege, and hears what may be sent.
///
/// # Errors
/// See [`BeginError`].
pub fn begin(arguments: impl Iterator<Item = OsString>) -> Result<(Channel, Start, Vec<OwnedFd>), BeginError> {
    let arguments: Vec<String> =
        arguments.map(OsString::into_string).collect::<Result<_, _>>().map_err(|_| BeginError::Arguments)?;
    let identity = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => Identity::Unchanged,
        ["--user", uid, gid] => Identity::Of(User::parse(uid, gid).ok_or(BeginError::Arguments)?),
        _ => return Err(BeginError::Arguments),
    };
    seclude(&Walls::all(), identity)?;
    let channel = Channel::at_stdin().map_err(WireError::from)?;
    let (start, descriptors) = channel.receive_with()?;
    Ok((channel, start, descriptors))
}

/// Makes everything ready that reads a file, raises `walls`, and sends requests to the end.
pub fn run(channel: Channel, start: Start, descriptors: Vec<OwnedFd>, walls: &Walls) -> ExitCode {
    let (runtime, worker, lease) = match prepare(start, descriptors) {
        Ok(prepared) => prepared,
        Err(reason) => {
            // An agent that is gone does not have to know.
            let _ = channel.send(&FromEgress::NotStarted { reason });
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(behind(walls, channel, worker, lease)) {
        Ok(code) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The walls are raised when both connections are such as the runtime needs them: no call that changes one comes after.
async fn behind(walls: &Walls, channel: Channel, worker: UnixStream, lease: Lease) -> Result<ExitCode, WireError> {
    let (hears, mut tells) = attest_wire::split(channel.into_stream())?;
    worker.set_nonblocking(true)?;
    let worker = tokio::net::UnixStream::from_std(worker)?;
    if let Err(error) = walls.raise(&fence()) {
        tells.send(&FromEgress::NotStarted { reason: error.to_string() }).await?;
        return Ok(ExitCode::FAILURE);
    }
    tells.send(&FromEgress::Ready).await?;
    serve((hears, tells), worker, lease).await?;
    Ok(ExitCode::SUCCESS)
}

fn prepare(start: Start, descriptors: Vec<OwnedFd>) -> Result<(Runtime, UnixStream, Lease), String> {
    let Start { origins, secrets, roots } = start;
    let worker = match <[OwnedFd; 1]>::try_from(descriptors) {
        Ok([worker]) => UnixStream::from(worker),
        Err(other) => return Err(format!("{} descriptors came, and one leads to the worker", other.len())),
    };
    let granted = Granted::new(origins, secrets).map_err(|error| error.to_string())?;
    let tls = trust::client(&roots).map_err(|error| error.to_string())?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let names = {
        let _within = runtime.enter();
        SystemNames::read().map_err(|error| error.to_string())?
    };
    let hosts = Hosts::new(Box::new(names));
    Ok((runtime, worker, Lease { granted, hosts, tls, timeouts: Timeouts::DEFAULT }))
}
