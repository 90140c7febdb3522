//! Keys that obey their lease, from `keys create` to the signature of a step.

use super::ready;
use crate::support::{Broker, Runner, directory, embedded, programs, run};
use attest_evidence::Sha256Digest;
use attest_evidence::tpm::{Signature, SignatureValue, TpmName, fixed};
use attest_tpm::{Device, SessionProtection, SigningKey, TpmError};
use std::process::Command;

/// Enrolls a runner anew, as its admin does.
fn enroll_anew(runner: &mut Runner, broker: &Broker, name: &str) {
    runner.stop_agent();
    std::fs::remove_file(runner.path("state/enrolment.json")).unwrap();
    runner.start_agent();
    let token = broker.token_text(name, "agent", true);
    runner.as_user(0, &["enroll", "--broker", &broker.url(), "--token", &token]).ok();
}

/// The key `release` as `keys list` shows it.
fn listed(runner: &Runner) -> serde_json::Value {
    let out = runner.as_user(0, &["keys", "list", "--json"]).ok().stdout;
    let out: serde_json::Value = serde_json::from_str(&out).unwrap();
    let keys = out["keys"].as_array().unwrap();
    keys.iter().find(|key| key["name"] == "release").unwrap().clone()
}

#[test]
fn k01_without_the_broker_nobody_signs_not_the_admin_and_not_whoever_has_the_tpm() {
    let (_broker, mut runner) = ready();
    assert_eq!(listed(&runner)["leased"], true);
    runner.hostile(&["sign", "contents\n"]).ok();
    let file = runner.write("file", "contents\n");
    runner.as_user(0, &["sign", "--key", "release", file.to_str().unwrap()]).refused(1, "AR-K109");
    // Whoever runs the step without the broker has nothing that signs, either.
    runner.stop_agent();
    let state = runner.path("state");
    let file: serde_json::Value =
        serde_json::from_slice(&std::fs::read(state.join("keys/dev/release.json")).unwrap()).unwrap();
    let key: SigningKey = serde_json::from_value(file["key"].clone()).unwrap();
    let mut tpm = Device::open(&embedded(&state.join("tpm")), SessionProtection::Private).unwrap();
    let refused = tpm.sign(&key, &Sha256Digest::of(b"a file")).unwrap_err();
    let TpmError::Command { command: "TPM2_Sign", reason } = refused else { panic!("{refused}") };
    assert!(reason.contains("authValue or authPolicy is not available"), "{reason}");
    // The control: a key that is made to sign by hand does, for the same user.
    let by_hand = tpm.create_signing_key().unwrap();
    tpm.sign(&by_hand, &Sha256Digest::of(b"a file")).unwrap();
}

#[test]
fn a_key_that_obeys_another_broker_is_rotated() {
    let (_former, mut runner) = ready();
    runner.hostile(&["sign", "contents\n"]).ok();
    let former = listed(&runner);
    // The broker is lost, with its keys, and the runner enrolls with the one that took its place.
    let broker = Broker::start();
    broker.set_secret("dev", "release/npm-token", "npm_secret_of_dev");
    enroll_anew(&mut runner, &broker, "builder");
    runner.hostile(&["sign", "contents\n"]).refused(126, "AR-K108");
    let out = runner.as_user(0, &["keys", "rotate", "release"]).ok();
    assert!(out.stdout.contains("in tpm, by lease"), "{}", out.stdout);
    runner.hostile(&["sign", "contents\n"]).ok();
    let present = listed(&runner);
    assert_ne!(present["fingerprint"], former["fingerprint"]);
    assert_eq!(present["former"], serde_json::json!([former["public_key"]]));
    // Keys of the other kinds are rotated to their like.
    for (name, options) in [("hand", &["--by-hand"][..]), ("derived", &["--algorithm", "ed25519"])] {
        let made = runner.as_user(0, &[&["keys", "create", name], options].concat()).ok().stdout;
        let rotated = runner.as_user(0, &["keys", "rotate", name]).ok().stdout;
        let kind = |line: &str| line.split("sha256:").next().unwrap().to_owned();
        assert_eq!(kind(&made), kind(&rotated));
        assert_ne!(made, rotated);
        let file = runner.write("file", "contents\n");
        runner.as_user(0, &["sign", "--key", name, file.to_str().unwrap()]).ok();
    }
    runner.as_user(0, &["keys", "rotate", "nothing"]).refused(1, "AR-K101");
    runner.job(&["keys", "rotate", "release"]).refused(1, "AR-C402");
}

#[test]
fn a_key_is_bound_to_a_boot_state() {
    let (_broker, runner) = ready();
    runner.as_user(0, &["keys", "delete", "release"]).ok();
    let made = runner.as_user(0, &["keys", "create", "release", "--pcrs", "0,7"]).ok().stdout;
    assert!(made.contains("in tpm, by lease, while sha256:0,7 are as they were"), "{made}");
    assert_eq!(listed(&runner)["pcrs"], serde_json::json!([0, 7]));
    runner.hostile(&["sign", "contents\n"]).ok();
    let out = runner.as_user(0, &["keys", "create", "x", "--pcrs", "7", "--by-hand"]);
    assert!(out.status == 2 && out.stderr.contains("cannot be used with"), "{}", out.stderr);
    runner.as_user(0, &["keys", "create", "x", "--pcrs", "7", "--algorithm", "ed25519"]).refused(2, "AR-K110");
}

#[test]
fn an_enrolment_anew_certifies_keys_anew() {
    let (broker, mut runner) = ready();
    runner.hostile(&["sign", "contents\n"]).ok();
    broker.admin(&["runner", "retire", "builder"]).ok();
    enroll_anew(&mut runner, &broker, "builder-2");
    runner.hostile(&["sign", "contents\n"]).ok();
}

/// The parts of a key attestation, as bytes.
fn part(document: &serde_json::Value, name: &str) -> Vec<u8> {
    data_encoding::BASE64.decode(document[name].as_str().unwrap().as_bytes()).unwrap()
}

#[test]
fn a_key_is_attested_to_whoever_trusts_the_broker() {
    let (broker, runner) = ready();
    for (name, options) in [("hand", &["--by-hand"][..]), ("derived", &["--algorithm", "ed25519"])] {
        runner.as_user(0, &[&["keys", "create", name], options].concat()).ok();
    }
    let folder = directory();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let authority = broker.admin(&["authority"]).ok().stdout;
    std::fs::write(path("authority.pem"), &authority).unwrap();
    let document = runner.as_user(0, &["keys", "attest", "release"]).ok().stdout;
    let parsed: serde_json::Value = serde_json::from_str(&document).unwrap();
    let verify = |document: &str, authority: &str| {
        std::fs::write(path("key.json"), document).unwrap();
        run(Command::new(programs().join("attest-run"))
            .args(["--json", "verify", "key", "--authority", &path(authority), &path("key.json")])
            .env_clear())
    };
    let out = verify(&document, "authority.pem").ok().stdout;
    crate::house::is_as_documented(&out);
    let out: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&out["leased"], &out["fingerprint"]), (&true.into(), &listed(&runner)["fingerprint"]));
    let subject = out["chain"][0].as_str().unwrap();
    assert!(subject.contains("CN=builder") && subject.contains("OU=tpm software"), "{subject}");
    let by_hand = runner.as_user(0, &["keys", "attest", "hand"]).ok().stdout;
    let out: serde_json::Value = serde_json::from_str(&verify(&by_hand, "authority.pem").ok().stdout).unwrap();
    assert_eq!(out["leased"], false);
    runner.as_user(0, &["keys", "attest", "derived"]).refused(1, "AR-K111");
    runner.job(&["keys", "attest", "release"]).refused(1, "AR-C402");

    // Of whom it is asked by its public key.
    let by_key = |name: &str| {
        std::fs::write(path("public.pem"), runner.as_user(0, &["keys", "public", name]).ok().stdout).unwrap();
        let arguments = ["verify", "key", "--authority", &path("authority.pem"), "--public-key", &path("public.pem")];
        std::fs::write(path("key.json"), &document).unwrap();
        run(Command::new(programs().join("attest-run")).args(arguments).arg(path("key.json")).env_clear())
    };
    by_key("release").ok();
    by_key("hand").refused(1, "AR-K310");

    // Somebody else's programs say the same: the chain, and the attestation key's signature over what names the key.
    std::fs::write(path("ak.pem"), parsed["ak_certificate"].as_str().unwrap()).unwrap();
    std::fs::write(path("message"), part(&parsed, "certification")).unwrap();
    let signature = part(&parsed, "signature");
    let Some(SignatureValue::Ecdsa { r, s }) = Signature::parse(&signature).ok().map(|parsed| parsed.value) else {
        panic!()
    };
    let der = p256::ecdsa::Signature::from_scalars(fixed::<32>(r).unwrap(), fixed::<32>(s).unwrap()).unwrap().to_der();
    std::fs::write(path("signature"), der.as_bytes()).unwrap();
    let openssl = |arguments: &[&str]| run(Command::new("openssl").args(arguments).current_dir(folder.path()));
    openssl(&["verify", "-CAfile", "authority.pem", "ak.pem"]).ok();
    let public = openssl(&["x509", "-in", "ak.pem", "-noout", "-pubkey"]).ok().stdout;
    std::fs::write(path("ak.pub"), public).unwrap();
    openssl(&["dgst", "-sha256", "-verify", "ak.pub", "-signature", "signature", "message"]).ok();
    let name = TpmName::of(&part(&parsed, "public"));
    let message = part(&parsed, "certification");
    assert!(message.windows(34).any(|window| window == name.as_bytes()), "the Name of the key is what was signed");

    // Each part that is changed, and the code that says so.
    let changed = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut other = parsed.clone();
        let mut bytes = part(&parsed, name);
        change(&mut bytes);
        other[name] = data_encoding::BASE64.encode(&bytes).into();
        other.to_string()
    };
    let last = |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1;
    let with = |name: &str, value: serde_json::Value| {
        let mut other = parsed.clone();
        other[name] = value;
        other.to_string()
    };
    let of_hand: serde_json::Value = serde_json::from_str(&by_hand).unwrap();
    let mut lease_of_another = of_hand.clone();
    lease_of_another["lease"] = parsed["lease"].clone();
    let mut hand_by_another_name = of_hand;
    hand_by_another_name["name"] = "release".into();
    let mut of_another_broker = parsed.clone();
    of_another_broker["lease"]["authority"] = TpmName::of(b"another broker").to_string().into();
    for (code, what, document) in [
        ("AR-K305", "another key", changed("public", &last)),
        ("AR-K303", "another certification", changed("certification", &last)),
        ("AR-K303", "another signature", changed("signature", &last)),
        ("AR-K312", "another attestation key", changed("ak", &last)),
        ("AR-K304", "another stage", with("stage", "prod".into())),
        ("AR-K304", "another name", with("name", "other".into())),
        ("AR-K314", "whom it obeys left out", with("lease", serde_json::Value::Null)),
        ("AR-K317", "whom it obeys changed", of_another_broker.to_string()),
        ("AR-K304", "a key by hand by another name", hand_by_another_name.to_string()),
        ("AR-K308", "a key that needs no lease", lease_of_another.to_string()),
        ("AR-K311", "another form", with("schema", "attest-run/key-attestation/v2".into())),
        ("AR-K311", "not a document", "{}".to_owned()),
    ] {
        let out = verify(&document, "authority.pem");
        assert_eq!(out.status, 1, "{what}: {}", out.stderr);
        out.refused(1, code);
    }
    let another = Broker::start();
    std::fs::write(path("another.pem"), another.admin(&["authority"]).ok().stdout).unwrap();
    verify(&document, "another.pem").refused(1, "AR-K313");
}
