//! Direct mode: the same code in one process tree, with a broker and a TPM of its own.

use crate::support::{Output, programs, run, step};
use std::process::Command;

fn direct(state: &std::path::Path, arguments: &[&str]) -> Output {
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
    assert_eq!(out.stderr, "hello, you\n");
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
    // A step that signs nothing costs at most two commands of the TPM, once its agent runs; here it also opens it.
    let out = direct(home.path(), &["--json", "--timings", hello]).ok();
    let document: serde_json::Value = serde_json::from_str(&out.stdout).unwrap();
    assert!(document["counts"]["TPM commands"].as_u64().unwrap() <= 5, "{document}");
}

#[test]
fn the_environment_is_measured_the_same_each_time() {
    let home = crate::support::directory();
    let one = direct(home.path(), &["measure"]).ok().stdout;
    assert_eq!(one, direct(home.path(), &["measure"]).ok().stdout);
    let statement: serde_json::Value = serde_json::from_str(&one).unwrap();
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicate"]["isolation"], "direct");
    assert_eq!(statement["predicate"]["programs"].as_array().unwrap().len(), 2);
}

#[test]
fn keys_sign_and_openssl_agrees() {
    let home = crate::support::directory();
    let file = home.path().join("file");
    std::fs::write(&file, "contents\n").unwrap();
    for (algorithm, protection) in [("p256", "in tpm"), ("ed25519", "in host-memory")] {
        let out = direct(home.path(), &["keys", "create", algorithm, "--algorithm", algorithm]).ok();
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
