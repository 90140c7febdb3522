//! R03: the broker is killed at every step of an exchange.

use crate::support::{Broker, Rig, Tracer, refusal};
use attest_agent::BrokerError;
use std::collections::HashSet;
use std::time::Duration;

/// The calls by which an exchange leaves a thread: to the disk, to the network, to another thread. Each thread
/// counts its own.
const CALLS: [&str; 4] = ["pwrite64,ftruncate", "fdatasync,fsync", "writev,sendto,sendmsg", "write,futex"];
/// More calls than an exchange can take. Fewer, and the test would not have come to an end of them.
const MOST_CALLS: usize = 100;

/// What holds whenever the broker is started, however it ended.
async fn check(broker: &Broker) -> HashSet<String> {
    let leases = broker.rows("SELECT id, audit, runner FROM leases ORDER BY id").await;
    let audit = broker.audit().await;
    let granted: Vec<_> = audit.iter().filter(|(kind, _)| kind == "granted").collect();
    // No grant without its audit entry, no entry without its lease.
    let of_leases: HashSet<_> = leases.iter().map(|row| row[0].clone()).collect();
    let of_entries: HashSet<_> = granted.iter().map(|(_, body)| body["lease"].as_str().unwrap().to_owned()).collect();
    assert_eq!(of_leases, of_entries);
    assert_eq!(granted.len(), leases.len());
    // No lease without an owner.
    let runners = broker.rows("SELECT name FROM runners WHERE state = 'approved'").await;
    assert!(leases.iter().all(|row| runners.iter().any(|runner| runner[0] == row[2])), "{leases:?} {runners:?}");
    // No nonce used by two.
    let bound: HashSet<_> = granted.iter().map(|(_, body)| body["bound"].as_str().unwrap()).collect();
    assert_eq!(bound.len(), granted.len());
    of_leases
}

#[tokio::test(flavor = "multi_thread")]
async fn r03_a_broker_killed_at_any_call_of_an_exchange_forgets_nothing_it_said() {
    let mut broker = Broker::start_with(&["--heartbeat-seconds", "1"]);
    let rig = Rig::enrolled(&broker, "r").await;
    let (mut unheard, mut untaken) = (0, 0);
    for calls in CALLS {
        let mut call = 0;
        let mut survived = false;
        while !survived {
            call += 1;
            assert!(call <= MOST_CALLS, "an exchange takes more calls of {calls} than the test made");
            let exchange = rig.exchange(&rig.request()).await;
            let tracer = Tracer::kill_at(broker.pid(), calls, call);
            let before = check(&broker).await;
            let first = rig.send(exchange.clone()).await;
            survived = !broker.has_ended();
            if survived {
                tracer.detach();
                assert!(first.is_ok(), "{first:?}");
            } else {
                // Its threads are gone when nobody holds them any more.
                drop(tracer);
                broker.kill();
                broker.serve();
            }
            let after = check(&broker).await;
            let committed = after.difference(&before).count();
            assert!(committed <= 1);
            // Whoever has a grant in hand finds it in the database.
            match &first {
                Ok(grant) => assert!(after.contains(grant.lease.as_str())),
                Err(error) => assert!(matches!(error, BrokerError::Unreachable { .. }), "{error:?}"),
            }
            // The same once more: only if the first left no trace at all may it be granted; then never again.
            let at = format!("{calls} number {call}");
            match rig.send(exchange.clone()).await {
                Ok(_) => {
                    assert_eq!((committed, first.is_ok()), (0, false), "{at}: a nonce was used twice");
                    untaken += 1;
                }
                again => {
                    assert_eq!(refusal(again), "AR-X104", "{at}");
                    assert_eq!(committed, 1, "{at}: a nonce was used up for nothing");
                    unheard += usize::from(committed == 1 && first.is_err());
                }
            }
            assert_eq!(refusal(rig.send(exchange).await), "AR-X104", "{at}");
        }
    }
    // Killed before nonce and grant were on the disk, in one commit, and between that and the answer.
    assert!(untaken > 0 && unheard > 0, "{untaken} {unheard}");

    // A grant that nobody heard of is nobody's to renew: it ends by itself.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let live = broker.rows("SELECT id FROM leases WHERE state <> 'lost'").await;
    assert!(live.is_empty(), "{live:?}");
}
