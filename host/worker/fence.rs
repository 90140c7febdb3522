//! What a worker has to reach, and what it may consume.

use attest_evidence::exchange::DirectoryMode;
use attest_walls::{Calls, Fence, Only, Resource};
use libc::{
    SYS_brk, SYS_clock_gettime, SYS_close, SYS_epoll_ctl, SYS_epoll_wait, SYS_exit_group, SYS_fadvise64, SYS_fdatasync,
    SYS_fsync, SYS_ftruncate, SYS_futex, SYS_getdents64, SYS_getpid, SYS_getrandom, SYS_gettid, SYS_linkat, SYS_lseek,
    SYS_madvise, SYS_mkdirat, SYS_mmap, SYS_mprotect, SYS_mremap, SYS_munmap, SYS_openat, SYS_openat2, SYS_pread64,
    SYS_pwrite64, SYS_pwritev2, SYS_read, SYS_readlinkat, SYS_recvfrom, SYS_renameat, SYS_restart_syscall,
    SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sched_yield, SYS_sendto, SYS_shutdown, SYS_sigaltstack, SYS_statx,
    SYS_symlinkat, SYS_unlinkat, SYS_utimensat, SYS_write, SYS_writev,
};
use std::os::fd::BorrowedFd;

/// The system calls that running a component needs. Free are those that touch this process, its descriptors, or files
/// that landlock lets through.
pub const CALLS: Calls = Calls { free: FREE, bound: BOUND };

/// The fence of a worker that was given these directories.
pub fn fence(directories: Vec<(BorrowedFd<'_>, DirectoryMode)>) -> Fence<'_> {
    Fence { directories, connects: false, calls: CALLS, limits: LIMITS }
}

const FREE: &[i64] = &[
    // Memory.
    SYS_brk,
    SYS_madvise,
    SYS_mmap,
    SYS_mprotect,
    SYS_mremap,
    SYS_munmap,
    // This thread, and traps of WebAssembly.
    SYS_clock_gettime,
    SYS_exit_group,
    SYS_futex,
    SYS_getrandom,
    SYS_restart_syscall,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sched_yield,
    SYS_sigaltstack,
    // The connections to the agent and to egress: stream calls alone, so that no descriptor comes or goes.
    SYS_epoll_ctl,
    SYS_epoll_wait,
    SYS_read,
    SYS_recvfrom,
    SYS_sendto,
    SYS_shutdown,
    SYS_write,
    SYS_writev,
    // Files below the granted directories.
    SYS_close,
    SYS_fadvise64,
    SYS_fdatasync,
    SYS_fsync,
    SYS_ftruncate,
    SYS_getdents64,
    SYS_linkat,
    SYS_lseek,
    SYS_mkdirat,
    SYS_openat,
    SYS_openat2,
    SYS_pread64,
    SYS_pwrite64,
    SYS_pwritev2,
    SYS_readlinkat,
    SYS_renameat,
    SYS_statx,
    SYS_symlinkat,
    SYS_unlinkat,
    SYS_utimensat,
    // abort().
    SYS_getpid,
    SYS_gettid,
];

const BOUND: &[(i64, Only)] = &[
    // abort(): a signal to this very process.
    (libc::SYS_tgkill, Only::OwnProcess(0)),
    // What a signal handler may be set for: traps, and abort's own.
    (libc::SYS_rt_sigaction, Only::OneOf(0, &[libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE])),
    // What may be done with a descriptor. To have signals sent (`F_SETOWN`) is not among it: the spawner and other
    // workers have the same user, and could be killed by it.
    (libc::SYS_fcntl, Only::OneOf(1, &[libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_GETFL])),
];

/// No process and no thread beside the one there is. No core dump: it could hold a secret.
const LIMITS: &[(Resource, u64)] = &[
    // Private memory that may be written: a manifest can ask for 2 GiB of linear memory (the engine holds each step to
    // what its own asks for), and compiling a component of the largest size takes less than another 2.
    (Resource::Data, 4 << 30),
    (Resource::Nproc, 0),
    (Resource::Core, 0),
    // Files that a step opens, and the streams over them.
    (Resource::Nofile, 1024),
    // The largest file that a step may write: an image, a release.
    (Resource::Fsize, 16 << 30),
    // Nothing is queued for anybody.
    (Resource::Msgqueue, 0),
];
