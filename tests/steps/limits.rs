//! G08: what a step may consume.

use super::ready;
use crate::support::{Output, Runner, run};
use std::time::{Duration, Instant};

/// Runs the hostile step with limits in its manifest.
fn limited(runner: &Runner, limits: &str, arguments: &[&str]) -> Output {
    run(&mut runner.hostile_command(limits, arguments))
}

#[test]
fn g08_limits_stop_the_step_with_a_clear_error_and_the_agent_stays_up() {
    let (_broker, runner) = ready();
    // Each with its control: less, or the same under a higher limit.
    let out = limited(&runner, "memory_mib = 64", &["memory", "100"]).refused(134, "AR-W302");
    assert!(out.stderr.contains("limit of 64 MiB of memory"), "{}", out.stderr);
    limited(&runner, "memory_mib = 128", &["memory", "100"]).ok();
    limited(&runner, "memory_mib = 64", &["memory"]).refused(134, "AR-W302");

    let out = limited(&runner, "output_mib = 1", &["output", "20"]).refused(134, "AR-W302");
    assert!(out.stderr.contains("limit of 1 MiB of log and outputs"), "{}", &out.stderr[out.stderr.len() - 600..]);
    limited(&runner, "output_mib = 2", &["output", "20"]).ok();

    let out = limited(&runner, "", &["recursion"]).refused(134, "AR-W302");
    assert!(out.stderr.contains("KiB of stack"), "{}", out.stderr);
    limited(&runner, "", &["recursion", "1000"]).ok();

    let out = limited(&runner, "", &["table"]).refused(134, "AR-W301");
    assert!(out.stderr.contains("trapped"), "{}", out.stderr);
    limited(&runner, "", &["table", "100"]).ok();

    let out = limited(&runner, "", &["long-error"]).refused(134, "AR-W302");
    assert!(out.stderr.contains("64 KiB of an error's message"), "{}", out.stderr);

    let out = limited(&runner, "", &["panic"]).refused(134, "AR-W301");
    assert!(out.stderr.contains("as asked"), "{}", out.stderr);

    for endless in ["loop", "calls"] {
        let began = Instant::now();
        let out = limited(&runner, "seconds = 1", &[endless]).refused(124, "AR-W303");
        assert!(out.stderr.contains("within 1 s"), "{}", out.stderr);
        assert!(began.elapsed() < Duration::from_secs(10));
        assert_eq!(runner.workers(), Vec::<u32>::new(), "{endless}");
    }
    // Each turn waits for the one before: two thousand million take longer than a second anywhere.
    limited(&runner, "seconds = 1", &["loop", "2000000000"]).refused(124, "AR-W303");
    limited(&runner, "seconds = 50", &["loop", "2000000000"]).ok();
    limited(&runner, "seconds = 50", &["calls", "1000"]).ok();
    // The agent is as it was.
    runner.hostile(&["fail", "7"]);
    assert_eq!(runner.job(&["doctor"]).ok().status, 0);
}
