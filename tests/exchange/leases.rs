//! Leases, and messages about them from those who don't hold them.

use crate::support::{Broker, Rig, refusal};
use attest_evidence::SecretBytes;
use attest_evidence::exchange::{GrantBody, HPKE_INFO, LEASE_EXPORT, LeaseMessage, LeaseSignal};
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem, OpModeR, setup_receiver};
use std::time::Duration;

/// The key of a lease, as the agent derives it.
fn lease_key(rig: &Rig, grant: &GrantBody) -> SecretBytes {
    let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&grant.encapsulated_key).unwrap();
    let info = [HPKE_INFO, grant.bound.as_bytes()].concat();
    let context =
        setup_receiver::<AesGcm256, HkdfSha256, X25519HkdfSha256>(&OpModeR::Base, &rig.private, &encapsulated, &info)
            .unwrap();
    SecretBytes::fill(32, |key| context.export(LEASE_EXPORT, key)).unwrap()
}

#[tokio::test]
async fn r06_heartbeats_and_releases_are_the_holder_s_alone() {
    let broker = Broker::start();
    let rig = Rig::enrolled(&broker, "r").await;
    let grant = rig.send(rig.exchange(&rig.request()).await).await.unwrap();
    let key = lease_key(&rig, &grant);
    let say = |key: &[u8], counter, signal| {
        let message = LeaseMessage { lease: grant.lease.clone(), counter, signal };
        rig.client.lease_message(message.seal(key))
    };
    assert_eq!(refusal(say(&[0; 32], 1, LeaseSignal::Failed).await), "AR-X402");
    key.expose(|key| say(key, 1, LeaseSignal::Heartbeat)).await.unwrap();
    assert_eq!(refusal(key.expose(|key| say(key, 1, LeaseSignal::Heartbeat)).await), "AR-X404");
    key.expose(|key| say(key, 5, LeaseSignal::Heartbeat)).await.unwrap();
    assert_eq!(refusal(key.expose(|key| say(key, 4, LeaseSignal::Succeeded)).await), "AR-X404");
    key.expose(|key| say(key, 6, LeaseSignal::Succeeded)).await.unwrap();
    assert_eq!(refusal(key.expose(|key| say(key, 7, LeaseSignal::Heartbeat)).await), "AR-X403");

    // Another's lease, and one that never was.
    let other = rig.send(rig.exchange(&rig.request()).await).await.unwrap();
    let message = LeaseMessage { lease: other.lease.clone(), counter: 1, signal: LeaseSignal::Failed };
    assert_eq!(refusal(rig.client.lease_message(key.expose(|key| message.seal(key))).await), "AR-X402");
    let unknown = LeaseMessage { lease: attest_evidence::name::LeaseId::from_bytes([1; 16]), ..message };
    assert_eq!(refusal(rig.client.lease_message(unknown.seal(&[0; 32])).await), "AR-X403");
    let kinds: Vec<_> = broker.audit().await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "lease-refused").count(), 2);
    assert_eq!(kinds.iter().filter(|kind| *kind == "lease-ended").count(), 1);
}

#[tokio::test]
async fn a_lease_without_heartbeats_is_lost() {
    let broker = Broker::start_with(&["--heartbeat-seconds", "1"]);
    let rig = Rig::enrolled(&broker, "r").await;
    let grant = rig.send(rig.exchange(&rig.request()).await).await.unwrap();
    let key = lease_key(&rig, &grant);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let message = LeaseMessage { lease: grant.lease.clone(), counter: 1, signal: LeaseSignal::Heartbeat };
    assert_eq!(refusal(rig.client.lease_message(key.expose(|key| message.seal(key))).await), "AR-X403");
    let rows = broker.rows("SELECT state FROM leases").await;
    assert_eq!(rows, [["lost"]]);
    let (kind, body) = broker.audit().await.pop().unwrap();
    assert_eq!((kind.as_str(), body["how"].as_str()), ("lease-ended", Some("lost")));
}
