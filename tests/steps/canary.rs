//! A03: a secret is where it must be, and nowhere else.

use crate::support::{Broker, Runner};
use std::path::Path;

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
    // A step that traps with the secret in its hands, and one that is stopped.
    runner.hostile(&["secret-to-file", "release/npm-token"]).ok();

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
