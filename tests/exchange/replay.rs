//! Nonces: used once.

use crate::support::{Broker, Rig, refusal};
use attest_evidence::exchange::{Challenge, Nonce};
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
