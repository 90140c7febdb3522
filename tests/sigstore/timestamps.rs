//! The broker's timestamps (RFC 3161), as OpenSSL asks for them and checks them, and in a Sigstore bundle.

use crate::support::{Broker, Directory, Output, programs, run};
use data_encoding::BASE64;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

/// A broker, and a folder with its root and some files.
struct Scene {
    broker: Broker,
    folder: Directory,
}

impl Scene {
    fn set() -> Self {
        let (broker, folder) = (Broker::start(), crate::support::directory());
        let scene = Self { broker, folder };
        let [key, root] = scene.certificates();
        std::fs::write(scene.path("key.pem"), key).unwrap();
        std::fs::write(scene.path("root.pem"), root).unwrap();
        std::fs::write(scene.path("file"), "contents\n").unwrap();
        std::fs::write(scene.path("other"), "other contents\n").unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn certificates(&self) -> [String; 2] {
        let printed = self.broker.admin(&["timestamp", "certificates", "--json"]).ok().stdout;
        let printed: Value = serde_json::from_str(&printed).unwrap();
        [0, 1].map(|at| printed["certificates"][at].as_str().unwrap().to_owned())
    }

    fn openssl(&self, arguments: &[&str]) -> Output {
        run(Command::new("openssl").args(arguments).current_dir(self.folder.path()))
    }

    /// Asks with a file, of a type, and keeps the answer. The status.
    fn post(&self, query: &str, kind: &str, answer: &str) -> String {
        let url = format!("{}/v1/timestamp", self.broker.url());
        let (header, data) = (format!("Content-Type: {kind}"), format!("@{query}"));
        // Whose answer it is shows by the timestamp's own signature.
        let mut curl = Command::new("curl");
        curl.args([
            "-sk",
            "-w",
            "%{http_code} %{content_type}",
            "-o",
            answer,
            "-H",
            &header,
            "--data-binary",
            &data,
            &url,
        ]);
        run(curl.current_dir(self.folder.path())).ok().stdout
    }

    /// A timestamp of a file, by what OpenSSL asks.
    fn stamp(&self, file: &str, options: &[&str]) {
        let query = ["ts", "-query", "-data", file, "-out", "query"];
        self.openssl(&[&query[..], options].concat()).ok();
        assert_eq!(self.post("query", "application/timestamp-query", "answer"), "200 application/timestamp-reply");
    }
}

#[test]
fn openssl_takes_the_broker_s_timestamps_and_no_other_s() {
    let scene = Scene::set();
    for digest in ["-sha256", "-sha384", "-sha512"] {
        scene.stamp("file", &[digest, "-cert"]);
        for how in [["-queryfile", "query"], ["-data", "file"]] {
            let verify = ["ts", "-verify", "-in", "answer", "-CAfile", "root.pem", how[0], how[1]];
            assert!(scene.openssl(&verify).ok().stdout.contains("Verification: OK"));
        }
        let other = scene.openssl(&["ts", "-verify", "-in", "answer", "-CAfile", "root.pem", "-data", "other"]);
        assert_ne!(other.status, 0);
        assert!(other.stderr.contains("message imprint mismatch"), "{}", other.stderr);
    }
    // Without certificates in it, which are then at hand; and without a nonce.
    scene.stamp("file", &["-sha256", "-no_nonce"]);
    let verify = ["ts", "-verify", "-in", "answer", "-data", "file", "-CAfile", "root.pem"];
    assert_ne!(scene.openssl(&verify).status, 0);
    scene.openssl(&[&verify[..], &["-untrusted", "key.pem"]].concat()).ok();
    // The key's certificate is for nothing else, and that is critical (RFC 3161 §2.3).
    let text = scene.openssl(&["x509", "-in", "key.pem", "-noout", "-text"]).ok().stdout;
    assert!(text.contains("X509v3 Extended Key Usage: critical\n                Time Stamping\n"), "{text}");
    // Another broker's root is another's.
    let other = Scene::set();
    std::fs::write(scene.path("another.pem"), &other.certificates()[1]).unwrap();
    let verify = ["ts", "-verify", "-in", "answer", "-data", "file", "-CAfile", "another.pem", "-untrusted", "key.pem"];
    assert_ne!(scene.openssl(&verify).status, 0);
}

#[test]
fn a_timestamp_is_of_now_in_whole_seconds_and_has_a_number_of_its_own() {
    let scene = Scene::set();
    let mut serials = std::collections::BTreeSet::new();
    for _ in 0..5 {
        scene.stamp("file", &["-sha256", "-cert"]);
        let text = scene.openssl(&["ts", "-reply", "-in", "answer", "-text"]).ok().stdout;
        let line = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{text}"));
            line.trim().to_owned()
        };
        assert!(serials.insert(line("Serial number:")), "{text}");
        let time = line("Time stamp:");
        assert!(!time.contains('.'), "{time}");
        let mut date = Command::new("date");
        let stamped: u64 = run(date.args(["-d", &time, "+%s"])).ok().stdout.trim().parse().unwrap();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        assert!(now.abs_diff(stamped) <= 2, "{time}");
    }
}

#[tokio::test]
async fn the_authority_is_made_once_and_kept() {
    let mut scene = Scene::set();
    let before = scene.certificates();
    scene.broker.kill();
    scene.broker.serve();
    scene.stamp("file", &["-sha256", "-cert"]);
    assert_eq!(scene.certificates(), before);
    let entries = scene.broker.audit().await;
    let made = entries.iter().filter(|(_, body)| body["what"] == "timestamp authority").count();
    assert_eq!(made, 1);
    // A key that somebody put there is none.
    let other = Scene::set();
    let theirs = other.broker.rows("SELECT hex(root), hex(certificate), hex(sealed) FROM timestamp_authority").await;
    let [root, certificate, sealed] = <[_; 3]>::try_from(theirs[0].clone()).unwrap();
    scene.broker.kill();
    let bytes = |hex: String| data_encoding::HEXUPPER.decode(hex.as_bytes()).unwrap();
    let swap = sqlx::query("UPDATE timestamp_authority SET root = ?, certificate = ?, sealed = ?");
    scene.broker.execute(swap.bind(bytes(root)).bind(bytes(certificate)).bind(bytes(sealed))).await;
    scene.broker.admin(&["timestamp", "certificates"]).refused(3, "AR-B402");
}

#[test]
fn what_is_no_query_is_refused_in_the_protocol_s_words() {
    let scene = Scene::set();
    let query = |name: &str, bytes: &[u8]| std::fs::write(scene.path(name), bytes).unwrap();
    scene.openssl(&["ts", "-query", "-data", "file", "-sha256", "-out", "good"]).ok();
    let good = std::fs::read(scene.path("good")).unwrap();
    query("nothing", b"");
    query("text", b"a digest, please");
    query("half", &good[..good.len() / 2]);
    query("more", &[&good[..], b"\0"].concat());
    // One digit of the digest's algorithm: another, and SHA-256's with a digest too short.
    let sha256 = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
    let at = good.windows(9).position(|part| part == sha256).unwrap();
    let changed = |to: u8| [&good[..at + 8], &[to], &good[at + 9..]].concat();
    query("unknown", &changed(9));
    query("short", &changed(3));
    scene.openssl(&["ts", "-query", "-data", "file", "-md5", "-out", "md5"]).ok();
    scene.openssl(&["ts", "-query", "-data", "file", "-sha256", "-tspolicy", "1.2.3.4", "-out", "policy"]).ok();
    for (name, why) in [
        ("nothing", "badDataFormat"),
        ("text", "badDataFormat"),
        ("half", "badDataFormat"),
        ("more", "badDataFormat"),
        ("unknown", "badAlg"),
        ("short", "badDataFormat"),
        ("md5", "badAlg"),
        ("policy", "unacceptedPolicy"),
    ] {
        assert_eq!(
            scene.post(name, "application/timestamp-query", "answer"),
            "200 application/timestamp-reply",
            "{name}"
        );
        let text = scene.openssl(&["ts", "-reply", "-in", "answer", "-text"]).stdout;
        // OpenSSL's words for them.
        let said = match why {
            "badAlg" => "unrecognized or unsupported algorithm identifier",
            "badDataFormat" => "the data submitted has the wrong format",
            _ => "the requested TSA policy is not supported by the TSA",
        };
        assert!(text.contains("Status: Rejected.") && text.contains(said), "{name}: {text}");
    }
    query("huge", &vec![0; 5000]);
    let said = || std::fs::read_to_string(scene.path("answer")).unwrap();
    assert!(scene.post("huge", "application/timestamp-query", "answer").starts_with("400 "));
    assert!(said().contains("AR-B104"), "{}", said());
    assert!(scene.post("good", "application/octet-stream", "answer").starts_with("415 "));
    assert!(said().contains("AR-B105"), "{}", said());
}

#[test]
fn a_bundle_with_the_broker_s_timestamp_and_a_known_key_is_verified() {
    let scene = Scene::set();
    scene.openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "signer.pem"]).ok();
    scene.openssl(&["ec", "-in", "signer.pem", "-pubout", "-out", "signer.pub"]).ok();
    let bundle = |file: &str, stamped: &str| {
        scene.openssl(&["dgst", "-sha256", "-sign", "signer.pem", "-out", "signature", file]).ok();
        scene.openssl(&["dgst", "-sha256", "-binary", "-out", "digest", file]).ok();
        scene.stamp(stamped, &["-sha256", "-cert"]);
        let raw = |name: &str| BASE64.encode(&std::fs::read(scene.path(name)).unwrap());
        let bundle = json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "publicKey": { "hint": "release" },
                "timestampVerificationData": { "rfc3161Timestamps": [{ "signedTimestamp": raw("answer") }] },
            },
            "messageSignature": {
                "messageDigest": { "algorithm": "SHA2_256", "digest": raw("digest") },
                "signature": raw("signature"),
            },
        });
        std::fs::write(scene.path("bundle.json"), bundle.to_string()).unwrap();
    };
    let trusted = |scene: &Scene| scene.broker.admin(&["timestamp", "trusted-root"]).ok().stdout;
    let verify = |trusted: &str| {
        std::fs::write(scene.path("trusted_root.json"), trusted).unwrap();
        let mut command = Command::new(programs().join("attest-run"));
        command.args(["verify", "bundle", "--bundle", "bundle.json", "--key", "signer.pub"]);
        run(command.args(["--trusted-root", "trusted_root.json", "file"]).current_dir(scene.folder.path()))
    };
    bundle("file", "signature");
    verify(&trusted(&scene)).ok();
    // Of a broker whose timestamp it is not; and a timestamp of something else than the signature.
    verify(&trusted(&Scene::set())).refused(1, "AR-V209");
    bundle("file", "other");
    verify(&trusted(&scene)).refused(1, "AR-V209");
    bundle("other", "signature");
    verify(&trusted(&scene)).refused(1, "AR-V204");
}
