//! The quote covers the request, every byte of it.

use crate::support::{Broker, Rig, SoftAk, assemble, refusal};
use attest_evidence::Sha256Digest;
use attest_evidence::bytes::put_sized_u16;
use attest_evidence::exchange::{
    BoundDirectory, DirectoryMode, Isolation, KeyFormat, KeyRequest, KeyUse, Request, SecretRequest, SecretUse,
    TokenRequest, write_bound,
};
use attest_evidence::name::{JobSessionId, Stage};

/// A request with something in every field.
fn full(rig: &Rig) -> Request {
    Request {
        directories: vec![BoundDirectory {
            name: "dist".parse().unwrap(),
            mode: DirectoryMode::Read,
            why: "reads".to_owned(),
        }],
        secrets: vec![SecretRequest {
            name: "token".parse().unwrap(),
            usage: SecretUse::Reveal,
            why: "for the test".to_owned(),
        }],
        keys: vec![KeyRequest {
            name: "release".parse().unwrap(),
            usage: KeyUse::Sign,
            formats: vec![KeyFormat::Raw],
            public_key: Sha256Digest::of(b"key"),
            lease: None,
            why: "for the test".to_owned(),
        }],
        ..rig.request()
    }
}

type Change = fn(&mut Request);

#[tokio::test]
async fn b01_every_field_changed_after_the_quote_is_a_binding_mismatch() {
    let broker = Broker::start();
    broker.set_secret("dev", "token", "a value to release");
    let rig = Rig::enrolled(&broker, "r").await;
    let request = full(&rig);
    rig.send(rig.exchange(&request).await).await.unwrap();

    let changes: [(&str, Change); 19] = [
        ("isolation", |request| request.isolation = Isolation::Agent),
        ("session", |request| request.session = Some(JobSessionId::from_bytes([1; 16]))),
        ("step name", |request| request.step.name = "other".parse().unwrap()),
        ("stage", |request| request.step.stage = Stage::Prod),
        ("component", |request| request.component = Sha256Digest::of(b"other")),
        ("manifest", |request| request.manifest = Sha256Digest::of(b"other")),
        ("argument", |request| request.arguments[0] += "x"),
        ("arguments", |request| request.arguments.push(String::new())),
        ("directory mode", |request| request.directories[0].mode = DirectoryMode::Write),
        ("directories", |request| request.directories.clear()),
        ("measurement", |request| request.measurement = Some(Sha256Digest::of(b"bundle"))),
        ("HPKE key", |request| request.hpke_public_key[0] ^= 1),
        ("secret", |request| request.secrets[0].name = "other".parse().unwrap()),
        ("secret's use", |request| request.secrets[0].usage = SecretUse::Http),
        ("why", |request| request.secrets[0].why += "!"),
        ("tokens", |request| {
            let (name, audience) = ("other".parse().unwrap(), "sts.example".parse().unwrap());
            request.tokens.push(TokenRequest { name, audience, why: "for the test".to_owned() });
        }),
        ("key", |request| request.keys[0].public_key = Sha256Digest::of(b"other")),
        ("formats", |request| request.keys[0].formats.clear()),
        ("keys", |request| request.keys.clear()),
    ];
    for (what, change) in changes {
        let challenge = rig.challenge().await;
        let bound = write_bound(&challenge, &request).unwrap();
        let quote = rig.quote(&challenge, &bound).await;
        let mut changed = request.clone();
        change(&mut changed);
        assert_ne!(changed, request, "{what}");
        let exchange = assemble(&write_bound(&challenge, &changed).unwrap(), &quote);
        assert_eq!(refusal(rig.send(exchange).await), "AR-E206", "{what}");
    }
    let granted = broker.audit().await.into_iter().filter(|(kind, _)| kind == "granted").count();
    assert_eq!(granted, 1);
}

#[tokio::test]
async fn b01_a_quote_for_one_challenge_does_not_answer_another() {
    let broker = Broker::start();
    let rig = Rig::enrolled(&broker, "r").await;
    let (one, other) = (rig.challenge().await, rig.challenge().await);
    let quote = rig.quote(&one, &write_bound(&one, &rig.request()).unwrap()).await;
    let exchange = assemble(&write_bound(&other, &rig.request()).unwrap(), &quote);
    assert_eq!(refusal(rig.send(exchange).await), "AR-E206");
    // A challenge that was given to another key.
    let key = SoftAk::p256();
    key.insert(&broker, "soft").await;
    let challenge = rig.client.challenge(&key.name()).await.unwrap();
    let bound = write_bound(&challenge, &rig.request()).unwrap();
    let quote = rig.quote(&challenge, &bound).await;
    assert_eq!(refusal(rig.send(assemble(&bound, &quote)).await), "AR-E205");
}

#[tokio::test]
async fn b02_bytes_that_could_be_read_in_two_ways_are_refused_though_the_quote_covers_them() {
    let broker = Broker::start();
    let rig = Rig::enrolled(&broker, "r").await;
    let text = String::from_utf8(full(&rig).to_bytes()).unwrap();
    let member = |name: &str, value: &str| text.replacen('{', &format!("{{\"{name}\":{value},"), 1);
    let spoiled = [
        ("duplicate", member("isolation", "\"direct\"")),
        ("duplicate within", text.replacen("\"mode\":\"read\"", "\"mode\":\"read\",\"mode\":\"write\"", 1)),
        ("unknown", member("admin", "true")),
        ("number as string", text.replacen("\"arguments\":[\"v1.0.0\"]", "\"arguments\":[1]", 1)),
        ("string as number", text.replacen("\"stage\":\"dev\"", "\"stage\":0", 1)),
        ("two documents", format!("{text}{text}")),
        ("trailing", format!("{text}\0")),
        (
            "upper-case digits",
            text.replacen(&full(&rig).component.to_string(), &full(&rig).component.to_string().to_uppercase(), 1),
        ),
        ("nothing", String::new()),
    ];
    for (what, request) in spoiled {
        assert_ne!(request, text, "{what}");
        let challenge = rig.challenge().await;
        let mut bound = Vec::new();
        put_sized_u16(&mut bound, &challenge.to_bytes()).unwrap();
        bound.extend(request.as_bytes());
        let quote = rig.quote(&challenge, &bound).await;
        assert_eq!(refusal(rig.send(assemble(&bound, &quote)).await), "AR-X101", "{what}");
    }
}
