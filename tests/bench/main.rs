//! `make bench`: what attest-run costs, beside what it stands in for. Both columns of a row are measured in this run,
//! turn and turn about.
//!
//! `bench WASMTIME [PART…]`: the program `wasmtime`, for the script that a user would write; and of the parts `steps`, `tpm`,
//! `javascript`, `handles`, `evidence`, `sigstore`, `policy`, `jobs`, `broker`, `leases`, `masking` and `counts` those that are wanted, where not all are.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a bench that can't go on has failed"
)]

#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use the rest")]
mod support;

mod broker;
mod evidence;
mod handles;
mod jobs;
mod leases;
mod masking;
mod path;
mod policy;
mod sigstore;
mod tpm;
mod verification;

use std::time::{Duration, Instant};

/// Rounds of what takes milliseconds, and of what takes less.
const ROUNDS: usize = 40;
const MANY_ROUNDS: usize = 1000;

fn main() {
    // `cargo bench` says `--bench` last.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let Some((wasmtime, parts)) = arguments.split_first() else {
        panic!("`make bench` says where `wasmtime` is");
    };
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("{}\n", machine());
    if wanted("steps") {
        path::steps(wasmtime);
    }
    if wanted("javascript") {
        handles::javascript(wasmtime);
    }
    if wanted("handles") {
        handles::upload();
        handles::calls_and_crowds();
    }
    if wanted("tpm") {
        tpm::commands();
        tpm::leased();
    }
    if wanted("evidence") {
        evidence::evidence();
    }
    if wanted("sigstore") {
        sigstore::bundles();
    }
    if wanted("policy") {
        policy::decision();
    }
    if wanted("jobs") {
        jobs::token();
        runtime.block_on(jobs::redeem());
    }
    if wanted("broker") {
        runtime.block_on(broker::throughput());
    }
    if wanted("leases") {
        runtime.block_on(leases::revocation());
        runtime.block_on(leases::many());
    }
    if wanted("masking") {
        println!();
        masking::throughput();
    }
    if wanted("counts") {
        path::counts();
        runtime.block_on(path::memory());
    }
}

/// Which machine this is.
fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores of {}, Linux {}", model.unwrap_or("an unknown processor"), kernel.trim())
}

/// The same for what takes microseconds: each is timed by the hundred.
fn in_turn_by_the_hundred(rounds: usize, mut ours: impl FnMut(), mut theirs: impl FnMut()) -> (Duration, Duration) {
    let hundred = |work: &mut dyn FnMut()| (0..100).for_each(|_| work());
    let (ours, theirs) = in_turn(rounds, || hundred(&mut ours), || hundred(&mut theirs));
    (ours / 100, theirs / 100)
}

/// Median of how long each of two took, in turn.
fn in_turn(rounds: usize, mut ours: impl FnMut(), mut theirs: impl FnMut()) -> (Duration, Duration) {
    let (mut first, mut second) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    ours();
    theirs();
    for _ in 0..rounds {
        first.push(timed(&mut ours));
        second.push(timed(&mut theirs));
    }
    (median(first), median(second))
}

fn timed(work: &mut impl FnMut()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// A row: what, ours, theirs, the ratio.
fn row(what: &str, ours: Duration, beside: &str, theirs: Duration) {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    println!(
        "{what:44} {:>9.3} ms   {beside:44} {:>9.3} ms   {:>5.2} x",
        milliseconds(ours),
        milliseconds(theirs),
        ours.as_secs_f64() / theirs.as_secs_f64()
    );
}
