//! Alarms: recorded with what they are about, counted, and sent, signed, until they are taken.

use crate::support::{Broker, Held, Rig, Webhook, refusal};
use attest_evidence::exchange::{LeaseMessage, LeaseSignal, seal, write_bound};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use std::time::Duration;

/// Where the broker of one test gives its numbers.
const METRICS: &str = "127.0.0.1:19464";

/// A broker that sends its alarms to a receiver, and the secret that signs them.
async fn watched(unwilling: u32, options: &[&str]) -> (Broker, Webhook, String) {
    let broker = Broker::start_with(&[&["--heartbeat-seconds", "1"], options].concat());
    let webhook = Webhook::start(unwilling).await;
    let set = broker.admin(&["alarm", "webhook", "set", &webhook.url, "--json"]).ok().stdout;
    let set: Value = serde_json::from_str(&set).unwrap();
    (broker, webhook, set["secret"].as_str().unwrap().to_owned())
}

/// As Standard Webhooks say how a receiver checks what came.
fn signature(secret: &str, id: &str, timestamp: &str, body: &str) -> String {
    let base64 = data_encoding::BASE64;
    let key = base64.decode(secret.strip_prefix("whsec_").unwrap().as_bytes()).unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", base64.encode(&mac.finalize().into_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_should_not_happen_is_told_signed_and_counted() {
    let (broker, webhook, secret) = watched(0, &["--metrics", METRICS]).await;
    let rig = Rig::enrolled(&broker, "builder-1").await;
    let silent = Held::ask(&rig, &rig.request()).await.unwrap();
    // A message that is forged, twice: one alarm, two times.
    let forged = LeaseMessage { lease: silent.id().clone(), counter: 1, signal: LeaseSignal::Failed };
    for _ in 0..2 {
        assert_eq!(refusal(rig.client.release(seal(&forged, &[0; 32])).await), "AR-X402");
    }
    // A quote for one request, sent with another.
    let challenge = rig.challenge().await;
    let bound = write_bound(&challenge, &rig.request()).unwrap();
    let quote = rig.quote(&challenge, &bound).await;
    let mut other = rig.request();
    other.arguments = vec!["--publish".to_owned()];
    let swapped = crate::support::assemble(&write_bound(&challenge, &other).unwrap(), &quote);
    assert_eq!(refusal(rig.send(swapped).await), "AR-E206");
    // And a lease whose heartbeats stay away.
    let deliveries = webhook.deliveries(3).await;
    let mut kinds: Vec<_> = deliveries.iter().map(|delivery| delivery.json()["type"].clone()).collect();
    kinds.sort_by_key(ToString::to_string);
    let wanted = [
        "attest-run.alarm.binding-mismatch",
        "attest-run.alarm.forged-lease-message",
        "attest-run.alarm.missed-heartbeats",
    ];
    assert_eq!(kinds, wanted);
    for delivery in &deliveries {
        let header = |name: &str| delivery.headers[name].as_str();
        let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
        assert_eq!(header("webhook-signature"), signature(&secret, id, timestamp, &delivery.body));
        assert!(id.starts_with("aud_") && delivery.json()["audit"] == id);
        // What it is about stands in the audit log.
        let shown = broker.admin(&["lease", "show", id]).ok().stdout;
        assert!(shown.contains(id), "{shown}");
    }
    let silent_one = deliveries.iter().find(|delivery| delivery.body.contains("missed-heartbeats")).unwrap();
    assert_eq!(silent_one.json()["facts"]["lease"], silent.id().as_str());
    assert_eq!(silent_one.json()["subject"], silent.id().as_str());

    let listed: Value = serde_json::from_str(&broker.admin(&["alarm", "list", "--json"]).ok().stdout).unwrap();
    let counts = &listed["counts"];
    assert_eq!((&counts["forged-lease-message"], &counts["binding-mismatch"]), (&2.into(), &1.into()), "{listed}");
    assert_eq!((&counts["missed-heartbeats"], &counts["second-lease"]), (&1.into(), &0.into()), "{listed}");
    let forged = listed["alarms"].as_array().unwrap().iter().find(|alarm| alarm["kind"] == "forged-lease-message");
    assert_eq!(forged.unwrap()["times"], 2);
    // And for a monitoring system.
    let metrics =
        crate::support::run(std::process::Command::new("curl").args(["-sSf", &format!("http://{METRICS}/metrics")]));
    let metrics = metrics.ok().stdout;
    for line in [
        "attest_broker_alarms_total{kind=\"forged-lease-message\"} 2",
        "attest_broker_alarms_total{kind=\"second-redemption\"} 0",
        "attest_broker_alarms_unsent 0",
        "attest_broker_leases_active 0",
        "attest_broker_policy_version 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    // The secret that signs is nowhere in clear.
    for file in ["broker.db", "broker.db-wal"] {
        let bytes = std::fs::read(broker.state().join(file)).unwrap_or_default();
        assert!(!bytes.windows(20).any(|window| window == &secret.as_bytes()[..20]), "{file}");
    }
    assert!(!broker.log().contains(&secret[..20]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_is_sent_until_it_is_taken_also_by_a_broker_that_was_killed() {
    let (mut broker, webhook, _) = watched(2, &[]).await;
    broker.kill();
    // Whoever tries it is told that nobody sends it.
    let unsent = broker.admin(&["alarm", "test"]).refused(1, "AR-B014");
    assert!(unsent.stderr.contains("is `attest-broker serve` running?"), "{}", unsent.stderr);
    broker.serve();
    let deliveries = webhook.deliveries(1).await;
    assert_eq!(deliveries[0].json()["type"], "attest-run.alarm.test");
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Once taken it is sent no more.
    assert_eq!(webhook.deliveries(1).await.len(), 1);
    let rows = broker.rows("SELECT tries, delivered IS NOT NULL FROM alarms").await;
    assert_eq!(rows, [["3", "1"]]);
    assert!(broker.log().contains("503"), "{}", broker.log());

    // To nobody, and to those to whom nothing can be sent.
    broker.admin(&["alarm", "webhook", "remove"]).ok();
    assert!(broker.admin(&["alarm", "webhook", "show"]).ok().stderr.contains("nowhere"));
    broker.admin(&["alarm", "test"]).refused(1, "AR-B013");
    for url in ["http://hooks.example/x", "hooks.example", "https://user@hooks.example/"] {
        broker.admin(&["alarm", "webhook", "set", url]).refused(2, "AR-B012");
    }
}
