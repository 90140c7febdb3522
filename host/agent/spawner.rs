//! The spawner: a process that starts workers and does nothing else.
//!
//! It is the first thing an agent starts. Where the agent has a user of its own, the spawner has the workers'
//! user and keeps two capabilities, so that a worker can take the file-system identity of the runner's user;
//! the agent keeps none. It understands one message ([`Spawn`]), and ends its workers when the agent ends.

use attest_evidence::report::{Explain, Fault, Report};
use attest_wire::spawner::{Ended, Spawn};
use attest_wire::{Channel, WireError};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Gid, Pid, PidfdFlags, Signal, Uid, pidfd_open, pidfd_send_signal};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// The user that workers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerUser {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Why no worker could be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    /// The program of workers is not there.
    #[error("the worker's program can't be found at {}", .0.display())]
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
            Self::NoProgram(_) => Report::new("AR-W101", Fault::Environment, self.to_string())
                .hint("attest-worker belongs beside attest-run: install them together"),
            Self::Spawner { .. } => Report::new("AR-W102", Fault::Environment, self.to_string()),
        }
    }
}

/// The argument by which a program knows that it shall be the spawner: it then calls [`serve_spawner`].
const SPAWNER_ARGUMENT: &str = "__spawner";

/// An agent's connection to its spawner.
#[derive(Debug)]
pub struct Spawner {
    channel: Mutex<Channel>,
    own_user: bool,
}

/// A worker that has been started.
pub(crate) struct Started {
    /// The agent's end of the connection.
    pub(crate) channel: Channel,
    /// The worker lives as long as this; how it ended comes over it.
    pub(crate) lifeline: UnixStream,
}

impl Spawner {
    /// Starts the spawner. To be called before anything else: it inherits what this process may do.
    ///
    /// # Errors
    /// See [`SpawnError`].
    pub fn start(worker: &Path, user: Option<WorkerUser>) -> Result<Self, SpawnError> {
        if !worker.is_file() {
            return Err(SpawnError::NoProgram(worker.to_owned()));
        }
        let failed = |reason: String| SpawnError::Spawner { what: "can't be started", reason };
        let (ours, theirs) = Channel::pair().map_err(|error| failed(error.to_string()))?;
        let mut command = Command::new("/proc/self/exe");
        command.arg(SPAWNER_ARGUMENT).arg(worker);
        if let Some(user) = user {
            command.args([user.uid.to_string(), user.gid.to_string()]);
        }
        command
            .stdin(Stdio::from(OwnedFd::from(theirs.into_stream())))
            .stdout(Stdio::null())
            .process_group(0) // a terminal's Ctrl-C is for the agent, which ends its workers in good order
            .env_clear()
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        match ours.receive::<Result<(), String>>() {
            Ok(Ok(())) => Ok(Self { channel: Mutex::new(ours), own_user: user.is_some() }),
            Ok(Err(reason)) => Err(failed(reason)),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// Whether workers have a user of their own.
    pub const fn has_own_user(&self) -> bool {
        self.own_user
    }

    /// Waits until the spawner has ended.
    pub(crate) fn gone(&self) -> io::Result<impl Future<Output = ()> + use<>> {
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

    /// Starts a worker that touches files as `files_of`.
    pub(crate) fn spawn(&self, files_of: WorkerUser) -> Result<Started, SpawnError> {
        let failed = |error: WireError| SpawnError::Spawner { what: "is gone", reason: error.to_string() };
        let (channel, theirs) = Channel::pair().map_err(failed)?;
        let (lifeline, held) = UnixStream::pair().map_err(|error| failed(error.into()))?;
        let spawn = Spawn { file_uid: files_of.uid, file_gid: files_of.gid };
        self.channel
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send_with(&spawn, &[theirs.stream().as_fd(), held.as_fd()])
            .map_err(failed)?;
        Ok(Started { channel, lifeline })
    }
}

/// One worker, as the spawner sees it.
struct Worker {
    child: Child,
    pidfd: OwnedFd,
    lifeline: Channel,
}

/// The spawner's life: until its standard input, the connection to the agent, ends.
///
/// `arguments` are the worker's program and, where workers have a user of their own, its uid and gid.
///
/// # Errors
/// What the operating system reports when it no longer lets it work.
pub fn serve_spawner(arguments: &[String]) -> io::Result<()> {
    let channel = Channel::new(UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?));
    let prepared = prepare(arguments);
    let told = channel.send(&prepared.as_ref().map(|_| ()).map_err(Clone::clone));
    let (Ok((program, own_user)), Ok(())) = (prepared, told) else { return Ok(()) };
    let mut workers: Vec<Worker> = Vec::new();
    loop {
        let mut watched = vec![PollFd::new(channel.stream(), PollFlags::IN)];
        for worker in &workers {
            watched.push(PollFd::new(&worker.pidfd, PollFlags::IN));
            watched.push(PollFd::new(worker.lifeline.stream(), PollFlags::IN));
        }
        match poll(&mut watched, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let asked = watched.first().is_some_and(|fd| !fd.revents().is_empty());
        let ready: Vec<bool> = watched
            .get(1..)
            .unwrap_or_default()
            .chunks(2)
            .map(|pair| pair.iter().any(|fd| !fd.revents().is_empty()))
            .collect();
        drop(watched);
        let mut ready = ready.into_iter();
        workers.retain_mut(|worker| !ready.next().unwrap_or(false) || !end(worker));
        if asked {
            match channel.receive_with::<Spawn>() {
                Ok((spawn, descriptors)) => workers.extend(start(&program, own_user, spawn, descriptors)),
                Err(_) => {
                    // The agent is gone; nobody may run on its behalf.
                    workers.iter_mut().for_each(kill);
                    return Ok(());
                }
            }
        }
    }
}

/// Takes the workers' user, keeping the two capabilities that a worker needs for a moment, and nothing else.
fn prepare(arguments: &[String]) -> Result<(PathBuf, bool), String> {
    let program = |text: &String| PathBuf::from(text);
    let (worker, user) = match arguments {
        [worker] => return Ok((program(worker), false)),
        [worker, uid, gid] => {
            let uid = uid.parse().map_err(|_| "bad uid".to_owned())?;
            let gid = gid.parse().map_err(|_| "bad gid".to_owned())?;
            (program(worker), WorkerUser { uid, gid })
        }
        _ => return Err("bad arguments".to_owned()),
    };
    if user.uid == 0 {
        return Err("workers can't be root's".to_owned());
    }
    let become_worker = || {
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_keep_capabilities(true)?;
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        let kept = CapabilitySet::SETUID | CapabilitySet::SETGID;
        rustix::thread::set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: kept })?;
        for capability in [rustix::thread::CapabilitySet::SETUID, rustix::thread::CapabilitySet::SETGID] {
            rustix::thread::configure_capability_in_ambient_set(capability, true)?;
        }
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    };
    become_worker().map_err(|error| format!("it can't take the workers' user {}: {error}", user.uid))?;
    Ok((worker, true))
}

/// Starts a worker, or says over its lifeline why not.
fn start(program: &Path, own_user: bool, spawn: Spawn, descriptors: Vec<OwnedFd>) -> Option<Worker> {
    let [connection, lifeline] = <[OwnedFd; 2]>::try_from(descriptors).ok()?;
    let lifeline = Channel::new(UnixStream::from(lifeline));
    let not_started = |reason: String| {
        let _ = lifeline.send(&Ended::NotStarted(reason));
    };
    let mut command = Command::new(program);
    if own_user {
        if spawn.file_uid == 0 || spawn.file_gid == 0 {
            not_started("a step's files can't be root's: the runner's user is root".to_owned());
            return None;
        }
        command.args(["--files-of", &spawn.file_uid.to_string(), &spawn.file_gid.to_string()]);
    }
    let child = command
        .stdin(Stdio::from(connection))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .env_clear()
        .current_dir("/")
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            not_started(error.to_string());
            return None;
        }
    };
    let pidfd = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(rustix::io::Errno::SRCH)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
    match pidfd {
        Ok(pidfd) => Some(Worker { child, pidfd, lifeline }),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            not_started(error.to_string());
            None
        }
    }
}

/// A worker has ended by itself, or its lifeline has been let go. Either way it ends now.
fn end(worker: &mut Worker) -> bool {
    kill(worker);
    let ended = match worker.child.wait() {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => Ended::Exited(code),
            (None, signal) => Ended::Signalled(signal.unwrap_or(0)),
        },
        Err(error) => Ended::NotStarted(error.to_string()),
    };
    let _ = worker.lifeline.send(&ended);
    true
}

/// The spawner has the workers' user, so that it may. One that has ended is left as it is.
fn kill(worker: &mut Worker) {
    if let Ok(None) = worker.child.try_wait() {
        let _ = pidfd_send_signal(&worker.pidfd, Signal::KILL);
    }
}
