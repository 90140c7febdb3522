//! G08: what a step may consume.

use crate::support::{Broker, Runner};
use std::time::{Duration, Instant};

fn ready() -> (Broker, Runner) {
    let broker = Broker::start();
    broker.set_secret("dev", "release/npm-token", "npm_secret_of_dev");
    let runner = Runner::enrolled(&broker, "builder");
    runner.as_user(0, &["keys", "create", "release"]).ok();
    (broker, runner)
}

/// Runs the hostile step with limits in its manifest.
fn limited(runner: &Runner, limits: &str, arguments: &[&str]) -> crate::support::Output {
    let step = runner.step("hostile");
    let manifest = step.with_file_name("step.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, format!("{text}\n[limits]\n{limits}\n")).unwrap();
    runner.write("readonly/file", "");
    runner.write("inner/inside", "");
    let dir = |name: &str, folder: &str| format!("{name}={}", runner.work().join(folder).display());
    let (work, readonly) = (dir("work", "inner"), dir("readonly", "readonly"));
    let mut all = vec!["--dir", &work, "--dir", &readonly, step.to_str().unwrap(), "--"];
    all.extend(arguments);
    runner.job(&all)
}

#[test]
fn g08_limits_stop_the_step_with_a_clear_error_and_the_agent_stays_up() {
    let (_broker, runner) = ready();
    let out = limited(&runner, "memory_mib = 64", &["memory"]).refused(134, "AR-W302");
    assert!(out.stderr.contains("limit of 64 MiB of memory"), "{}", out.stderr);
    let out = limited(&runner, "output_mib = 1", &["output"]).refused(134, "AR-W302");
    assert!(out.stderr.contains("limit of 1 MiB of log and outputs"), "{}", &out.stderr[out.stderr.len() - 600..]);
    let out = limited(&runner, "", &["recursion"]).refused(134, "AR-W302");
    assert!(out.stderr.contains("KiB of stack"), "{}", out.stderr);
    let out = limited(&runner, "", &["panic"]).refused(134, "AR-W301");
    assert!(out.stderr.contains("as asked"), "{}", out.stderr);
    let out = limited(&runner, "", &["table"]).refused(134, "AR-W301");
    assert!(out.stderr.contains("trapped"), "{}", out.stderr);
    for endless in ["loop", "calls"] {
        let began = Instant::now();
        let out = limited(&runner, "seconds = 1", &[endless]).refused(124, "AR-W303");
        assert!(out.stderr.contains("within 1 s"), "{}", out.stderr);
        assert!(began.elapsed() < Duration::from_secs(10));
        assert_eq!(runner.workers(), Vec::<u32>::new(), "{endless}");
    }
    // The agent is as it was.
    runner.hostile(&["fail", "7"]);
    assert_eq!(runner.job(&["doctor"]).ok().status, 0);
}
