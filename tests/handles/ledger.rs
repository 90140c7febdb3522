//! What a step did is written down, and vouched for by the quote that ends its lease.

use super::{Scene, http};
use crate::house::is_as_documented;
use crate::support::{Server, reply, run, wait_until};
use std::process::Stdio;

#[tokio::test]
async fn a_ledger_ends_with_the_lease() {
    let scene = Scene::new();
    let (server, unused) = (Server::plain(), Server::plain());
    scene.send_token_to(&server, &[]);
    let url = format!("{}/a?b=c", server.origin());
    let arguments = ["with", "POST", &url, "header:authorization", "Bearer "];
    let out = run(&mut scene.command(&http(&[&server, &unused]), &[], &arguments)).ok();
    let wanted = format!("http.allow {}", unused.origin());
    for part in ["unused   ", "secrets.seen", "keys.derived", "dirs.work", "outputs.other", &wanted] {
        assert!(out.stderr.contains(part), "{part}: {}", out.stderr);
    }

    let end = scene.told().await;
    let ledger = &end["ledger"];
    let request = &ledger["requests"][0];
    assert_eq!(request["method"], "POST");
    assert_eq!(request["to"], server.origin());
    assert_eq!(request["path"], "/a");
    assert_eq!(request["status"], 200);
    assert_eq!(request["secrets"][0]["name"], "token");
    assert_eq!(request["secrets"][0]["place"], "header:authorization");
    let secret = |name: &str| {
        ledger["secrets"].as_array().unwrap().iter().find(|secret| secret["name"] == name).unwrap()["used"].clone()
    };
    assert_eq!((secret("token"), secret("seen")), (1.into(), 0.into()));
    // The quote that ends the lease covers these very bytes.
    assert!(end["vouched"]["quote"].is_string() && end["vouched"]["signature"].is_string(), "{end}");

    let id = ledger["lease"].as_str().unwrap();
    let told = scene.broker.admin(&["lease", "ledger", id]).ok().stdout;
    for line in [
        "secret     token v2 to http: used once".to_owned(),
        "secret     seen v1 to reveal: used never".to_owned(),
        format!("requests   to {}: 1", server.origin()),
        format!("POST {}/a with token in header:authorization: 200, 0 bytes sent", server.origin()),
    ] {
        assert!(told.contains(&line), "{line}: {told}");
    }
    is_as_documented(&scene.broker.admin(&["--json", "lease", "ledger", id]).ok().stdout);

    // Files, with what is in them at the end.
    let written = ["write", "product", "contents"];
    let json = run(&mut scene.command(&http(&[]), &["--json", "--timings"], &written)).ok().stdout;
    is_as_documented(&json);
    let end = scene.told().await;
    let written = &end["ledger"]["files"][0]["written"][0];
    assert_eq!(written["path"], "product");
    let digest = attest_evidence::Sha256Digest::of(b"contents").to_string();
    assert_eq!(written["sha256"], digest.as_str());
}

#[tokio::test]
async fn a_ledger_has_the_digest_of_what_was_read() {
    let scene = Scene::new();
    let file = scene.runner.write("inner/input", &"what is read ".repeat(100_000));
    let read = attest_evidence::Sha256Digest::of(&std::fs::read(&file).unwrap()).to_string();
    // While the step runs another process of the job changes the file.
    let change = file.clone();
    let server = Server::start(move |_, stream| {
        std::fs::write(&change, "what is there afterwards").unwrap();
        reply(stream, 200, &[], b"");
    });
    scene.send_token_to(&server, &[]);
    scene.run(&[&server], &["upload", &server.origin(), "input"]).ok();
    let digests = async || {
        let end = scene.told().await;
        end["ledger"]["files"][0]["read"][0]["sha256"].as_str().unwrap().to_owned()
    };
    assert_eq!(digests().await, read);
    // Of a file that was not read to its end: what is in it afterwards.
    std::fs::write(&file, "x".repeat(10_000_000)).unwrap();
    let gone = Server::start(|_, stream| reply(stream, 413, &[], b""));
    scene.send_token_to(&gone, &[]);
    let part = scene.run(&[&gone], &["upload", &gone.origin(), "input"]);
    assert_eq!(part.status, 0, "{}", part.stderr);
    assert_eq!(digests().await, attest_evidence::Sha256Digest::of(&std::fs::read(&file).unwrap()).to_string());
}

#[tokio::test]
async fn what_came_to_light_is_told_of_a_lease_that_was_revoked() {
    let scene = Scene::new();
    let mut command = scene.command(&http(&[]), &[], &["file", "hex", "50000"]);
    let client = command.stderr(Stdio::piped()).spawn().unwrap();
    let written = scene.runner.work().join("inner/written");
    wait_until(|| std::fs::metadata(&written).is_ok_and(|file| file.len() > 0));
    scene.broker.admin(&["lease", "revoke", "--secret", "dev/seen"]).ok();
    let output = client.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("AR-S604"), "{stderr}");
    assert_eq!(scene.broker.rows("SELECT state, closing FROM leases").await, [["revoked", "same"]]);
    let audit = scene.broker.audit().await;
    let (_, closed) = audit.iter().find(|(kind, _)| kind == "lease-closed").unwrap();
    let seen = closed["ledger"]["secrets"].as_array().unwrap().iter().find(|secret| secret["name"] == "seen").unwrap();
    assert_eq!(seen["exposed"], "dirs.work written, hex");
    let listed = scene.broker.admin(&["secret", "list"]).ok().stdout;
    assert!(listed.lines().any(|line| line.contains("seen") && line.contains("EXPOSED")), "{listed}");
    let alarms = scene.broker.admin(&["alarm", "list"]).ok().stdout;
    assert!(alarms.contains("secret-exposed"), "{alarms}");
    let told = scene.broker.admin(&["lease", "ledger", closed["lease"].as_str().unwrap()]).ok().stdout;
    assert!(told.contains("EXPOSED in dirs.work written, hex"), "{told}");
}

#[tokio::test]
async fn a_ledger_that_would_be_too_long_counts_what_it_leaves_out() {
    let scene = Scene::new();
    scene.run(&[], &["files", "1100"]).ok();
    let end = scene.told().await;
    let files = &end["ledger"]["files"][0];
    let (listed, more) = (files["written"].as_array().unwrap().len(), files["more"].as_u64().unwrap());
    assert!(listed > 10 && more > 500, "{listed}, {more}");
    assert_eq!(listed as u64 + more, 1100);
    let told = scene.broker.admin(&["lease", "ledger", end["lease"].as_str().unwrap()]).ok().stdout;
    assert!(told.contains(&format!("{more} more")), "{told}");
}
