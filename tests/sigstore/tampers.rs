//! A good bundle, changed in one field: each change is refused, for its reason.

use super::read;
use attest_evidence::report::Explain as _;
use attest_sigstore::{Artifact, Bundle, Expected, Instance, LARGEST_BUNDLE, ManagedKey, Trust};
use data_encoding::BASE64;
use serde_json::{Value, json};

const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/\
                        extremely-dangerous-oidc-beacon.yml@refs/heads/main";

/// A bundle that is good, and what it takes to say so.
struct Good {
    bundle: Value,
    artifact: Vec<u8>,
    expected: Expected,
    trust: Trust,
}

impl Good {
    fn of(case: &str) -> Self {
        let file = |name: &str| format!("conformance/bundle-verify/{case}/{name}");
        let optional = |name: &str| std::fs::read(super::data(&file(name))).ok();
        let trust = match optional("trusted_root.json") {
            Some(root) => Trust::parse(&root).unwrap(),
            None => Trust::of(Instance::PublicGood).unwrap(),
        };
        let issuer = "https://token.actions.githubusercontent.com".to_owned();
        let expected = match optional("key.pub") {
            Some(key) => Expected::Key(ManagedKey::parse(&key).unwrap()),
            None => Expected::Identity { identity: IDENTITY.to_owned(), issuer },
        };
        let bundle = serde_json::from_slice(&read(&file("bundle.sigstore.json"))).unwrap();
        let artifact = optional("artifact").unwrap_or_else(|| read("conformance/bundle-verify/a.txt"));
        let good = Self { bundle, artifact, expected, trust };
        assert_eq!(good.verdict(&good.bundle.to_string()), "good", "{case}");
        good
    }

    /// `good`, or the code of the refusal.
    fn verdict(&self, bundle: &str) -> String {
        let bundle = match Bundle::parse(bundle.as_bytes()) {
            Ok(bundle) => bundle,
            Err(error) => return error.report().code.as_str().to_owned(),
        };
        match self.trust.verify(&bundle, Artifact::Bytes(&self.artifact), &self.expected) {
            Ok(_) => "good".to_owned(),
            Err(refused) => refused.report().code.as_str().to_owned(),
        }
    }

    fn changed(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut bundle = self.bundle.clone();
        change(&mut bundle);
        assert_ne!(bundle, self.bundle, "nothing was changed");
        self.verdict(&bundle.to_string())
    }

    /// The verdict with one field as `change` makes it.
    fn field(&self, pointer: &str, change: impl FnOnce(&mut Value)) -> String {
        self.changed(|bundle| change(bundle.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}"))))
    }
}

/// Another byte in the middle of what is base64 here.
fn flipped(value: &mut Value) {
    let mut bytes = BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    *value = BASE64.encode(&bytes).into();
}

/// One more than the number here, which is a text.
fn incremented(value: &mut Value) {
    *value = (value.as_str().unwrap().parse::<u64>().unwrap() + 1).to_string().into();
}

/// The text in what is base64 here, with this in it replaced.
fn replaced(value: &mut Value, from: &str, to: &str) {
    let text = String::from_utf8(BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap()).unwrap();
    *value = BASE64.encode(text.replacen(from, to, 1).as_bytes()).into();
}

const ENTRY: &str = "/verificationMaterial/tlogEntries/0";

#[test]
fn s01_no_field_of_a_log_entry_can_be_changed() {
    for case in ["happy-path-v0.3", "rekor2-happy-path", "happy-path-intoto-in-dsse-v3", "managed-key-and-trusted-root"]
    {
        let good = Good::of(case);
        let at = |field: &str| format!("{ENTRY}/{field}");
        let first = good.bundle.pointer(ENTRY).unwrap().clone();
        for (field, code) in
            [("logId/keyId", "AR-V208"), ("inclusionProof/hashes/0", "AR-V208"), ("canonicalizedBody", "AR-V208")]
        {
            assert_eq!(good.field(&at(field), flipped), code, "{case}: {field}");
        }
        // Some are found when the form is looked at, before any proof is.
        for (field, change) in [
            ("inclusionProof/logIndex", incremented as fn(&mut Value)),
            ("inclusionProof/treeSize", incremented),
            ("inclusionProof/rootHash", flipped),
        ] {
            let verdict = good.field(&at(field), change);
            assert!(["AR-V208", "AR-V211"].contains(&verdict.as_str()), "{case}: {field}: {verdict}");
        }
        if first["inclusionPromise"].is_null() {
            let verdict = good.field(&at("logIndex"), incremented);
            assert!(["AR-V208", "AR-V211"].contains(&verdict.as_str()), "{case}: logIndex: {verdict}");
        } else {
            // The promise covers both.
            for (field, change) in [
                ("logIndex", incremented as fn(&mut Value)),
                ("integratedTime", incremented),
                ("inclusionPromise/signedEntryTimestamp", flipped),
            ] {
                assert_eq!(good.field(&at(field), change), "AR-V208", "{case}: {field}");
            }
        }
        assert_eq!(
            good.field(&at("kindVersion/kind"), |kind| *kind = "helm".into()),
            "AR-V101",
            "{case}: another kind"
        );
        let none = good.field("/verificationMaterial/tlogEntries", |entries| *entries = json!([]));
        assert!(["AR-V208", "AR-V211"].contains(&none.as_str()), "{case}: no entry: {none}");
        assert_eq!(
            good.changed(|bundle| {
                bundle.pointer_mut(ENTRY).unwrap().as_object_mut().unwrap().remove("inclusionProof");
            }),
            "AR-V211",
            "{case}: no proof"
        );
        // One that is good, and one beside it that nothing proves.
        let mut second = first.clone();
        second.as_object_mut().unwrap().remove("inclusionProof");
        let many = |count: usize| {
            good.field("/verificationMaterial/tlogEntries", |entries| {
                entries.as_array_mut().unwrap().extend(std::iter::repeat_n(second.clone(), count));
            })
        };
        assert_eq!(many(1), "AR-V101", "{case}: a second entry");
        assert_eq!(many(10_000), "AR-V101", "{case}: many entries");
    }
}

#[test]
fn s01_no_checkpoint_can_be_changed() {
    for case in ["happy-path-v0.3", "rekor2-happy-path", "happy-path-intoto-in-dsse-v3"] {
        let good = Good::of(case);
        let at = format!("{ENTRY}/inclusionProof/checkpoint/envelope");
        let edit = |change: &dyn Fn(&str) -> String| {
            good.field(&at, |envelope| *envelope = change(envelope.as_str().unwrap()).into())
        };
        // Another tree's: origin, size, and a signature by another key.
        let other_origin = edit(&|text| text.replacen("rekor", "rekos", 1));
        assert_eq!(other_origin, "AR-V208", "{case}: origin");
        let other_size = edit(&|text| {
            let size = text.lines().nth(1).unwrap().to_owned();
            text.replacen(&size, &format!("{size}0"), 1)
        });
        assert!(["AR-V208", "AR-V211"].contains(&other_size.as_str()), "{case}: size: {other_size}");
        let other_key = edit(&|text| {
            let (body, signature) = text.rsplit_once(' ').unwrap();
            let mut bytes = BASE64.decode(signature.trim().as_bytes()).unwrap();
            bytes[0] ^= 1;
            format!("{body} {}\n", BASE64.encode(&bytes))
        });
        assert_eq!(other_key, "AR-V208", "{case}: key");
        let other_signature = edit(&|text| {
            let (body, signature) = text.rsplit_once(' ').unwrap();
            let mut bytes = BASE64.decode(signature.trim().as_bytes()).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            format!("{body} {}\n", BASE64.encode(&bytes))
        });
        assert_eq!(other_signature, "AR-V208", "{case}: signature");
    }
}

#[test]
fn s01_signature_certificate_payload_and_time_can_t_be_changed() {
    let message = Good::of("happy-path-v0.3");
    assert_eq!(message.field("/messageSignature/messageDigest/digest", flipped), "AR-V204");
    // An entry that holds another signature comes to light before the signature itself.
    let signature = message.field("/messageSignature/signature", flipped);
    assert!(["AR-V206", "AR-V208"].contains(&signature.as_str()), "{signature}");
    let certificate = message.field("/verificationMaterial/certificate/rawBytes", flipped);
    assert!(["AR-V207", "AR-V211"].contains(&certificate.as_str()), "{certificate}");
    let no_certificate = message.changed(|bundle| {
        let material = bundle["verificationMaterial"].as_object_mut().unwrap();
        material.remove("certificate");
        material.insert("publicKey".to_owned(), json!({ "hint": "" }));
    });
    assert_eq!(no_certificate, "AR-V202");

    let statement = Good::of("happy-path-intoto-in-dsse-v3");
    let payload = statement.field("/dsseEnvelope/payload", |payload| replaced(payload, "predicate", "Predicate"));
    assert!(["AR-V204", "AR-V206", "AR-V208", "AR-V211"].contains(&payload.as_str()), "{payload}");
    let kind = statement.field("/dsseEnvelope/payloadType", |kind| *kind = "application/json".into());
    assert!(["AR-V204", "AR-V206", "AR-V210", "AR-V211"].contains(&kind.as_str()), "{kind}");

    let stamped = Good::of("rekor2-happy-path");
    let stamp = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps";
    let last_byte = |value: &mut Value| {
        let mut bytes = BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        *value = BASE64.encode(&bytes).into();
    };
    assert_eq!(stamped.field(&format!("{stamp}/0/signedTimestamp"), last_byte), "AR-V209");
    // Of Rekor's second version the timestamp alone shows when.
    assert_eq!(stamped.field(stamp, |stamps| *stamps = json!([])), "AR-V209");

    let key = Good::of("managed-key-happy-path");
    let other = Expected::Key(ManagedKey::parse(&read("sigstore-go/public-key-validity.pem")).unwrap());
    let other = Good { expected: other, ..key };
    let verdict = other.verdict(&other.bundle.to_string());
    assert!(["AR-V206", "AR-V208"].contains(&verdict.as_str()), "{verdict}");
}

#[test]
fn what_is_no_bundle_is_refused() {
    let good = Good::of("happy-path-v0.3");
    let text = good.bundle.to_string();
    for (what, bytes) in [
        ("nothing", String::new()),
        ("spaces", " \n".to_owned()),
        ("a list", format!("[{text}]")),
        ("a member twice", format!("{{\"mediaType\":\"x\",{}", &text[1..])),
        ("a member twice, deep", text.replacen("\"logIndex\"", "\"logIndex\":\"1\",\"logIndex\"", 1)),
        ("deep nesting", format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
        ("an empty chain", {
            let mut bundle = good.bundle.clone();
            let material = bundle["verificationMaterial"].as_object_mut().unwrap();
            material.remove("certificate");
            material.insert("x509CertificateChain".to_owned(), json!({ "certificates": [] }));
            bundle.to_string()
        }),
    ] {
        assert_eq!(good.verdict(&bytes), "AR-V101", "{what}");
    }
    for length in (0..text.len()).filter(|length| text.is_char_boundary(*length)) {
        assert_eq!(good.verdict(&text[..length]), "AR-V101", "truncated at {length}");
    }
    let huge = format!("{{\"x\":\"{}\"}}", " ".repeat(LARGEST_BUNDLE));
    assert!(Bundle::parse(huge.as_bytes()).unwrap_err().to_string().contains("has 16777216 at most"));
}

#[test]
fn trusted_roots_that_can_t_be_used_are_refused() {
    let good = String::from_utf8(read("trusted_root/public-good.trusted_root.json")).unwrap();
    let without = |members: &[&str]| {
        let mut root: Value = serde_json::from_str(&good).unwrap();
        members.iter().for_each(|member| root[*member] = json!([]));
        root.to_string()
    };
    let twice = {
        let mut root: Value = serde_json::from_str(&good).unwrap();
        let first = root["tlogs"][0].clone();
        root["tlogs"].as_array_mut().unwrap().push(first);
        root.to_string()
    };
    for (what, bytes) in [
        ("nothing", String::new()),
        ("no JSON", "{".to_owned()),
        ("another document", "{}".to_owned()),
        ("nobody", without(&["tlogs", "timestampAuthorities"])),
        ("a log twice", twice),
        ("a certificate that is none", good.replacen("MII", "NII", 1)),
    ] {
        assert_eq!(
            Trust::parse(bytes.as_bytes()).err().map(|error| error.report().code.as_str().to_owned()),
            Some("AR-V102".to_owned()),
            "{what}"
        );
    }
    // Of another instance, and one whose authorities had ended before.
    let message = Good::of("happy-path-v0.3");
    let of_others = Trust::parse(&read("trusted_root/sigstore-go-scaffolding.json")).unwrap();
    let others = Good { trust: of_others, ..message };
    assert_eq!(others.verdict(&others.bundle.to_string()), "AR-V208");
    let ended = {
        let mut root: Value = serde_json::from_str(&good).unwrap();
        for authority in root["certificateAuthorities"].as_array_mut().unwrap() {
            authority["validFor"] = json!({ "start": "2021-03-07T03:20:29Z", "end": "2022-01-01T00:00:00Z" });
        }
        Trust::parse(root.to_string().as_bytes()).unwrap()
    };
    let ended = Good { trust: ended, ..others };
    assert_eq!(ended.verdict(&ended.bundle.to_string()), "AR-V207");
    let without_authorities =
        Good { trust: Trust::parse(without(&["certificateAuthorities"]).as_bytes()).unwrap(), ..ended };
    assert_eq!(without_authorities.verdict(&without_authorities.bundle.to_string()), "AR-V203");
}
