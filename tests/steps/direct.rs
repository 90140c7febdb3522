//! Direct mode: the same code in one process tree, with a broker and a TPM of its own.

use crate::support::{Output, programs, run, step};
use std::process::Command;

pub(super) fn direct(state: &std::path::Path, arguments: &[&str]) -> Output {
    run(Command::new(programs().join("attest-run"))
        .args(arguments)
        .env_clear()
        .env("HOME", state)
        .env("ATTEST_RUN_STATE", state.join("state")))
}

#[test]
fn a_first_step_needs_nothing_but_its_file() {
    let home = crate::support::directory();
    let hello = step("hello").join("hello.wasm");
    let hello = hello.to_str().unwrap();
    let out = direct(home.path(), &["--json", hello, "--", "you"]).ok();
    // What it was granted, in the step's log; then its own words.
    assert!(out.stderr.starts_with("granted  nothing: it asked for nothing\n"), "{}", out.stderr);
    assert!(out.stderr.ends_with("\nhello, you\n"), "{}", out.stderr);
    let document: serde_json::Value = serde_json::from_str(&out.stdout).unwrap();
    assert_eq!((document["schema"].as_str(), document["exit_code"].as_u64()), (Some("attest-run/run/v1"), Some(0)));
    // The second time it is the same runner.
    let runner = |home: &std::path::Path| {
        let enrolment = std::fs::read(home.join("state/enrolment.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&enrolment).unwrap()["ak_name"].clone()
    };
    let before = runner(home.path());
    direct(home.path(), &[hello]).ok();
    assert_eq!(runner(home.path()), before);
    direct(home.path(), &["doctor"]).ok();
    // A step that signs nothing costs at most two commands of the TPM, once its agent runs: a quote before and one after. Here it also opens it.
    let out = direct(home.path(), &["--json", "--timings", hello]).ok();
    let document: serde_json::Value = serde_json::from_str(&out.stdout).unwrap();
    assert!(document["counts"]["TPM commands"].as_u64().unwrap() <= 6, "{document}");
}

#[test]
fn keys_sign_and_openssl_agrees() {
    let home = crate::support::directory();
    let file = home.path().join("file");
    std::fs::write(&file, "contents\n").unwrap();
    for (algorithm, protection) in [("p256", "in tpm"), ("ed25519", "in host-memory")] {
        let out = direct(home.path(), &["keys", "create", algorithm, "--by-hand", "--algorithm", algorithm]).ok();
        assert!(out.stdout.contains(protection), "{}", out.stdout);
        direct(home.path(), &["keys", "create", algorithm]).refused(1, "AR-K102");
        let public = home.path().join("key.pem");
        std::fs::write(&public, direct(home.path(), &["keys", "public", algorithm]).ok().stdout).unwrap();
        direct(home.path(), &["sign", "--key", algorithm, file.to_str().unwrap()]).ok();
        let verify: &[&str] = if algorithm == "p256" {
            &["dgst", "-sha256", "-verify", "key.pem", "-signature", "file.sig", "file"]
        } else {
            &["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "key.pem", "-sigfile", "file.sig", "-in", "file"]
        };
        run(Command::new("openssl").args(verify).current_dir(home.path())).ok();
        std::fs::write(&file, "other contents\n").unwrap();
        assert_ne!(run(Command::new("openssl").args(verify).current_dir(home.path())).status, 0);
        std::fs::write(&file, "contents\n").unwrap();
    }
    let listed = direct(home.path(), &["keys", "list", "--json"]).ok().stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 2);
    direct(home.path(), &["keys", "delete", "p256"]).ok();
    direct(home.path(), &["sign", "--key", "p256", file.to_str().unwrap()]).refused(1, "AR-K101");
}

#[test]
fn a_deleted_key_does_not_come_back() {
    let home = crate::support::directory();
    let make = || {
        direct(home.path(), &["keys", "create", "k", "--algorithm", "ed25519"]).ok();
        direct(home.path(), &["keys", "public", "k"]).ok().stdout
    };
    let one = make();
    direct(home.path(), &["keys", "delete", "k"]).ok();
    direct(home.path(), &["keys", "public", "k"]).refused(1, "AR-K101");
    direct(home.path(), &["keys", "delete", "k"]).refused(1, "AR-K101");
    assert!(!direct(home.path(), &["keys", "list"]).ok().stdout.contains('k'));
    assert_ne!(one, make());
}

#[test]
fn a_reader_who_leaves_breaks_nothing() {
    let home = crate::support::directory();
    let hello = crate::support::step("hello").join("hello.wasm");
    let program = crate::support::programs().join("attest-run");
    for arguments in [format!("{}", hello.display()), "keys list".to_owned(), "version --json".to_owned()] {
        let script = format!("{} {arguments} 2>&1 | true; exit ${{PIPESTATUS[0]}}", program.display());
        let mut command = Command::new("bash");
        run(command.args(["-c", &script]).env_clear().env("HOME", home.path()).env("PATH", "/usr/bin:/bin")).ok();
    }
}

#[test]
fn the_command_line_answers_in_statuses_and_json() {
    let home = crate::support::directory();
    // A status below 124 is a step's own, so that wrong usage of `run` has another.
    assert_eq!(direct(home.path(), &["--dir", "nonsense", "x.wasm"]).status, 125);
    assert_eq!(direct(home.path(), &["keys", "create"]).status, 2);
    assert_eq!(direct(home.path(), &["run", "--help"]).status, 0);
    let out = direct(home.path(), &["--json", "keys", "public", "none"]).refused(1, "AR-K101");
    let error: serde_json::Value = serde_json::from_str(&out.stdout).unwrap();
    assert_eq!((&error["schema"], &error["error"]["code"]), (&"attest-run/error/v1".into(), &"AR-K101".into()));
    let out = direct(home.path(), &["--json", "none.wasm"]).refused(125, "AR-S002");
    let run: serde_json::Value = serde_json::from_str(&out.stdout).unwrap();
    assert_eq!((&run["outcome"], &run["exit_code"]), (&"host-failed".into(), &125.into()));
}

#[test]
fn a_broker_of_one_s_own_asks_for_no_ci_token() {
    let home = crate::support::directory();
    let hello = crate::support::step("hello").join("hello.wasm");
    for _ in 0..2 {
        let mut command = Command::new(crate::support::programs().join("attest-run"));
        command.arg(&hello).env_clear().env("HOME", home.path()).env("ATTEST_RUN_ID_TOKEN", "no.token.atall");
        run(&mut command).ok();
    }
}

/// What the process said when it ended is told, though it ended before it heard what it should do.
#[test]
fn a_worker_that_does_not_come_up_is_told_with_its_reason() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = crate::support::directory();
    // The same program in another role compiles: that it shall.
    let worker = home.path().join("worker");
    let genuine = programs().join("attest-worker");
    let script = format!("#!/bin/sh\ncase $1 in --compile) exec {} \"$@\";; *) exit 7;; esac\n", genuine.display());
    std::fs::write(&worker, script).unwrap();
    std::fs::set_permissions(&worker, std::fs::Permissions::from_mode(0o755)).unwrap();
    let folder = crate::support::worker_programs(&worker);
    let mut command = Command::new(folder.path().join("attest-run"));
    command.arg(step("hello").join("hello.wasm")).env_clear().env("HOME", home.path());
    let out = run(&mut command);
    assert_eq!(out.status, 125, "{}", out.stderr);
    assert!(out.stderr.contains("its process ended with status 7"), "{}", out.stderr);
}
