//! How a step ends that does not end by itself: with its client, its lease, its runner's approval, its agent (R04).

use super::ready;
use crate::support::{Broker, Runner, run, wait_until};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn a_client_that_does_not_listen_keeps_no_step_alive() {
    let (_broker, runner) = ready();
    let mut command = runner.hostile_command("seconds = 2\noutput_mib = 64", &["output"]);
    // Nobody reads what the step says: pipe, client and socket fill up.
    let mut client = command.stderr(Stdio::piped()).spawn().unwrap();
    wait_until(|| runner.at_work().len() == 1);
    let began = Instant::now();
    wait_until(|| runner.workers().is_empty());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(client.try_wait().unwrap().is_none(), "the client was to be stuck");
    client.kill().unwrap();
    client.wait().unwrap();
    // The agent has a place for the next.
    runner.job(&[runner.step("hello").to_str().unwrap()]).ok();
}

/// A step that never ends by itself, on a runner whose leases beat every second.
fn endless_step() -> (Broker, Runner, Child) {
    let broker = Broker::start_with(&["--heartbeat-seconds", "1"]);
    let runner = Runner::enrolled(&broker, "builder");
    super::provide(&broker, &runner);
    let mut command = runner.hostile_command("seconds = 50", &["loop"]);
    let client = command.stderr(Stdio::piped()).spawn().unwrap();
    wait_until(|| runner.at_work().len() == 1);
    (broker, runner, client)
}

#[test]
fn a_step_ends_with_its_lease_when_the_broker_falls_silent() {
    let (broker, runner, client) = endless_step();
    // It accepts connections and says nothing: no error tells the agent that anything is wrong.
    run(Command::new("kill").args(["-STOP", &broker.pid().to_string()])).ok();
    let began = Instant::now();
    wait_until(|| runner.workers().is_empty());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    run(Command::new("kill").args(["-CONT", &broker.pid().to_string()])).ok();
    let output = client.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("AR-X405") && stderr.contains("no heartbeat was answered"), "{stderr}");
    assert_eq!(output.status.code(), Some(126));
}

#[test]
fn a_step_outlives_a_broker_that_comes_back_in_time() {
    let mut broker = Broker::start_with(&["--heartbeat-seconds", "2"]);
    let runner = Runner::enrolled(&broker, "builder");
    super::provide(&broker, &runner);
    let mut command = runner.hostile_command("seconds = 6", &["loop"]);
    let client = command.stderr(Stdio::piped()).spawn().unwrap();
    wait_until(|| runner.at_work().len() == 1);
    std::thread::sleep(Duration::from_secs(1));
    broker.kill();
    std::thread::sleep(Duration::from_millis(1500));
    broker.serve();
    let output = client.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    // It was its own time that ended it.
    assert!(stderr.contains("AR-W303"), "{stderr}");
    assert_eq!(output.status.code(), Some(124));
}

#[tokio::test]
async fn a_suspended_runner_s_step_is_stopped() {
    let (broker, runner, client) = endless_step();
    let out = broker.admin(&["runner", "suspend", "builder"]).ok();
    assert!(out.stderr.contains("is revoked"), "{}", out.stderr);
    wait_until(|| runner.workers().is_empty());
    let output = client.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("AR-X405"));
    assert_eq!(broker.rows("SELECT state FROM leases").await, [["revoked"]]);
    let audit = broker.audit().await;
    let ended: Vec<_> = audit.iter().filter(|(kind, _)| kind == "lease-ended").collect();
    assert!(ended.len() == 1 && ended[0].1["how"] == "revoked", "{ended:?}");
}

#[tokio::test]
async fn a_revoked_step_is_gone_within_a_second() {
    // Heartbeats are ten seconds apart: it is not them that bring it about.
    let (broker, runner) = ready();
    for by in [["--runner", "builder"], ["--secret", "dev/release/npm-token"], ["--key", "dev/release"]] {
        let mut command = runner.hostile_command("seconds = 50", &["loop"]);
        let client = command.stderr(Stdio::piped()).spawn().unwrap();
        wait_until(|| runner.at_work().len() == 1);
        std::thread::sleep(Duration::from_millis(300));
        let began = Instant::now();
        broker.admin(&["lease", "revoke", by[0], by[1]]).ok();
        wait_until(|| runner.workers().is_empty());
        assert!(began.elapsed() < Duration::from_secs(1), "{by:?}: {:?}", began.elapsed());
        let output = client.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("AR-X405") && stderr.contains("an admin of the broker revoked it"), "{stderr}");
        assert_eq!(output.status.code(), Some(126));
    }
    let revoked = broker.rows("SELECT count(*) FROM leases WHERE state = 'revoked'").await;
    assert_eq!(revoked, [["3"]]);
}

#[tokio::test]
async fn an_agent_that_is_stopped_gives_its_leases_back() {
    let (broker, mut runner) = ready();
    let mut command = runner.hostile_command("seconds = 50", &["loop"]);
    let mut client = command.stderr(Stdio::null()).spawn().unwrap();
    wait_until(|| runner.at_work().len() == 1);
    runner.stop_agent();
    assert!(runner.workers().is_empty());
    assert_eq!(client.wait().unwrap().code(), Some(125));
    assert_eq!(broker.rows("SELECT state FROM leases").await, [["failed"]]);
}

#[test]
fn an_agent_without_its_spawner_ends() {
    let (_broker, runner) = ready();
    run(Command::new("kill").args(["-KILL", &runner.spawner_pid().to_string()])).ok();
    wait_until(|| runner.log().contains("AR-C404"));
}

#[tokio::test]
async fn r04_with_the_agent_ends_the_worker() {
    let broker = Broker::start_with(&["--heartbeat-seconds", "1"]);
    let mut runner = Runner::enrolled(&broker, "builder");
    super::provide(&broker, &runner);
    let started = runner.work().join("inner/started");
    let spawn = |runner: &Runner| {
        let _ = std::fs::remove_file(&started);
        let mut command = runner.hostile_command("", &["wait"]);
        let client = command.stderr(Stdio::null()).spawn().unwrap();
        wait_until(|| started.exists());
        client
    };
    // The client goes: the step is stopped.
    let mut client = spawn(&runner);
    assert_eq!(runner.workers().len(), 1);
    client.kill().unwrap();
    client.wait().unwrap();
    wait_until(|| runner.workers().is_empty());
    // The agent goes: so does the worker.
    let mut client = spawn(&runner);
    assert_eq!(runner.workers().len(), 1);
    runner.kill_agent();
    wait_until(|| runner.workers().is_empty());
    assert_eq!(client.wait().unwrap().code(), Some(125));
    // Its lease is not given back; the broker takes it when two heartbeats are missed.
    let held = || broker.admin(&["lease", "list"]).ok().stdout.lines().count();
    wait_until(|| held() == 0);
    let states = broker.rows("SELECT state FROM leases ORDER BY number DESC LIMIT 1").await;
    assert_eq!(states, [["lost"]]);
}
