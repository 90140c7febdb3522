//! The system calls that running a component needs. Any other ends the process.
//!
//! The list is data: a test runs every kind of step, and fails for a rule that none of them needs.

use super::{Wall, WallError};
use libc::{
    SYS_brk, SYS_clock_gettime, SYS_close, SYS_exit_group, SYS_fadvise64, SYS_fcntl, SYS_fdatasync, SYS_fsync,
    SYS_ftruncate, SYS_futex, SYS_getdents64, SYS_getpid, SYS_getrandom, SYS_gettid, SYS_linkat, SYS_lseek,
    SYS_madvise, SYS_mkdirat, SYS_mmap, SYS_mprotect, SYS_mremap, SYS_munmap, SYS_openat, SYS_openat2, SYS_pread64,
    SYS_pwrite64, SYS_pwritev2, SYS_read, SYS_readlinkat, SYS_recvfrom, SYS_renameat, SYS_restart_syscall,
    SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sched_yield, SYS_sendto, SYS_sigaltstack, SYS_statx, SYS_symlinkat,
    SYS_unlinkat, SYS_utimensat, SYS_write,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::{BTreeMap, BTreeSet};

/// Allowed whatever their arguments are: they touch this process, its descriptors, or files that landlock
/// lets through.
const ALLOWED: &[i64] = &[
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
    // The connection to the agent: stream calls alone, so that no descriptor comes or goes.
    SYS_read,
    SYS_recvfrom,
    SYS_sendto,
    SYS_write,
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

/// Allowed with the arguments that [`filter`] names.
const WITH_CONDITIONS: [i64; 3] = [SYS_fcntl, libc::SYS_rt_sigaction, libc::SYS_tgkill];

/// The calls that the filter lets through, some of them with certain arguments only.
pub fn allowed_calls() -> BTreeSet<i64> {
    ALLOWED.iter().copied().chain(WITH_CONDITIONS).collect()
}

pub(super) fn filter() -> Result<(), WallError> {
    let failed = |error: seccompiler::BackendError| WallError::new(Wall::Seccomp, error);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // abort(): a signal to this very thread.
    let me = u64::from(rustix::process::getpid().as_raw_pid().unsigned_abs());
    let own = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, me).map_err(failed)?;
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![own]).map_err(failed)?]);
    // What a signal handler may be set for: traps, and abort's own.
    let handlers = [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];
    rules.insert(libc::SYS_rt_sigaction, one_of(0, &handlers).map_err(failed)?);
    // What may be done with a descriptor. To have signals sent (`F_SETOWN`) is not among it: the spawner and other
    // workers have the same user, and could be killed by it.
    let commands = [libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_GETFL];
    rules.insert(SYS_fcntl, one_of(1, &commands).map_err(failed)?);

    let architecture = std::env::consts::ARCH.try_into().map_err(failed)?;
    let filter =
        SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, architecture).map_err(failed)?;
    let program: BpfProgram = filter.try_into().map_err(failed)?;
    seccompiler::apply_filter(&program).map_err(|error| WallError::new(Wall::Seccomp, error))
}

/// Rules that let a call through whose argument number `argument` is one of these values.
fn one_of(argument: u8, values: &[i32]) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    values
        .iter()
        .map(|value| {
            let value = u64::from(value.unsigned_abs());
            let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?;
            SeccompRule::new(vec![condition])
        })
        .collect()
}
