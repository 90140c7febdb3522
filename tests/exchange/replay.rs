//! Nonces: used once.

use crate::support::{Broker, Rig, refusal};
use attest_evidence::exchange::{Challenge, Nonce};
use attest_evidence::tpm::TpmName;
use std::collections::HashSet;

#[tokio::test]
async fn q01_a_whole_exchange_is_taken_once() {
    let broker = Broker::start();
    let rig = Rig::enrolled(&broker, "r").await;
    let exchange = rig.exchange(&rig.request()).await;
    rig.send(exchange.clone()).await.unwrap();
    assert_eq!(refusal(rig.send(exchange).await), "AR-X104");
    let audit = broker.audit().await;
    let (kind, body) = audit.last().unwrap();
    assert_eq!((kind.as_str(), body["report"]["code"].as_str()), ("refused", Some("AR-X104")));
}

#[tokio::test]
async fn q01_a_nonce_is_used_up_by_an_exchange_that_fails() {
    let broker = Broker::start();
    let rig = Rig::enrolled(&broker, "r").await;
    let exchange = rig.exchange(&rig.request()).await;
    // The same exchange, broken at its very end: the challenge in front of it is whole.
    let broken = exchange[..exchange.len() - 1].to_vec();
    assert_eq!(refusal(rig.send(broken).await), "AR-X101");
    assert_eq!(refusal(rig.send(exchange).await), "AR-X104");
}

#[tokio::test]
async fn q01_of_two_at_once_at_most_one_gets_past() {
    let broker = Broker::start();
    let rig = Rig::enrolled(&broker, "r").await;
    for _ in 0..10 {
        let exchange = rig.exchange(&rig.request()).await;
        let (one, other) = tokio::join!(rig.send(exchange.clone()), rig.send(exchange));
        let granted = [&one, &other].into_iter().filter(|result| result.is_ok()).count();
        assert_eq!(granted, 1, "{one:?} {other:?}");
        assert_eq!(refusal(if one.is_ok() { other } else { one }), "AR-X104");
    }
    let leases = broker.rows("SELECT count(*) FROM leases").await;
    assert_eq!(leases[0][0], "10");
}

#[tokio::test]
async fn q02_nonces_are_long_random_and_the_broker_s_own() {
    let broker = Broker::start();
    let rig = Rig::enrolled(&broker, "r").await;
    let mut seen = HashSet::new();
    for _ in 0..200 {
        let challenge = rig.challenge().await;
        let bytes = *challenge.nonce.as_bytes();
        assert!(bytes.iter().collect::<HashSet<_>>().len() > 8, "{challenge:?}");
        assert!(seen.insert(bytes));
        let left = challenge.expires.0 - std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        assert!((55..=60).contains(&left), "{left}");
    }
    // A nonce of one's own, or a later expiry, in a challenge that was the broker's.
    let challenge = rig.challenge().await;
    for spoil in [
        (|challenge| challenge.nonce = Nonce::from_bytes([7; 32])) as fn(&mut Challenge),
        |challenge| challenge.expires = challenge.expires.plus(3600),
        |challenge| challenge.selection = "0".parse().unwrap(),
    ] {
        let mut spoiled = challenge.clone();
        spoil(&mut spoiled);
        let bound = attest_evidence::exchange::write_bound(&spoiled, &rig.request()).unwrap();
        let quote = rig.quote(&spoiled, &bound).await;
        assert_eq!(refusal(rig.send(crate::support::assemble(&bound, &quote)).await), "AR-X102");
    }
}

#[tokio::test]
async fn refusals_of_anybody_do_not_fill_the_disk() {
    let broker = Broker::start();
    let rig = Rig::enrolled(&broker, "r").await;
    let before = broker.audit().await.len();
    // In the name of nobody: told, and not written down.
    for _ in 0..5 {
        let challenge = rig.client.challenge(&TpmName::of(b"nobody")).await.unwrap();
        let bound = attest_evidence::exchange::write_bound(&challenge, &rig.request()).unwrap();
        let quote = rig.quote(&challenge, &bound).await;
        assert_eq!(refusal(rig.send(crate::support::assemble(&bound, &quote)).await), "AR-X105");
    }
    assert_eq!(broker.audit().await.len(), before);
    // In the name of a runner, by somebody without its TPM: so many a minute, and little of what they claim.
    let mut request = rig.request();
    request.arguments = vec!["x".repeat(20_000)];
    for _ in 0..100 {
        let challenge = rig.challenge().await;
        let bound = attest_evidence::exchange::write_bound(&challenge, &request).unwrap();
        let mut quote = rig.quote(&challenge, &bound).await;
        quote.signature[20] ^= 1;
        assert_eq!(refusal(rig.send(crate::support::assemble(&bound, &quote)).await), "AR-E205");
    }
    let audit = broker.audit().await;
    let refused: Vec<_> = audit.iter().filter(|(kind, _)| kind == "refused").collect();
    assert!((60..=61).contains(&refused.len()), "{}", refused.len());
    assert!(refused.iter().all(|(_, body)| body.to_string().len() < 1000), "{:?}", refused[0]);
    assert_eq!(refused[0].1["claimed"]["step"]["name"], "hello");
    // The control: what a verified quote vouches for is written down whole, and what others
    // say in its name does not use up its room.
    request.step.stage = attest_evidence::name::Stage::Prod;
    request.secrets = vec![attest_evidence::exchange::SecretRequest {
        name: "x".parse().unwrap(),
        usage: attest_evidence::exchange::SecretUse::Reveal,
        why: "for the test".to_owned(),
    }];
    assert_eq!(refusal(rig.send(rig.exchange(&request).await).await), "AR-P402");
    let (_, body) = broker.audit().await.pop().unwrap();
    assert_eq!(body["asked"]["arguments"][0].as_str().unwrap().len(), 20_000);
}
