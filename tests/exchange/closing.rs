//! What becomes of a machine while a step runs (B04).

use super::machine::{Machine, boot, pcr};
use crate::support::{Broker, Held, Kernel, Rig, refusal};
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::{LeaseSignal, logs};

/// What the lease says, and its end's entry.
async fn closing(broker: &Broker, held: &Held) -> (String, serde_json::Value) {
    let rows = broker.rows("SELECT id, state || ' ' || coalesce(closing, '-') FROM leases").await;
    let said = rows.into_iter().find(|row| row[0] == held.id().as_str()).unwrap().remove(1);
    let (_, body) = broker.audit().await.into_iter().rfind(|(kind, _)| kind == "lease-ended").unwrap();
    (said, body["closing"].clone())
}

async fn alarms(broker: &Broker) -> usize {
    broker.rows("SELECT id FROM alarms WHERE kind = 'machine-changed'").await.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn b04_a_machine_that_changes_while_a_step_runs_is_seen_at_its_end() {
    let broker = Broker::start();
    let mut machine = Machine::booted(&broker, boot(true, "vmlinuz")).await;
    let mut kernel = Kernel::default();
    kernel.measures("boot_aggregate", b"");
    kernel.extend(&machine.rig.tpm).await;
    let ask = async |machine: &Machine, kernel: &Kernel| {
        Held::of(&machine.rig, machine.ask_measured(0, &kernel.list).await.unwrap())
    };
    let end = |held: &Held| held.sealed(1, LeaseSignal::Succeeded);

    // Nothing changes but what the kernel measures, which is no change of the machine.
    let held = ask(&machine, &kernel).await;
    let at = kernel.list.len();
    kernel.measures("/usr/bin/make", b"make");
    kernel.extend(&machine.rig.tpm).await;
    machine
        .close(end(&held), &[logs::event_log(&machine.log), logs::measurements(1, &kernel.list[at..])])
        .await
        .unwrap();
    assert_eq!(closing(&broker, &held).await, ("succeeded same".to_owned(), serde_json::json!({ "machine": "same" })));
    assert_eq!(refusal(machine.close(end(&held), &[]).await), "AR-X403");

    // A PCR.
    let held = ask(&machine, &kernel).await;
    let extended = [(pcr(14), Sha256Digest::of(b"another key"))];
    machine.rig.tpm.run(move |device| device.extend_pcrs(&extended)).await.unwrap();
    machine.close(end(&held), &[]).await.unwrap();
    let (said, body) = closing(&broker, &held).await;
    assert_eq!((said.as_str(), &body["pcrs"][0]["pcr"]), ("succeeded changed", &serde_json::json!(14)), "{body}");
    assert_eq!(body["pcrs"].as_array().unwrap().len(), 1);
    assert_ne!(body["pcrs"][0]["was"], body["pcrs"][0]["is"]);
    assert_eq!(alarms(&broker).await, 1);

    // A reboot, into the same.
    machine.reboot(boot(true, "vmlinuz"), |_| {}).await;
    let mut kernel = Kernel::default();
    kernel.measures("boot_aggregate", b"");
    kernel.extend(&machine.rig.tpm).await;
    let held = ask(&machine, &kernel).await;
    machine.reboot(boot(true, "vmlinuz"), |_| {}).await;
    // As an agent would that does not know of it: what it says of the kernel does not join any more.
    machine.close(end(&held), &[logs::event_log(&machine.log), logs::measurements(1, b"")]).await.unwrap();
    let (said, body) = closing(&broker, &held).await;
    assert_eq!(said, "succeeded rebooted");
    assert_eq!(body["is"]["reset_count"], body["was"]["reset_count"].as_u64().unwrap() + 1);
    assert_eq!(alarms(&broker).await, 2);

    // A file that is not allowed, used while the step ran.
    let mut kernel = Kernel::default();
    kernel.measures("boot_aggregate", b"");
    kernel.extend(&machine.rig.tpm).await;
    let file = broker.state().with_file_name("references.toml");
    std::fs::write(&file, "[[boot]]\nname = \"x\"\n[boot.ima]\n[[boot.ima.scope]]\npath = \"/usr/bin/none\"\n")
        .unwrap();
    broker.admin(&["reference", "apply", file.to_str().unwrap()]).ok();
    let held = ask(&machine, &kernel).await;
    let at = kernel.list.len();
    kernel.measures("/tmp/miner", b"miner");
    kernel.extend(&machine.rig.tpm).await;
    machine
        .close(end(&held), &[logs::event_log(&machine.log), logs::measurements(1, &kernel.list[at..])])
        .await
        .unwrap();
    let (said, body) = closing(&broker, &held).await;
    assert_eq!(
        (said.as_str(), &body["report"]["code"]),
        ("succeeded refused", &serde_json::json!("AR-E813")),
        "{body}"
    );
    assert_eq!(alarms(&broker).await, 3);
    // An admin changes his mind: the machine has not.
    std::fs::write(&file, "[[boot]]\nname = \"x\"\nuntil = 2020-01-01T00:00:00Z\n[boot.pcrs]\n0 = []\n").unwrap();
    broker.admin(&["reference", "apply", "/dev/null"]).ok();
    let held = ask(&machine, &kernel).await;
    broker.admin(&["reference", "apply", file.to_str().unwrap()]).ok();
    machine.close(end(&held), &[logs::event_log(&machine.log)]).await.unwrap();
    let (said, body) = closing(&broker, &held).await;
    assert_eq!((said.as_str(), &body["report"]["code"]), ("succeeded not-allowed", &serde_json::json!("AR-E809")));
    assert_eq!(alarms(&broker).await, 3);
    let listed = broker.admin(&["lease", "list", "--all"]).ok().stdout;
    for said in ["succeeded on the same machine state", "CHANGED", "REBOOTED", "REFUSED"] {
        assert!(listed.contains(said), "{said}: {listed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_closed_by_its_holder_s_machine_alone() {
    let broker = Broker::start();
    let machine = Machine::booted(&broker, boot(true, "vmlinuz")).await;
    let other = Rig::enrolled(&broker, "other").await;
    let held = Held::of(&machine.rig, machine.ask().await.unwrap());
    let others = Held::ask(&other, &other.request()).await.unwrap();
    // Another runner's lease, whoever sealed the message; a message that its key did not seal; a heartbeat.
    assert_eq!(refusal(machine.close(others.sealed(1, LeaseSignal::Failed), &[]).await), "AR-X407");
    let mut forged = held.sealed(1, LeaseSignal::Succeeded);
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(refusal(machine.close(forged, &[]).await), "AR-X402");
    assert_eq!(refusal(machine.close(held.sealed(1, LeaseSignal::Heartbeat), &[]).await), "AR-X401");
    // A quote for something else, and one that was used.
    let exchange = machine.rig.exchange(&machine.rig.request()).await;
    assert_eq!(refusal(machine.rig.client.close_lease(exchange).await), "AR-X101");
    let good = machine.closing(held.sealed(2, LeaseSignal::Succeeded), &[]).await;
    assert_eq!(refusal(machine.rig.send(good.clone()).await), "AR-X101");
    assert_eq!(refusal(machine.rig.client.close_lease(good).await), "AR-X104");
    machine.close(held.sealed(3, LeaseSignal::Succeeded), &[]).await.unwrap();
    // Without a quote it ends as well, and says so.
    others.release(&other, 2, LeaseSignal::Failed).await.unwrap();
    let (said, body) = closing(&broker, &others).await;
    assert_eq!((said.as_str(), &body["machine"]), ("failed not-shown", &serde_json::json!("not-shown")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_under_a_lease_that_was_taken_is_told_once_and_soon() {
    let broker = Broker::start();
    let machine = Machine::booted(&broker, boot(true, "vmlinuz")).await;
    let ask = async || Held::of(&machine.rig, machine.ask().await.unwrap());
    let end = |held: &Held| held.sealed(1, LeaseSignal::Failed);
    let (held, old) = (ask().await, ask().await);
    for held in [&held, &old] {
        broker.admin(&["lease", "revoke", held.id().as_str()]).ok();
    }
    // Not without a quote.
    assert_eq!(refusal(held.release(&machine.rig, 1, LeaseSignal::Failed).await), "AR-X403");
    machine.close(end(&held), &[logs::event_log(&machine.log)]).await.unwrap();
    let row = async |held: &Held| {
        let rows = broker.rows("SELECT id, state, coalesce(closing, '-') FROM leases").await;
        rows.into_iter().find(|row| row[0] == held.id().as_str()).unwrap()[1..].to_vec()
    };
    assert_eq!(row(&held).await, ["revoked", "same"]);
    let (_, closed) = broker.audit().await.into_iter().rfind(|(kind, _)| kind == "lease-closed").unwrap();
    assert_eq!((&closed["lease"], &closed["closing"]["machine"]), (&held.id().as_str().into(), &"same".into()));
    assert_eq!(refusal(machine.close(end(&held), &[]).await), "AR-X403");

    broker.execute(sqlx::query("UPDATE leases SET ended = ended - 1000")).await;
    assert_eq!(refusal(machine.close(end(&old), &[]).await), "AR-X403");
    assert_eq!(row(&old).await, ["revoked", "-"]);

    // Its time was up a moment ago, and the broker has not looked yet.
    let late = ask().await;
    broker.execute(sqlx::query("UPDATE heartbeats SET expires = 1")).await;
    machine.close(end(&late), &[logs::event_log(&machine.log)]).await.unwrap();
    assert_eq!(row(&late).await, ["lost", "same"]);
}
