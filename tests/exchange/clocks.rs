//! Somebody sets the clock of the broker's machine, an hour forward or back, while leases are held. Leases are durations:
//! none is lost by it, and none lasts longer.

use crate::support::{Broker, Held, Rig, refusal};
use attest_evidence::exchange::LeaseSignal;
use std::time::Duration;

const HOUR: i64 = 3600;

/// Long enough for the broker to look at its leases, twice.
async fn a_while() {
    tokio::time::sleep(Duration::from_millis(2500)).await;
}

#[tokio::test]
async fn leases_do_not_follow_the_broker_s_wall_clock() {
    for set in [HOUR, -HOUR] {
        let mut broker = Broker::start_with_clock(&["--heartbeat-seconds", "2", "--lease-seconds", "12"]);
        let rig = Rig::enrolled(&broker, "r").await;
        let held = Held::ask(&rig, &rig.request()).await.unwrap();
        let silent = Held::ask(&rig, &rig.request()).await.unwrap();
        assert_eq!(held.beat(&rig, 1).await, None);
        broker.clock().set(set);
        a_while().await;
        // Neither lost by it, nor kept by it: the one without heartbeats is gone after two of them.
        assert_eq!(held.beat(&rig, 2).await, None, "set by {set}");
        a_while().await;
        assert_eq!(held.beat(&rig, 3).await, None, "set by {set}");
        assert_eq!(silent.beat(&rig, 1).await.as_deref(), Some("lost"), "set by {set}");
        // A new one can be had, also across a restart.
        broker.restart().await;
        assert_eq!(held.beat(&rig, 4).await, None, "set by {set}");
        let after = Held::ask(&rig, &rig.request()).await.unwrap();
        assert_eq!(after.grant.expires.0 - after.grant.issued.0, 12);
        // What was granted for twelve seconds ends after twelve, whatever the clock says.
        for counter in 5..9 {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let _ = rig.client.heartbeats([held.heartbeat(counter), after.heartbeat(counter)].concat()).await.unwrap();
        }
        a_while().await;
        assert_eq!(held.beat(&rig, 10).await.as_deref(), Some("lost"), "set by {set}");
        after.release(&rig, 10, LeaseSignal::Succeeded).await.unwrap();
        // It was noticed, once, and admins see times as the clock tells them now.
        let alarms = broker.rows("SELECT kind, times, body FROM alarms WHERE kind = 'clock-set'").await;
        assert_eq!((alarms.len(), alarms[0][1].as_str()), (1, "1"), "{alarms:?}");
        let facts: serde_json::Value = serde_json::from_str(&alarms[0][2]).unwrap();
        assert!((facts["set_by_seconds"].as_i64().unwrap() - set).abs() <= 1, "{facts}");
        let listed = broker.admin(&["lease", "list", "--all", "--json"]).ok().stdout;
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let issued = listed["leases"][2]["issued"].as_i64().unwrap();
        let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
        assert!((issued - now - set).abs() < 60, "{issued} {now}");
    }
}

/// After a reboot, with the wall clock an hour back: what was held is held, what was used up stays so, and what had ended
/// is not alive again.
#[tokio::test]
async fn a_reboot_with_another_wall_clock_gives_nothing_back() {
    let mut broker = Broker::start_with_clock(&["--lease-seconds", "4"]);
    let rig = Rig::enrolled(&broker, "r").await;
    let over = Held::ask(&rig, &rig.request()).await.unwrap();
    let exchange = rig.exchange(&rig.request()).await;
    rig.send(exchange.clone()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let held = Held::ask(&rig, &rig.request()).await.unwrap();
    broker.kill();
    // What a reboot changes, as far as the broker sees it.
    broker.rows("UPDATE lease_clock SET boot = 'another'").await;
    broker.clock().set(-HOUR);
    broker.serve();
    assert_eq!(held.beat(&rig, 1).await, None);
    assert_eq!(over.beat(&rig, 1).await.as_deref(), Some("lost"));
    assert_eq!(refusal(rig.send(exchange).await), "AR-X104");
    a_while().await;
    assert_eq!(broker.rows("SELECT times FROM alarms WHERE kind = 'clock-set'").await, [["1"]]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(held.beat(&rig, 2).await.as_deref(), Some("lost"));
}

#[tokio::test]
async fn a_used_nonce_stays_used_when_the_clock_is_set_back() {
    let broker = Broker::start_with_clock(&[]);
    let rig = Rig::enrolled(&broker, "r").await;
    let exchange = rig.exchange(&rig.request()).await;
    rig.send(exchange.clone()).await.unwrap();
    for set in [-HOUR, HOUR] {
        broker.clock().set(set);
        a_while().await;
        // Enough others for what has expired to be forgotten.
        for _ in 0..3 {
            rig.send(rig.exchange(&rig.request()).await).await.unwrap();
        }
        assert_eq!(refusal(rig.send(exchange.clone()).await), "AR-X104", "set by {set}");
    }
}
