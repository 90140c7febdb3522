//! What somebody can do who has broken out of WebAssembly: a native program in the worker's place, behind the
//! worker's own walls, tries what its arguments say and tells how it went.
//!
//! A file `without` beside it names walls to leave out, to see that each holds something back.

use attest_evidence::exchange::KeyFormat;
use attest_walls::{Identity, User, Wall, Walls, seclude};
use attest_wire::compiler::Compile;
use attest_wire::search::Search;
use attest_wire::worker::{FromWorker, Level, Outcome, Signed, Start};
use attest_wire::{Channel, WireError};
use attest_worker::fence;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

fn main() {
    let walls = walls();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Compiling and searching are other roles of the program whose place it takes: it leaves them as they are.
    if let Some(role @ ("--compile" | "--search")) = arguments.first().map(String::as_str) {
        return keep_to(role);
    }
    let identity = match arguments.as_slice() {
        [_, uid, gid] => Identity::FilesOf(User { uid: uid.parse().unwrap(), gid: gid.parse().unwrap() }),
        _ => Identity::Unchanged,
    };
    seclude(&walls, identity).unwrap();
    let channel = Channel::new(UnixStream::from(io::stdin().as_fd().try_clone_to_owned().unwrap()));
    let (start, descriptors) = channel.receive_with::<Start>().unwrap();
    let directories: Vec<_> = descriptors
        .iter()
        .skip(1)
        .zip(&start.directories)
        .map(|(descriptor, granted)| (descriptor.as_fd(), granted.mode))
        .collect();
    walls.raise(&fence(directories.clone())).unwrap();

    let mut arguments = start.arguments.iter().map(String::as_str);
    let trick = arguments.next().unwrap();
    let what = arguments.next().unwrap_or_default();
    let result = match trick {
        "escape" => {
            let named = |name: &str| {
                let at = start.directories.iter().position(|granted| granted.name.as_str() == name).unwrap();
                directories[at].0
            };
            escape(what, named("work"), named("readonly"))
        }
        "call" => {
            if what == "before" {
                call(&channel).unwrap();
            }
            Ok(())
        }
        _ => attempt(trick, what),
    };
    let message = match result {
        Ok(()) => format!("{trick}: got through"),
        Err(error) => format!("{trick}: {error}"),
    };
    channel.send(&FromWorker::Log { level: Level::Info, message, last: true }).unwrap();
    channel.send(&FromWorker::Done { outcome: Outcome::Succeeded { ran: 0 }, files: Vec::new() }).unwrap();
    if trick == "call" && what == "after" {
        // Whether anybody hears it is the question.
        let _ = call(&channel);
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Says something, and has something signed.
fn call(channel: &Channel) -> Result<(), WireError> {
    channel.send(&FromWorker::Log { level: Level::Info, message: "a call".to_owned(), last: true })?;
    channel.send(&FromWorker::SignBegin { key: "release".parse().unwrap(), format: KeyFormat::Raw })?;
    channel.send(&FromWorker::SignChunk(b"a message".to_vec()))?;
    channel.send(&FromWorker::SignEnd)?;
    channel.receive::<Signed>().map(drop)
}

/// Does what the worker's program does in this role.
fn keep_to(role: &str) {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if role == "--compile" {
        let (channel, Compile, descriptors) = attest_worker::begin(&arguments).unwrap();
        attest_worker::compile(&channel, descriptors, &Walls::all());
    } else {
        let (channel, search, descriptors) = attest_worker::begin::<Search>(&arguments).unwrap();
        attest_worker::search(&channel, search, descriptors, &Walls::all());
    }
}

/// All walls but those that the file beside the program names.
fn walls() -> Walls {
    let file = std::env::current_exe().unwrap().with_file_name("without");
    let without = std::fs::read_to_string(file).unwrap_or_default();
    without.split_whitespace().fold(Walls::all(), |walls, name| {
        walls.without(match name {
            "identity" => Wall::Identity,
            "descriptors" => Wall::Descriptors,
            "resources" => Wall::Resources,
            "landlock" => Wall::Landlock,
            "seccomp" => Wall::Seccomp,
            other => panic!("no wall {other}"),
        })
    })
}

/// Ways out of the directories that were granted, `work` and `readonly`, by the calls that the worker makes for a
/// step, and with nobody looking at their arguments.
fn escape(way: &str, work: BorrowedFd<'_>, readonly: BorrowedFd<'_>) -> io::Result<()> {
    use rustix::fs::{AtFlags, Mode, OFlags, linkat, openat, renameat, symlinkat, unlinkat};
    let open = |path: &str| openat(work, path, OFlags::RDONLY, Mode::empty()).map(drop);
    let change = |flags| openat(readonly, "file", flags, Mode::empty());
    Ok(match way {
        "parent" => open("../outside/file"),
        "deep" => open("sub/../../outside/file"),
        "absolute" => open("/etc/passwd"),
        "proc" => open("/proc/self/limits"),
        "symlink" => open("link-outside"),
        "symlink-absolute" => open("link-absolute"),
        "hard-link" => linkat(work, "../outside/file", work, "linked", AtFlags::empty()),
        "make-symlink" => symlinkat("../outside/file", work, "made").and_then(|()| open("made")),
        "rename-out" => renameat(work, "inside", work, "../outside/renamed"),
        "rename-across" => renameat(work, "inside", readonly, "moved"),
        "truncate-readonly" => change(OFlags::WRONLY | OFlags::TRUNC).map(drop),
        "set-size-readonly" => change(OFlags::WRONLY).and_then(|file| rustix::fs::ftruncate(file, 0)),
        "remove-readonly" => unlinkat(readonly, "file", AtFlags::empty()),
        other => panic!("no way {other}"),
    }?)
}

fn check(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn attempt(trick: &str, what: &str) -> io::Result<()> {
    let path = CString::new(what).unwrap();
    // SAFETY: plain system calls on arguments that live through them; what they may break is this process.
    unsafe {
        match trick {
            "read" => std::fs::read(what).map(drop),
            "write" => std::fs::write(what, b"by the intruder"),
            "device" => std::fs::File::options().read(true).write(true).open(what).map(drop),
            "udp" => std::net::UdpSocket::bind("127.0.0.1:0")?.send_to(b"secret", what).map(drop),
            "tcp" => std::net::TcpStream::connect(what).map(drop),
            "unix" => UnixStream::connect(what).map(drop),
            "trace" => check(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0)),
            "fork" => {
                let child = libc::fork();
                if child == 0 {
                    libc::_exit(0);
                }
                check(child.into())
            }
            "execute" => {
                let arguments = [path.as_ptr(), std::ptr::null()];
                let none = [std::ptr::null()];
                // A success does not come back: what is executed ends the process with its own status.
                check(libc::execve(path.as_ptr(), arguments.as_ptr(), none.as_ptr()).into())
            }
            "signal" => check(libc::kill(what.parse().unwrap(), 0).into()),
            // A signal by way of a descriptor that somebody else owns: sent when there is something to read.
            "own" => {
                let mut pair = [0; 2];
                check(libc::pipe2(pair.as_mut_ptr(), libc::O_CLOEXEC).into())?;
                check(libc::fcntl(pair[0], libc::F_SETOWN, what.parse::<libc::pid_t>().unwrap()).into())
            }
            "files-of" => {
                let uid: libc::uid_t = what.parse().unwrap();
                libc::setfsuid(uid);
                if u32::try_from(libc::setfsuid(libc::uid_t::MAX)) == Ok(uid) {
                    Ok(())
                } else {
                    Err(io::Error::from_raw_os_error(libc::EPERM))
                }
            }
            "descriptor" => check(libc::fcntl(what.parse().unwrap(), libc::F_GETFD).into()),
            other => panic!("no trick {other}"),
        }
    }
}
