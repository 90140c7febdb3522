//! The agent among users who would use it for something else.

use super::ready;
use crate::support::{Users, run};
use std::process::Command;
use std::time::Duration;

#[test]
fn q14_the_agent_is_no_oracle() {
    let (_broker, runner) = ready();
    // Keys by hand are an admin's.
    let file = runner.write("file", "to sign\n");
    let file = file.to_str().unwrap();
    for arguments in [
        &["keys", "create", "mine"][..],
        &["keys", "delete", "release"],
        &["sign", "--key", "release", file],
        &["enroll", "--broker", "https://127.0.0.1:1", "--token", "aet1_x"],
    ] {
        runner.job(arguments).refused(1, "AR-C402");
    }
    runner.as_user(0, &["keys", "create", "mine"]).ok();
    // Anybody may quote, in the domain of users.
    let out = runner.work().join("quote");
    let out = out.to_str().unwrap();
    let nonce = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    runner.job(&["quote", "--nonce", nonce, "--out", out]).ok();
    let message = std::fs::read(runner.work().join("quote/quote.msg")).unwrap();
    let attest = attest_evidence::tpm::Attest::parse(&message).unwrap();
    let bytes = attest_evidence::digest::hex_array::<32>(nonce).unwrap();
    let user = attest_evidence::exchange::user_qualifying_data(&bytes);
    assert_eq!(attest.extra_data, user.as_bytes());
    assert_ne!(
        user,
        attest_evidence::exchange::qualifying_data(&attest_evidence::Sha256Digest::from_bytes(bytes)),
        "a nonce that is the digest of a bound must not give that exchange's qualifying data"
    );
    // tpm2-tools believe it.
    run(Command::new("tpm2_checkquote")
        .args(["-u", "ak.pem", "-m", "quote.msg", "-s", "quote.sig", "-q"])
        .arg(user.to_string())
        .current_dir(out))
    .ok();
    let other = runner.job(&["quote", "--nonce", "00", "--out", out]);
    other.refused(2, "AR-C102");
}

#[tokio::test]
async fn q14_a_user_s_quote_does_not_answer_an_exchange() {
    use attest_agent::BrokerClient;
    use attest_evidence::exchange::{RawEvidence, write_bound, write_exchange};
    let (broker, runner) = ready();
    let enrolment: serde_json::Value =
        serde_json::from_slice(&std::fs::read(runner.path("state/enrolment.json")).unwrap()).unwrap();
    let client = BrokerClient::new(broker.url().parse().unwrap(), enrolment["tls_root"].as_str().unwrap()).unwrap();
    let ak = enrolment["ak_name"].as_str().unwrap().parse().unwrap();
    let rig = crate::support::Rig::enrolled(&broker, "other").await;
    let mut request = rig.request();
    request.isolation = attest_evidence::exchange::Isolation::Agent;
    let out = runner.work().join("quote");
    // As a nonce: the digest of what the exchange binds, and the very qualifying data that it needs.
    for nonce_of in [|digest| digest, |digest| attest_evidence::exchange::qualifying_data(&digest)] {
        let challenge = client.challenge(&ak).await.unwrap();
        let bound = write_bound(&challenge, &request).unwrap();
        let nonce = nonce_of(attest_evidence::Sha256Digest::of(&bound));
        runner.job(&["quote", "--nonce", &nonce.to_string(), "--out", out.to_str().unwrap()]).ok();
        let read = |name: &str| std::fs::read(out.join(name)).unwrap();
        let (message, signature) = (read("quote.msg"), read("quote.sig"));
        let evidence = RawEvidence { quote: &message, signature: &signature, pcrs: &[0; 11 * 32], logs: Vec::new() };
        let refused = client.exchange(write_exchange(&bound, &evidence).unwrap()).await;
        assert_eq!(crate::support::refusal(refused.map(drop)), "AR-E206");
    }
}

#[test]
fn the_agent_s_own_files_are_out_of_reach() {
    let (_broker, runner) = ready();
    let step = runner.step("hostile");
    runner.write("readonly/file", "");
    let readonly = format!("readonly={}", runner.work().join("readonly").display());
    let state = format!("work={}", runner.path("state").display());
    // A step has the rights of the job's user there: none. Steps of root's have none at all.
    let arguments = ["--dir", &state, "--dir", &readonly, step.to_str().unwrap(), "--", "read", "enrolment.json"];
    let as_job = runner.job(&arguments);
    assert!(as_job.status == 1 && as_job.stderr.contains("Permission denied"), "{}", as_job.stderr);
    runner.as_user(0, &arguments).refused(126, "AR-S406");
    let stranger = run(&mut runner.command(Users::STRANGER, "attest-run", &["keys", "create", "x"]));
    stranger.refused(1, "AR-C402");
    // Files of the kernel are no files.
    let proc = "work=/proc";
    runner
        .job(&["--dir", proc, "--dir", &readonly, step.to_str().unwrap(), "--", "read", "self/environ"])
        .refused(125, "AR-S403");
}

#[test]
fn an_admin_s_configuration_is_not_overridden() {
    let (_broker, runner) = ready();
    let step = runner.step("hello");
    let step = step.to_str().unwrap();
    for flag in ["--state=/tmp/x", "--tpm=embedded:/tmp/x", "--socket=/tmp/x"] {
        runner.job(&[flag, step]).refused(125, "AR-C001");
    }
    let mut command = runner.command(Users::JOB, "attest-run", &[step]);
    command
        .env("ATTEST_RUN_TPM", "embedded:/tmp/x")
        .env("ATTEST_RUN_STATE", "/tmp/x")
        .env("ATTEST_RUN_SOCKET", "/tmp/x");
    let out = run(&mut command).ok();
    assert!(out.stderr.contains("hello, world"), "{}", out.stderr);
}

#[test]
fn b03_what_was_hashed_is_what_runs() {
    let (broker, runner) = ready();
    let hello = runner.step("hello");
    let folder = runner.path("steps/swapped");
    std::fs::create_dir_all(&folder).unwrap();
    let swapped = folder.join("swapped.wasm");
    std::fs::copy(&hello, &swapped).unwrap();
    std::fs::copy(hello.with_file_name("step.toml"), folder.join("step.toml")).unwrap();
    // The broker is held while the step waits for its grant; meanwhile the file is overwritten in place.
    run(Command::new("kill").args(["-STOP", &broker.pid().to_string()])).ok();
    let child = runner
        .command(Users::JOB, "attest-run", &["--json", swapped.to_str().unwrap(), "--", "again"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let hostile = std::fs::read(crate::support::step("hostile").join("hostile.wasm")).unwrap();
    std::fs::write(&swapped, hostile).unwrap();
    run(Command::new("kill").args(["-CONT", &broker.pid().to_string()])).ok();
    let output = child.wait_with_output().unwrap();
    crate::house::is_as_documented(&String::from_utf8_lossy(&output.stdout));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains("hello, again"), "{stderr}");
    // Now it is another step, which declares nothing for what it imports.
    runner.job(&[swapped.to_str().unwrap()]).refused(126, "AR-S301");
}
