//! The worker's system-call filter allows what steps need, and nothing that no step needs.

use crate::handles::{Scene, cli};
use crate::support::{Server, Tracer, reply};
use std::collections::{BTreeMap, BTreeSet};

/// Allowed, and made only when something goes wrong or comes late.
const RARE: [(i64, &str); 12] = [
    (libc::SYS_clock_gettime, "where the kernel has no clock in the vDSO"),
    (libc::SYS_getpid, "abort()"),
    (libc::SYS_gettid, "abort()"),
    (libc::SYS_madvise, "the allocator, when much has been freed"),
    (libc::SYS_mremap, "the allocator, when a large block grows"),
    (libc::SYS_restart_syscall, "the kernel's own, after a stopped process goes on"),
    (libc::SYS_rt_sigaction, "abort()"),
    (libc::SYS_rt_sigprocmask, "abort()"),
    (libc::SYS_sched_yield, "a lock that another thread holds"),
    (libc::SYS_shutdown, "a connection to egress that broke"),
    (libc::SYS_tgkill, "abort()"),
    (libc::SYS_write, "a panic's message"),
];

/// System calls that processes made after they had installed a filter: workers, and what is the same program; egress.
fn calls_behind_filters(trace: &str) -> (BTreeSet<i64>, BTreeSet<i64>) {
    let (mut behind, mut is_egress) = (BTreeMap::new(), BTreeMap::new());
    let (mut workers, mut egress) = (BTreeSet::new(), BTreeSet::new());
    for line in trace.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let Some(number) = rest.trim_start().strip_prefix('[') else { continue };
        let (number, call) = number.split_once(']').unwrap();
        let number: i64 = number.trim().parse().unwrap();
        let call = call.trim_start();
        // The end of a call of which the beginning stands further up.
        if call.starts_with("<...") {
            continue;
        }
        if call.starts_with("execve(") {
            is_egress.insert(pid.to_owned(), call.contains("/attest-egress\""));
        }
        if *behind.get(pid).unwrap_or(&false) {
            if *is_egress.get(pid).unwrap_or(&false) {
                egress.insert(number)
            } else {
                workers.insert(number)
            };
        }
        if call.starts_with("seccomp(") {
            behind.insert(pid.to_owned(), true);
        }
    }
    (workers, egress)
}

#[test]
fn every_system_call_that_is_allowed_is_needed() {
    let scene = Scene::new();
    super::provide(&scene.broker, &scene.runner);
    let runner = &scene.runner;
    let trace = runner.path("trace");
    let tracer = Tracer::record(runner.spawner_pid(), &trace);
    for arguments in [
        &["files"][..],
        &["write", "written"],
        &["read", "written"],
        &["secret"],
        &["sign", "a message"],
        &["escape", "symlink"],
        &["escape", "make-symlink"],
        &["memory", "100"],
        &["recursion"],
        &["table"],
        &["panic"],
        &["fail"],
        &["output", "3"],
    ] {
        runner.hostile(arguments);
    }
    runner.hostile(&["files"]).ok();
    // Requests, one of which fails on the way, and a command.
    let server = Server::start(|request, stream| reply(stream, 200, &[], &vec![b'x'; request.body.len() * 20]));
    scene.run(&[&server], &["send", "POST", &server.origin(), &"y".repeat(30_000)]).ok();
    let echo = Server::start(|request, stream| reply(stream, 200, &[], request.header("authorization").as_bytes()));
    scene.send_token_to(&echo, &[]);
    scene.run(&[&echo], &["with", "GET", &echo.origin(), "header:authorization", "Bearer "]).refused(126, "AR-S603");
    cli(&scene, &["sleep", "10"]).ok();
    let hello = runner.step("hello");
    runner.job(&[hello.to_str().unwrap()]).ok();
    runner.write("dist/file", &"contents ".repeat(100_000));
    let dist = format!("dist={}", runner.work().join("dist").display());
    runner.job(&["--dir", &dist, runner.step("release-sign").to_str().unwrap(), "--", "v1"]).ok();
    tracer.detach();

    let (made, by_egress) = calls_behind_filters(&std::fs::read_to_string(trace).unwrap());
    assert!(by_egress.contains(&libc::SYS_connect), "{by_egress:?}");
    let killed: Vec<_> = by_egress.difference(&attest_egress::fence().calls.numbers()).copied().collect();
    assert!(killed.is_empty(), "made by egress, and not allowed: {killed:?}");
    assert!(made.contains(&libc::SYS_openat2), "{made:?}");
    let allowed = attest_worker::CALLS.numbers();
    let rare: BTreeSet<_> = RARE.iter().map(|(call, _)| *call).collect();
    let unneeded: Vec<_> = allowed.difference(&made).filter(|call| !rare.contains(call)).collect();
    assert!(unneeded.is_empty(), "allowed, and nothing makes them: {unneeded:?}");
    let killed: Vec<_> = made.difference(&allowed).collect();
    assert!(killed.is_empty(), "made, and not allowed: {killed:?}");
}
