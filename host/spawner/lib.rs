//! The spawner: a process that starts workers and egress processes, and does nothing else.
//!
//! It is the first thing an agent starts. Where the agent has a user of its own, the spawner has the workers' user and
//! keeps three capabilities: two that its children hold for a moment, so that a worker can take the file-system identity
//! of the runner's user and egress a user of its own; and the one to end what has another user. The agent keeps none. It
//! understands one message ([`Spawn`]), and ends what it has started when the agent ends.

mod serve;

use attest_evidence::report::{Explain, Fault, Report};
use attest_wire::spawner::Spawn;
use attest_wire::{Channel, WireError};
use rustix::event::{PollFd, PollFlags, poll};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

pub use serve::serve;

/// A user of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A spawner's own program, and those that it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// `attest-spawner`.
    pub spawner: PathBuf,
    /// `attest-worker`.
    pub worker: PathBuf,
    /// `attest-egress`.
    pub egress: PathBuf,
}

/// The users that they run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Users {
    /// Workers.
    pub worker: User,
    /// Egress processes.
    pub egress: User,
}

/// Why nothing could be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    /// A program is not there.
    #[error("`{}` can't be found", .0.display())]
    NoProgram(PathBuf),
    /// The spawner can't be started or has ended.
    #[error("the spawner {what}: {reason}")]
    Spawner {
        /// What happened to it.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

impl Explain for SpawnError {
    fn report(&self) -> Report {
        match self {
            Self::NoProgram(_) => Report::new("AR-W101", Fault::Environment, self.to_string()).hint(
                "attest-spawner, attest-worker and attest-egress belong beside attest-agent: install them together",
            ),
            Self::Spawner { .. } => Report::new("AR-W102", Fault::Environment, self.to_string()),
        }
    }
}

/// An agent's connection to its spawner.
#[derive(Debug)]
pub struct Spawner {
    channel: Mutex<Channel>,
    own_user: bool,
}

/// A process that has been started.
pub struct Started {
    /// The agent's end of the connection.
    pub channel: Channel,
    /// The process lives as long as this; how it ended comes over it.
    pub lifeline: UnixStream,
}

/// A spawner that has been started and has not said yet whether it can work.
#[derive(Debug)]
pub struct Starting(Spawner);

impl Starting {
    /// Waits until it can.
    ///
    /// # Errors
    /// [`SpawnError::Spawner`].
    pub fn ready(self) -> Result<Spawner, SpawnError> {
        let Self(spawner) = self;
        let said = spawner.channel.lock().unwrap_or_else(PoisonError::into_inner).receive::<Result<(), String>>();
        match said {
            Ok(Ok(())) => Ok(spawner),
            Ok(Err(reason)) => Err(not_started(reason)),
            Err(error) => Err(not_started(error.to_string())),
        }
    }
}

fn not_started(reason: String) -> SpawnError {
    SpawnError::Spawner { what: "can't be started", reason }
}

impl Spawner {
    /// Starts the spawner. To be called before anything else: it inherits what this process may do.
    ///
    /// # Errors
    /// See [`SpawnError`].
    pub fn start(programs: &Programs, users: Option<Users>) -> Result<Starting, SpawnError> {
        for program in [&programs.spawner, &programs.worker, &programs.egress] {
            if !program.is_file() {
                return Err(SpawnError::NoProgram(program.clone()));
            }
        }
        let (ours, theirs) = Channel::pair().map_err(|error| not_started(error.to_string()))?;
        let mut command = Command::new(&programs.spawner);
        command.args([&programs.worker, &programs.egress]);
        if let Some(Users { worker, egress }) = users {
            command.args([worker.uid, worker.gid, egress.uid, egress.gid].map(|id| id.to_string()));
        }
        command
            .stdin(Stdio::from(OwnedFd::from(theirs.into_stream())))
            .stdout(Stdio::null())
            .process_group(0) // a terminal's Ctrl-C is for the agent, which ends its workers in good order
            .env_clear()
            .spawn()
            .map_err(|error| not_started(error.to_string()))?;
        Ok(Starting(Self { channel: Mutex::new(ours), own_user: users.is_some() }))
    }

    /// Whether workers have a user of their own.
    pub const fn has_own_user(&self) -> bool {
        self.own_user
    }

    /// Waits until the spawner has ended.
    ///
    /// # Errors
    /// What the operating system reports when it gives no thread to wait in.
    pub fn gone(&self) -> io::Result<impl Future<Output = ()> + use<>> {
        let stream = self.channel.lock().unwrap_or_else(PoisonError::into_inner).stream().try_clone()?;
        let (tell, told) = tokio::sync::oneshot::channel();
        // A thread that waits: to wait otherwise, the connection would have to be made non-blocking for all.
        std::thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            // The spawner says nothing unasked, and is asked for nothing that it answers here: there is something to
            // read when it has ended.
            while let Err(rustix::io::Errno::INTR) = poll(&mut [PollFd::new(&stream, PollFlags::IN)], None) {}
            let _ = tell.send(());
        })?;
        Ok(async {
            let _ = told.await;
        })
    }

    /// Starts a process.
    ///
    /// # Errors
    /// [`SpawnError::Spawner`]. A process that could not be started says so over its lifeline.
    pub fn spawn(&self, spawn: Spawn) -> Result<Started, SpawnError> {
        let failed = |error: WireError| SpawnError::Spawner { what: "is gone", reason: error.to_string() };
        let (channel, theirs) = Channel::pair().map_err(failed)?;
        let (lifeline, held) = UnixStream::pair().map_err(|error| failed(error.into()))?;
        self.channel
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send_with(&spawn, &[theirs.stream().as_fd(), held.as_fd()])
            .map_err(failed)?;
        Ok(Started { channel, lifeline })
    }
}
