//! Bad input: each is refused with its code, and leaves nothing half-done.

use crate::support::{Broker, Runner, Users, programs, run, step};
use std::process::Command;

#[test]
fn files_that_are_no_steps() {
    let broker = Broker::start();
    let runner = Runner::enrolled(&broker, "builder");
    let hello = runner.step("hello");
    let folder = hello.parent().unwrap();
    let with = |contents: &[u8]| {
        let path = folder.join("other.wasm");
        std::fs::write(&path, contents).unwrap();
        runner.job(&[path.to_str().unwrap()])
    };
    with(b"#!/bin/sh\necho hello\n").refused(127, "AR-S201");
    with(b"").refused(127, "AR-S201");
    with(b"\0asm\x01\0\0\0").refused(127, "AR-S202");
    let component = std::fs::read(&hello).unwrap();
    with(&component[..component.len() / 2]).refused(127, "AR-S204");
    let mut spoiled = component.clone();
    let middle = component.len() / 2;
    spoiled[middle..middle + 64].fill(0xff);
    let out = with(&spoiled);
    assert_eq!(out.status, 127, "{}", out.stderr);

    runner.job(&["/nonexistent.wasm"]).refused(125, "AR-S002");
    std::fs::remove_file(folder.join("step.toml")).unwrap();
    runner.job(&[hello.to_str().unwrap()]).ok();
    let bare = folder.join("bare.wasm");
    let bare = bare.to_str().unwrap();
    runner.as_user(0, &["pack", hello.to_str().unwrap(), "-o", bare, "--no-manifest"]).ok();
    runner.job(&[bare]).refused(125, "AR-S002");
    std::fs::write(folder.join("step.toml"), "[step]\nname = \"hello\"\n[sercets.a]\n").unwrap();
    let out = runner.job(&[bare]).refused(126, "AR-S103");
    assert!(out.stderr.contains("was `secrets` meant?") && out.stderr.contains("line  3"), "{}", out.stderr);
}

#[test]
fn directories_that_are_missing_or_too_many() {
    let broker = Broker::start();
    let runner = Runner::enrolled(&broker, "builder");
    runner.as_user(0, &["keys", "create", "release"]).ok();
    let release = runner.step("release-sign");
    let release = release.to_str().unwrap();
    runner.job(&[release, "--", "v1"]).refused(125, "AR-S401");
    let dist = format!("dist={}", runner.work().display());
    runner.job(&["--dir", "dist=/nonexistent", release, "--", "v1"]).refused(125, "AR-S003");
    runner.job(&["--dir", &dist, "--dir", "more=/tmp", release, "--", "v1"]).refused(125, "AR-S402");
    // Nothing to sign, and nothing written.
    let out = runner.job(&["--dir", &dist, release, "--", "v1"]);
    assert_eq!(out.status, 1);
    assert!(out.stderr.contains("there is no file in `dist` to sign"), "{}", out.stderr);
    assert_eq!(std::fs::read_dir(runner.work()).unwrap().count(), 0);
    assert_eq!(runner.job(&["--dir", &dist, release]).status, 2);
}

#[test]
fn a_broker_that_is_down_slow_or_another() {
    let mut broker = Broker::start();
    let runner = Runner::enrolled(&broker, "builder");
    let hello = runner.step("hello");
    let hello = hello.to_str().unwrap();
    runner.job(&[hello]).ok();
    broker.kill();
    runner.job(&[hello]).refused(125, "AR-B501");
    assert_eq!(runner.job(&["doctor"]).status, 1);
    broker.serve();
    runner.job(&[hello]).ok();

    // Slow: it accepts and says nothing.
    let port = broker.port();
    broker.kill();
    let silent = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let began = std::time::Instant::now();
    runner.job(&[hello]).refused(125, "AR-B502");
    assert!(began.elapsed() < std::time::Duration::from_secs(20));
    drop(silent);

    // Another broker where ours was.
    let impostor = Broker::start();
    let state = broker.state().to_owned();
    drop(impostor);
    let mut other = run_impostor(port);
    let out = runner.job(&[hello]).refused(126, "AR-B503");
    assert!(out.stderr.contains("nothing was sent"), "{}", out.stderr);
    other.0.kill().unwrap();
    other.0.wait().unwrap();
    assert!(state.exists());
}

/// A genuine broker with keys of its own, on a port where another was enrolled with.
fn run_impostor(port: u16) -> (std::process::Child, crate::support::Directory) {
    use std::io::BufRead as _;
    let directory = crate::support::directory();
    let mut child = Command::new(programs().join("attest-broker"))
        .args(["serve", "--json", "--listen", &format!("127.0.0.1:{port}"), "--state"])
        .arg(directory.path().join("state"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("url"), "{line}");
    (child, directory)
}

#[test]
fn state_that_is_lost_or_damaged() {
    let broker = Broker::start();
    let mut runner = Runner::enrolled(&broker, "builder");
    let hello = runner.step("hello");
    runner.job(&[hello.to_str().unwrap()]).ok();
    runner.stop_agent();
    let refused = |runner: &Runner, code: &str| {
        let out = run(&mut runner.command(0, "attest-run", &["agent"]));
        out.refused(3, code)
    };
    let enrolment = runner.path("state/enrolment.json");
    let good = std::fs::read(&enrolment).unwrap();
    for length in [0, 1, good.len() / 2, good.len() - 1] {
        std::fs::write(&enrolment, &good[..length]).unwrap();
        refused(&runner, "AR-C202");
    }
    std::fs::write(&enrolment, &good).unwrap();

    let tpm = runner.path("state/tpm/permall");
    let state = std::fs::read(&tpm).unwrap();
    for length in [0, 8, 40, state.len() / 2, state.len() - 1] {
        std::fs::write(&tpm, &state[..length]).unwrap();
        refused(&runner, "AR-T104");
    }
    let mut flipped = state.clone();
    flipped[state.len() / 2] ^= 1;
    std::fs::write(&tpm, &flipped).unwrap();
    refused(&runner, "AR-T104");
    std::fs::remove_file(&tpm).unwrap();
    refused(&runner, "AR-T103");
    // Another TPM in its place: its attestation key is not there.
    std::fs::remove_dir_all(runner.path("state/tpm")).unwrap();
    refused(&runner, "AR-T106");
    assert!(enrolment.exists());
}

#[test]
fn a_tpm_that_is_busy() {
    let home = crate::support::directory();
    let direct = |arguments: &[&str]| {
        run(Command::new(programs().join("attest-run"))
            .args(arguments)
            .env_clear()
            .env("HOME", home.path())
            .env("ATTEST_RUN_STATE", home.path().join("state")))
    };
    direct(&["keys", "list"]).ok();
    let lock = std::fs::File::open(home.path().join("state/tpm/lock")).unwrap();
    lock.lock().unwrap();
    direct(&["keys", "list"]).refused(3, "AR-T102");
    drop(lock);
    direct(&["keys", "list"]).ok();
    direct(&["--tpm", "swtpm:/nonexistent", "keys", "list"]).refused(3, "AR-T101");
    direct(&["--tpm", "nonsense", "keys", "list"]).refused(2, "AR-C002");
}

#[test]
fn a_client_that_says_nothing_or_nonsense() {
    use std::io::{Read as _, Write as _};
    let broker = Broker::start();
    let runner = Runner::enrolled(&broker, "builder");
    let socket = runner.path("run/agent.sock");
    let mut nonsense = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    nonsense.write_all(b"GET / HT").unwrap();
    let mut answer = Vec::new();
    nonsense.read_to_end(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("AR-C403"));
    let silent = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let hello = runner.step("hello");
    runner.job(&[hello.to_str().unwrap()]).ok();
    drop(silent);
    let _ = (Users::JOB, step("hello"));
}
