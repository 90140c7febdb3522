//! What somebody can do who has broken out of WebAssembly: a native program in the worker's place, behind the
//! worker's own walls, tries what its arguments say and tells how it went.
//!
//! A file `without` beside it names walls to leave out, to see that each holds something back.

use attest_wire::Channel;
use attest_wire::worker::{FromWorker, Level, Outcome, Start};
use attest_worker::walls::{FileIdentity, Wall, Walls, seclude};
use std::ffi::CString;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

fn main() {
    let walls = walls();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let identity = match arguments.as_slice() {
        [_, uid, gid] => Some(FileIdentity { uid: uid.parse().unwrap(), gid: gid.parse().unwrap() }),
        _ => None,
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
    walls.raise(&directories).unwrap();

    let mut arguments = start.arguments.iter().map(String::as_str);
    let trick = arguments.next().unwrap();
    let result = attempt(trick, arguments.next().unwrap_or_default());
    let message = match result {
        Ok(()) => format!("{trick}: got through"),
        Err(error) => format!("{trick}: {error}"),
    };
    channel.send(&FromWorker::Log { level: Level::Info, message }).unwrap();
    channel.send(&FromWorker::Done(Outcome::Succeeded { ran: 0 })).unwrap();
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
            "files-of" => {
                let uid: libc::uid_t = what.parse().unwrap();
                libc::setfsuid(uid);
                if u32::try_from(libc::setfsuid(libc::uid_t::MAX)) == Ok(uid) {
                    Ok(())
                } else {
                    Err(io::Error::from_raw_os_error(libc::EPERM))
                }
            }
            "dumpable" => {
                if libc::prctl(libc::PR_GET_DUMPABLE) == 0 {
                    Err(io::Error::from_raw_os_error(libc::EPERM))
                } else {
                    Ok(())
                }
            }
            "descriptor" => check(libc::fcntl(what.parse().unwrap(), libc::F_GETFD).into()),
            other => panic!("no trick {other}"),
        }
    }
}
