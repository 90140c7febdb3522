//! Leases, and messages about them from those who don't hold them (R02, R06).

use crate::support::{Broker, Held, Rig, refusal};
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::{
    KeyFormat, KeyRequest, KeyUse, LeaseMessage, LeaseSignal, SecretRequest, SecretUse, seal,
};
use attest_evidence::name::LeaseId;
use std::time::{Duration, Instant};

#[tokio::test]
async fn r06_heartbeats_and_releases_are_the_holder_s_alone() {
    let broker = Broker::start();
    let rig = Rig::enrolled(&broker, "r").await;
    let held = Held::ask(&rig, &rig.request()).await.unwrap();
    let forged = LeaseMessage { lease: held.id().clone(), counter: 1, signal: LeaseSignal::Failed };
    assert_eq!(refusal(rig.client.release(seal(&forged, &[0; 32])).await), "AR-X402");
    let forged = LeaseMessage { signal: LeaseSignal::Heartbeat, ..forged };
    assert_eq!(refusal(rig.client.heartbeats(seal(&forged, &[0; 32])).await), "AR-X402");
    assert_eq!(held.beat(&rig, 1).await, None);
    assert_eq!(held.beat(&rig, 1).await.as_deref(), Some("replayed"));
    assert_eq!(held.beat(&rig, 5).await, None);
    assert_eq!(refusal(held.release(&rig, 4, LeaseSignal::Succeeded).await), "AR-X404");
    // Each message has its way: a heartbeat ends nothing, and what ends is no heartbeat.
    assert_eq!(refusal(held.release(&rig, 6, LeaseSignal::Heartbeat).await), "AR-X401");
    assert_eq!(refusal(rig.client.heartbeats(held.sealed(6, LeaseSignal::Succeeded)).await), "AR-X401");

    // Several travel together. One that is forged spoils them all; one that never was is named.
    let other = Held::ask(&rig, &rig.request()).await.unwrap();
    let both = [held.heartbeat(6), other.heartbeat(1)].concat();
    assert!(rig.client.heartbeats(both).await.unwrap().ended.is_empty());
    let spoilt = [held.heartbeat(7), seal(&LeaseMessage { lease: other.id().clone(), ..forged.clone() }, &[0; 32])];
    assert_eq!(refusal(rig.client.heartbeats(spoilt.concat()).await), "AR-X402");
    let unknown = LeaseMessage { lease: LeaseId::from_bytes([1; 16]), ..forged };
    let said = rig.client.heartbeats([held.heartbeat(7), seal(&unknown, &[0; 32])].concat()).await.unwrap();
    assert_eq!((&said.ended[0].lease, said.ended[0].how.as_str()), (&unknown.lease, "unknown"));
    assert_eq!(refusal(rig.client.release(seal(&unknown, &[0; 32])).await), "AR-X403");
    // Another's lease with one's own key.
    let stolen = LeaseMessage { lease: other.id().clone(), counter: 9, signal: LeaseSignal::Failed };
    assert_eq!(refusal(rig.client.release(held.key.expose(|key| seal(&stolen, key))).await), "AR-X402");
    assert_eq!(refusal(rig.client.watch(seal(&stolen, &[0; 32])).await), "AR-X401");

    held.release(&rig, 8, LeaseSignal::Succeeded).await.unwrap();
    assert_eq!(refusal(held.release(&rig, 9, LeaseSignal::Succeeded).await), "AR-X403");
    let kinds: Vec<_> = broker.audit().await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "lease-refused").count(), 4);
    assert_eq!(kinds.iter().filter(|kind| *kind == "lease-ended").count(), 1);
}

#[tokio::test]
async fn r02_a_lease_that_has_ended_is_no_lease_whatever_ended_it() {
    let mut broker = Broker::start_with(&["--heartbeat-seconds", "1"]);
    let rig = Rig::enrolled(&broker, "r").await;
    let ask = async || Held::ask(&rig, &rig.request()).await.unwrap();
    // By its step, by an admin, by silence.
    let (released, revoked, silent) = (ask().await, ask().await, ask().await);
    released.release(&rig, 1, LeaseSignal::Failed).await.unwrap();
    broker.admin(&["lease", "revoke", revoked.id().as_str()]).ok();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let states = broker.rows("SELECT state FROM leases JOIN audit ON audit.id = leases.audit ORDER BY sequence").await;
    assert_eq!(states, [["failed"], ["revoked"], ["lost"]]);
    for restarted in [false, true] {
        if restarted {
            broker.restart().await;
        }
        for (held, how) in [(&released, "failed"), (&revoked, "revoked"), (&silent, "lost")] {
            assert_eq!(held.beat(&rig, 10).await.as_deref(), Some(how), "restarted: {restarted}");
            assert_eq!(refusal(held.release(&rig, 11, LeaseSignal::Succeeded).await), "AR-X403");
        }
    }
    let ends = broker.audit().await.into_iter().filter(|(kind, _)| kind == "lease-ended");
    let ends: Vec<_> = ends.map(|(_, body)| body["how"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ends, ["failed", "revoked", "lost"]);
}

#[tokio::test]
async fn what_is_taken_is_told_at_once_to_its_holder_and_to_nobody_else() {
    let broker = Broker::start();
    broker.set_secret("dev", "release/npm-token", "npm_secret_of_dev");
    let rig = Rig::enrolled(&broker, "r").await;
    let other = Rig::enrolled(&broker, "other").await;
    let mut with_secret = rig.request();
    with_secret.secrets = vec![SecretRequest {
        name: "release/npm-token".parse().unwrap(),
        usage: SecretUse::Reveal,
        why: "for the test".to_owned(),
    }];
    let held = [
        Held::ask(&rig, &rig.request()).await.unwrap(),
        Held::ask(&rig, &with_secret).await.unwrap(),
        Held::ask(&rig, &rig.request()).await.unwrap(),
    ];
    let neighbour = Held::ask(&other, &other.request()).await.unwrap();
    let all: Vec<&Held> = held.iter().collect();
    let told = async |arguments: &[&str]| {
        // Asked before anything happens, by the key of any of the leases.
        let watching = held[0].watch(&rig, &all);
        let revoking = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            broker.admin(&[&["lease", "revoke"], arguments].concat()).ok();
            Instant::now()
        };
        let (ended, revoked) = tokio::join!(async { (watching.await.unwrap(), Instant::now()) }, revoking);
        let late = ended.1.saturating_duration_since(revoked);
        assert!(late < Duration::from_millis(500), "{late:?}");
        ended.0.into_iter().map(|ended| (ended.lease, ended.how)).collect::<Vec<_>>()
    };
    // By secret: the one that holds it.
    assert_eq!(told(&["--secret", "dev/release/npm-token"]).await, [(held[1].id().clone(), "revoked".to_owned())]);
    // It was told already; who asks anew with it in hand is told at once.
    let again = held[0].watch(&rig, &all).await.unwrap();
    assert_eq!(again.iter().map(|ended| &ended.lease).collect::<Vec<_>>(), [held[1].id()]);
    // Another runner's lease is nobody else's business, whatever it says that it holds.
    let nosy = tokio::time::timeout(Duration::from_secs(1), neighbour.watch(&other, &all)).await;
    assert!(nosy.is_err(), "{nosy:?}");
    // All of them, in one answer.
    let rest = [held[0].id().clone(), held[2].id().clone()];
    let both = [&held[0], &held[2]];
    let watching = held[2].watch(&rig, &both);
    let revoking = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        broker.admin(&["lease", "revoke", "--runner", "r"]).ok();
    };
    let (ended, ()) = tokio::join!(watching, revoking);
    let mut ended: Vec<_> = ended.unwrap().into_iter().map(|ended| ended.lease).collect();
    ended.sort();
    let mut rest = rest.to_vec();
    rest.sort();
    assert_eq!(ended, rest);
    assert_eq!(neighbour.beat(&other, 1).await, None);
    // Words of another kind are no wish to watch, though the key is right.
    assert_eq!(refusal(rig.client.watch(held[0].heartbeat(50)).await), "AR-X401");
}

#[tokio::test]
async fn leases_are_revoked_by_what_they_hold() {
    let broker = Broker::start();
    for url in ["dev", "prod/", "production/x", "prod/X"] {
        assert_eq!(broker.admin(&["lease", "revoke", "--secret", url]).status, 2, "{url}");
    }
    assert_eq!(broker.admin(&["lease", "revoke", "--key", "dev/release", "--all"]).status, 2);
    let rig = Rig::enrolled(&broker, "r").await;
    broker.set_secret("dev", "npm", "npm_secret_of_dev");
    let mut with_secret = rig.request();
    with_secret.secrets =
        vec![SecretRequest { name: "npm".parse().unwrap(), usage: SecretUse::Reveal, why: "for the test".to_owned() }];
    let mut with_key = rig.request();
    with_key.keys = vec![KeyRequest {
        name: "release".parse().unwrap(),
        usage: KeyUse::Sign,
        formats: vec![KeyFormat::Raw],
        public_key: Sha256Digest::of(b"key"),
        lease: None,
        why: "for the test".to_owned(),
    }];
    let by_secret = Held::ask(&rig, &with_secret).await.unwrap();
    let by_key = Held::ask(&rig, &with_key).await.unwrap();
    let rest = [Held::ask(&rig, &rig.request()).await.unwrap(), Held::ask(&rig, &rig.request()).await.unwrap()];
    for (arguments, held) in [
        (&["--secret", "dev/npm"][..], vec![&by_secret]),
        (&["--key", "dev/release"], vec![&by_key]),
        (&["--all"], rest.iter().collect()),
    ] {
        let out = broker.admin(&[&["lease", "revoke", "--json"], arguments].concat()).ok().stdout;
        let out: serde_json::Value = serde_json::from_str(&out).unwrap();
        let mut revoked: Vec<_> = out["revoked"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        let mut wanted: Vec<_> = held.iter().map(|held| held.id().as_str()).collect();
        revoked.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(revoked, wanted, "{arguments:?}");
        for held in held {
            assert_eq!(held.beat(&rig, 1).await.as_deref(), Some("revoked"), "{arguments:?}");
        }
    }
    // Whoever revokes in a hurry learns that it hit nothing; of all there may be none.
    broker.admin(&["lease", "revoke", "--key", "dev/release"]).refused(1, "AR-B015");
    broker.admin(&["lease", "revoke", "--all"]).ok();
}
