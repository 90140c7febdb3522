//! A03: a secret is where it must be, and nowhere else.

use crate::support::{Broker, Runner, run};
use std::path::Path;
use std::process::Command;

/// Recognizable, and found in nothing by chance.
const CANARY: &str = "cAnArY-8f0b2f6e-5a0d-4c35-9d4e-secret-value";

/// Every file below a folder that holds the bytes.
fn files_with(folder: &Path, needle: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            files_with(&path, needle, found);
        } else if metadata.is_file() {
            let contents = std::fs::read(&path).unwrap();
            if contents.windows(needle.len()).any(|window| window == needle.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
}

#[test]
fn a03_a_canary_is_in_no_log_database_argument_or_environment() {
    let broker = Broker::start();
    broker.set_secret("dev", "release/npm-token", CANARY);
    let runner = Runner::enrolled(&broker, "builder");
    runner.as_user(0, &["keys", "create", "release"]).ok();
    runner.hostile(&["secret", "release/npm-token"]).ok();
    // A step that traps with the secret in its hands.
    runner.hostile(&["secret-and-trap", "release/npm-token"]).refused(134, "AR-W301");
    // And one that is looked at while it holds it, made to dump core if it may, and stopped.
    std::thread::scope(|scope| {
        let step = scope.spawn(|| runner.hostile(&["secret-and-wait", "release/npm-token"]));
        let started = runner.work().join("inner/started");
        while !started.exists() {
            assert!(!step.is_finished(), "{:?}", step.join());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let workers = runner.workers();
        assert_eq!(workers.len(), 1);
        look_at_processes();
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", workers[0])).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
        run(Command::new("kill").args(["-QUIT", &workers[0].to_string()])).ok();
        let out = step.join().unwrap().refused(134, "AR-W304");
        assert!(out.stderr.contains("killed by signal 3"), "{}", out.stderr);
    });

    // A step that writes it into a file: that is found there, and told.
    runner.hostile(&["secret-to-file", "release/npm-token"]).refused(126, "AR-S604");

    let mut found = Vec::new();
    files_with(broker.state().parent().unwrap(), CANARY, &mut found);
    for folder in ["state", "run", "home"] {
        files_with(&runner.path(folder), CANARY, &mut found);
    }
    for log in [runner.log(), broker.log()] {
        assert!(!log.contains(CANARY));
    }
    assert_eq!(found, Vec::<String>::new());
    // The control: the search finds it where the step was told to put it.
    files_with(&runner.work(), CANARY, &mut found);
    assert_eq!(found.len(), 1, "{found:?}");
    look_at_processes();
}

/// No process but this one, which knows it, has the secret in its arguments or its environment.
fn look_at_processes() {
    for process in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let name = process.file_name().into_string().unwrap();
        if name.parse::<u32>() == Ok(std::process::id()) || name.parse::<u32>().is_err() {
            continue;
        }
        for file in ["cmdline", "environ"] {
            let contents = std::fs::read(process.path().join(file)).unwrap_or_default();
            assert!(!contents.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()), "{name}/{file}");
        }
    }
}
