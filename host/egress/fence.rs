//! What egress has to reach, and what it may consume.

use attest_walls::{Calls, Fence, Only, Resource};
use libc::{
    SYS_bind, SYS_brk, SYS_clock_gettime, SYS_close, SYS_connect, SYS_epoll_ctl, SYS_exit_group, SYS_futex,
    SYS_getpeername, SYS_getpid, SYS_getrandom, SYS_getsockname, SYS_gettid, SYS_madvise, SYS_mmap, SYS_mremap,
    SYS_munmap, SYS_recvfrom, SYS_rt_sigprocmask, SYS_sendto, SYS_shutdown, SYS_sigaltstack, SYS_write, SYS_writev,
};

/// The system calls that sending requests needs. Free are those that touch this process, its descriptors, and its network.
pub const CALLS: Calls = Calls { free: FREE, bound: BOUND };

/// The fence of egress: no file, and the network.
pub fn fence() -> Fence<'static> {
    Fence { directories: Vec::new(), connects: true, calls: CALLS, limits: LIMITS }
}

const FREE: &[i64] = &[
    // Memory.
    SYS_brk,
    SYS_madvise,
    SYS_mmap,
    SYS_mremap,
    SYS_munmap,
    // This thread.
    SYS_clock_gettime,
    SYS_exit_group,
    SYS_futex,
    SYS_getrandom,
    SYS_sigaltstack,
    // Connections: stream calls alone, so that no descriptor comes or goes.
    SYS_close,
    SYS_connect,
    SYS_epoll_ctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(not(target_arch = "x86_64"))]
    libc::SYS_epoll_pwait,
    SYS_getpeername,
    SYS_getsockname,
    SYS_recvfrom,
    SYS_sendto,
    SYS_shutdown,
    SYS_write,
    SYS_writev,
    // Questions to name servers come from ports of chance. (Landlock lets no TCP port be bound.)
    SYS_bind,
    // abort().
    SYS_getpid,
    SYS_gettid,
    SYS_rt_sigprocmask,
];

const BOUND: &[(i64, Only)] = &[
    // The Internet, and nothing that is of this machine alone: no Unix socket, no netlink, no packets.
    (libc::SYS_socket, Only::OneOf(0, &[libc::AF_INET, libc::AF_INET6])),
    (libc::SYS_setsockopt, Only::OneOf(1, &[libc::SOL_SOCKET, libc::IPPROTO_TCP])),
    (libc::SYS_getsockopt, Only::OneOf(1, &[libc::SOL_SOCKET])),
    // abort(): a signal to this very process.
    (libc::SYS_tgkill, Only::OwnProcess(0)),
    (libc::SYS_rt_sigaction, Only::OneOf(0, &[libc::SIGABRT])),
];

/// No process and no thread beside the one there is. No core dump: it holds secrets. No file.
const LIMITS: &[(Resource, u64)] = &[
    // Private memory that may be written: what a worker and 32 servers may send before it is read is some 100 MiB.
    (Resource::Data, 512 << 20),
    (Resource::Nproc, 0),
    (Resource::Core, 0),
    // Connections: for each of 32 requests and for as many that are kept, and those to name servers.
    (Resource::Nofile, 512),
    (Resource::Fsize, 0),
    // Nothing is queued for anybody.
    (Resource::Msgqueue, 0),
];
