//! The spawner from inside: its whole life.

use crate::{User, Users};
use attest_wire::Channel;
use attest_wire::spawner::{Ended, Spawn};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Gid, Pid, PidfdFlags, Signal, Uid, pidfd_open, pidfd_send_signal};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The programs that it starts.
struct Programs {
    worker: PathBuf,
    egress: PathBuf,
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
pub fn serve(arguments: &[String]) -> io::Result<()> {
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
