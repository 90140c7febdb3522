//! R06, on the agent's side: a broker that is not the one of the enrolment.

use crate::support::{Broker, Deed, Interposer, Output, Runner};

/// Changes one field of the runner's enrolment while its agent rests.
fn change_enrolment(runner: &mut Runner, field: &str, value: &str) -> String {
    runner.stop_agent();
    let path = runner.path("state").join("enrolment.json");
    let mut enrolment: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let before = enrolment[field].as_str().unwrap().to_owned();
    enrolment[field] = value.into();
    std::fs::write(&path, serde_json::to_vec(&enrolment).unwrap()).unwrap();
    runner.start_agent();
    before
}

fn hello(runner: &Runner) -> Output {
    runner.job(&[runner.step("hello").to_str().unwrap()])
}

/// A step that did not start has written nothing.
#[track_caller]
fn refused(output: Output, code: &str) {
    let output = output.refused(126, code);
    assert_eq!(output.stdout, "");
}

#[test]
fn r06_a_grant_under_another_signing_key_is_not_believed() {
    let broker = Broker::start();
    let mut runner = Runner::enrolled(&broker, "builder");
    hello(&runner).ok();
    // The runner has pinned another grant key than the one with which this broker signs.
    let secret = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    let other = p256::pkcs8::EncodePublicKey::to_public_key_der(&secret.public_key()).unwrap();
    let pinned = change_enrolment(&mut runner, "grant_key", &data_encoding::BASE64.encode(other.as_bytes()));
    refused(hello(&runner), "AR-X502");
    change_enrolment(&mut runner, "grant_key", &pinned);
    hello(&runner).ok();
    // Another root of TLS.
    let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap().cert;
    let root = change_enrolment(&mut runner, "tls_root", &certificate.pem());
    refused(hello(&runner), "AR-B503");
    change_enrolment(&mut runner, "tls_root", &root);
    hello(&runner).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_a_grant_replayed_or_changed_on_its_way_is_not_believed() {
    let broker = Broker::start();
    let mut runner = Runner::enrolled(&broker, "builder");
    let interposer = Interposer::start(&broker).await;
    change_enrolment(&mut runner, "broker_url", &interposer.url());
    let run = |deed| {
        interposer.shall(deed);
        tokio::task::block_in_place(|| hello(&runner))
    };
    // The control: in the middle, with the broker's TLS key, and passing everything on.
    run(Deed::Pass).ok();
    refused(run(Deed::Replay), "AR-X503");
    // The signature, and what it is over.
    refused(run(Deed::Flip(0)), "AR-X502");
    refused(run(Deed::Flip(100)), "AR-X502");
    refused(run(Deed::Halve), "AR-X501");
    run(Deed::Pass).ok();
}
