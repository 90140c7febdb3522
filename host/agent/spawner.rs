//! The spawner: a process that starts workers and egress processes, and does nothing else.
//!
//! It is the first thing an agent starts. Where the agent has a user of its own, the spawner has the workers' user and
//! keeps three capabilities: two that its children hold for a moment, so that a worker can take the file-system identity
//! of the runner's user and egress a user of its own; and the one to end what has another user. The agent keeps none. It
//! understands one message ([`Spawn`]), and ends what it has started when the agent ends.

use attest_evidence::report::{Explain, Fault, Report};
use attest_wire::spawner::{Ended, Spawn};
use attest_wire::{Channel, WireError};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Gid, Pid, PidfdFlags, Signal, Uid, pidfd_open, pidfd_send_signal};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// A user of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The programs that a spawner starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
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
            Self::NoProgram(_) => Report::new("AR-W101", Fault::Environment, self.to_string())
                .hint("attest-worker and attest-egress belong beside attest-run: install them together"),
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

/// A process that has been started.
pub(crate) struct Started {
    /// The agent's end of the connection.
    pub(crate) channel: Channel,
    /// The process lives as long as this; how it ended comes over it.
    pub(crate) lifeline: UnixStream,
}

impl Spawner {
    /// Starts the spawner. To be called before anything else: it inherits what this process may do.
    ///
    /// # Errors
    /// See [`SpawnError`].
    pub fn start(programs: &Programs, users: Option<Users>) -> Result<Self, SpawnError> {
        for program in [&programs.worker, &programs.egress] {
            if !program.is_file() {
                return Err(SpawnError::NoProgram(program.clone()));
            }
        }
        let failed = |reason: String| SpawnError::Spawner { what: "can't be started", reason };
        let (ours, theirs) = Channel::pair().map_err(|error| failed(error.to_string()))?;
        let mut command = Command::new("/proc/self/exe");
        command.arg(SPAWNER_ARGUMENT).args([&programs.worker, &programs.egress]);
        if let Some(Users { worker, egress }) = users {
            command.args([worker.uid, worker.gid, egress.uid, egress.gid].map(|id| id.to_string()));
        }
        command
            .stdin(Stdio::from(OwnedFd::from(theirs.into_stream())))
            .stdout(Stdio::null())
            .process_group(0) // a terminal's Ctrl-C is for the agent, which ends its workers in good order
            .env_clear()
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        match ours.receive::<Result<(), String>>() {
            Ok(Ok(())) => Ok(Self { channel: Mutex::new(ours), own_user: users.is_some() }),
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

    /// Starts a process.
    pub(crate) fn spawn(&self, spawn: Spawn) -> Result<Started, SpawnError> {
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

/// One process, as the spawner sees it.
struct Process {
    child: Child,
    pidfd: OwnedFd,
    lifeline: Channel,
    /// It has been killed, and may take its time: it waits for a disk. Nobody waits for it.
    dying: bool,
}

/// The spawner's life: until its standard input, the connection to the agent, ends.
///
/// `arguments` are the programs of worker and egress and, where these have users of their own, the uid and gid of each.
///
/// # Errors
/// What the operating system reports when it no longer lets it work.
pub fn serve_spawner(arguments: &[String]) -> io::Result<()> {
    let channel = Channel::at_stdin()?;
    let prepared = prepare(arguments);
    let told = channel.send(&prepared.as_ref().map(|_| ()).map_err(Clone::clone));
    let (Ok((programs, users)), Ok(())) = (prepared, told) else { return Ok(()) };
    let mut processes: Vec<Process> = Vec::new();
    loop {
        let mut watched = vec![PollFd::new(channel.stream(), PollFlags::IN)];
        for process in &processes {
            watched.push(PollFd::new(&process.pidfd, PollFlags::IN));
            // That the lifeline of one that is dying has been let go is no news.
            let news = if process.dying { PollFlags::empty() } else { PollFlags::IN };
            let lifeline: BorrowedFd<'_> =
                if process.dying { process.pidfd.as_fd() } else { process.lifeline.stream().as_fd() };
            watched.push(PollFd::from_borrowed_fd(lifeline, news));
        }
        match poll(&mut watched, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let asked = watched.first().is_some_and(|fd| !fd.revents().is_empty());
        let ready: Vec<(bool, bool)> = watched
            .get(1..)
            .unwrap_or_default()
            .chunks(2)
            .map(|pair| {
                let mut set = pair.iter().map(|fd| !fd.revents().is_empty());
                (set.next().unwrap_or(false), set.next().unwrap_or(false))
            })
            .collect();
        drop(watched);
        let mut ready = ready.into_iter();
        processes.retain_mut(|process| match ready.next() {
            // It has ended.
            Some((true, _)) => {
                tell(process);
                false
            }
            // Its lifeline has been let go: it ends now.
            Some((false, true)) if !process.dying => {
                kill(process);
                process.dying = true;
                true
            }
            _ => true,
        });
        if asked {
            match channel.receive_with::<Spawn>() {
                Ok((spawn, descriptors)) => processes.extend(start(&programs, users, spawn, descriptors)),
                Err(_) => {
                    // The agent is gone; nobody may run on its behalf.
                    processes.iter_mut().for_each(kill);
                    return Ok(());
                }
            }
        }
    }
}

/// Takes the workers' user, keeping the capabilities that are needed to start and end others, and nothing else.
fn prepare(arguments: &[String]) -> Result<(Programs, Option<Users>), String> {
    let (worker, egress, ids) = match arguments {
        [worker, egress, ids @ ..] => (worker, egress, ids),
        _ => return Err("bad arguments".to_owned()),
    };
    let programs = Programs { worker: worker.into(), egress: egress.into() };
    let ids: Vec<u32> = ids.iter().map(|id| id.parse()).collect::<Result<_, _>>().map_err(|_| "bad id".to_owned())?;
    let users = match ids.as_slice() {
        [] => return Ok((programs, None)),
        [uid, gid, egress_uid, egress_gid] => {
            Users { worker: User { uid: *uid, gid: *gid }, egress: User { uid: *egress_uid, gid: *egress_gid } }
        }
        _ => return Err("bad arguments".to_owned()),
    };
    if users.worker.uid == 0 || users.egress.uid == 0 {
        return Err("workers and egress can't be root's".to_owned());
    }
    let user = users.worker;
    let become_worker = || {
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_keep_capabilities(true)?;
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        let passed_on = CapabilitySet::SETUID | CapabilitySet::SETGID;
        let kept = passed_on | CapabilitySet::KILL;
        let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: passed_on };
        rustix::thread::set_capabilities(None, sets)?;
        for capability in passed_on.iter() {
            rustix::thread::configure_capability_in_ambient_set(capability, true)?;
        }
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    };
    become_worker().map_err(|error| format!("it can't take the workers' user {}: {error}", user.uid))?;
    Ok((programs, Some(users)))
}

/// Starts a process, or says over its lifeline why not.
fn start(programs: &Programs, users: Option<Users>, spawn: Spawn, descriptors: Vec<OwnedFd>) -> Option<Process> {
    let [connection, lifeline] = <[OwnedFd; 2]>::try_from(descriptors).ok()?;
    let lifeline = Channel::new(UnixStream::from(lifeline));
    let not_started = |reason: String| {
        let _ = lifeline.send(&Ended::NotStarted(reason));
    };
    let (program, argument, user) = match spawn {
        Spawn::Worker { file_uid, file_gid } => {
            (&programs.worker, "--files-of", users.map(|_| User { uid: file_uid, gid: file_gid }))
        }
        Spawn::Searcher { file_uid, file_gid } => {
            (&programs.worker, "--files-of", users.map(|_| User { uid: file_uid, gid: file_gid }))
        }
        Spawn::Compiler => (&programs.worker, "", None),
        Spawn::Egress => (&programs.egress, "--user", users.map(|users| users.egress)),
    };
    let mut command = Command::new(program);
    match spawn {
        Spawn::Compiler => drop(command.arg("--compile")),
        Spawn::Searcher { .. } => drop(command.arg("--search")),
        Spawn::Worker { .. } | Spawn::Egress => {}
    }
    if let Some(user) = user {
        if user.uid == 0 || user.gid == 0 {
            not_started("a step's files can't be root's: the runner's user is root".to_owned());
            return None;
        }
        command.args([argument, &user.uid.to_string(), &user.gid.to_string()]);
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
        Ok(pidfd) => Some(Process { child, pidfd, lifeline, dying: false }),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            not_started(error.to_string());
            None
        }
    }
}

/// Tells over its lifeline how a process has ended.
fn tell(process: &mut Process) {
    let ended = match process.child.wait() {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => Ended::Exited(code),
            (None, signal) => Ended::Signalled(signal.unwrap_or(0)),
        },
        Err(error) => Ended::NotStarted(error.to_string()),
    };
    let _ = process.lifeline.send(&ended);
}

/// The spawner may: workers have its user, and for egress it has kept the capability. One that has ended is left as it is.
fn kill(process: &mut Process) {
    if let Ok(None) = process.child.try_wait() {
        let _ = pidfd_send_signal(&process.pidfd, Signal::KILL);
    }
}
