//! Boots of real firmware, loaders and kernels, appraised by rules that `runner approve --diff` writes.
//!
//! The logs and lists are those of virtual machines (`tests/vm/evidence.sh`); `ATTEST_VM_EVIDENCE=DIR` points the tests at
//! others. A TPM is extended with what they say, and quotes for each exchange: the machines' own quotes are for no broker.

use super::machine::{Machine, boot, fact, report};
use crate::support::{Broker, Kernel, refusal};
use attest_evidence::HashAlgorithm;
use attest_evidence::exchange::GrantBody;
use attest_evidence::tpm::{PcrBanks, PcrIndex, PcrSelection};
use std::path::{Path, PathBuf};

fn evidence(boot: &str, file: &str) -> Vec<u8> {
    let stored = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/vm");
    let set = std::env::var_os("ATTEST_VM_EVIDENCE").map_or_else(stored, PathBuf::from);
    std::fs::read(set.join(boot).join(file)).unwrap()
}

/// Boots as a virtual machine did. The TPM ends up as that machine's.
async fn boots(machine: &mut Machine, boot: &str) -> Kernel {
    machine.restart(|_| {}).await;
    machine.measure_log(evidence(boot, "eventlog.bin")).await;
    let mut kernel = Kernel::of_list(evidence(boot, "ima.bin"));
    kernel.extend(&machine.rig.tpm).await;
    let reported: PcrBanks = serde_json::from_slice(&evidence(boot, "pcrs.json")).unwrap();
    let reported = reported.bank(HashAlgorithm::Sha256).unwrap().clone();
    let selection = PcrSelection::of((0..=9).chain([14]).filter_map(PcrIndex::new));
    let values = machine.rig.tpm.run(move |device| device.read_pcrs(selection)).await.unwrap();
    for (pcr, value) in values.iter() {
        assert_eq!(reported[&pcr].as_bytes(), value, "{boot}: PCR {pcr}");
    }
    kernel
}

async fn ask(machine: &Machine, kernel: &Kernel) -> Result<GrantBody, attest_agent::BrokerError> {
    machine.ask_measured(0, &kernel.list).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_an_admin_approves_tell_real_boots_apart() {
    let broker = Broker::start();
    let mut machine = Machine::booted(&broker, boot(true, "nothing")).await;

    // The first boot is approved as it was seen: what was booted, and what the kernel measured.
    let kernel = boots(&mut machine, "secure-boot").await;
    ask(&machine, &kernel).await.unwrap();
    broker.admin(&["runner", "approve", "r", "--diff", "--ima"]).ok();
    ask(&machine, &kernel).await.unwrap();
    let (_, body) = broker.audit().await.pop().unwrap();
    assert_eq!(body["secure_boot"], true, "{body}");
    assert_eq!(body["ear"]["submods"]["tpm"]["ear_trustworthiness_vector"]["configuration"], 2);

    // The same once more needs no new rule.
    let kernel = boots(&mut machine, "second-boot").await;
    ask(&machine, &kernel).await.unwrap();

    // Violations and files that came late are refused, shown, and allowed by whoever wants that.
    let kernel = boots(&mut machine, "late-ima").await;
    assert_eq!(refusal(ask(&machine, &kernel).await), "AR-E812");
    let shown = broker.admin(&["runner", "approve", "r", "--diff"]).ok().stdout;
    assert!(shown.contains("which the rule does not allow"), "{shown}");
    assert_eq!(refusal(ask(&machine, &kernel).await), "AR-E812");
    let shown = broker.admin(&["runner", "approve", "r", "--diff", "--allow-violations"]).ok().stdout;
    assert!(shown.contains("violations = \"report\""), "{shown}");
    ask(&machine, &kernel).await.unwrap();

    // Another kernel, another command line: each is refused by the event, and shown in words.
    for (name, words) in
        [("other-kernel", "is        /vmlinuz  [claimed; "), ("other-command-line", "lockdown=confidentiality")]
    {
        let kernel = boots(&mut machine, name).await;
        let refused = report(ask(&machine, &kernel).await);
        assert!(["AR-E801", "AR-E802"].contains(&refused.code.as_str()), "{name}: {refused}");
        let shown = broker.admin(&["runner", "approve", "r", "--diff"]).ok().stdout;
        assert!(shown.contains(words), "{name}: {shown}");
        ask(&machine, &kernel).await.unwrap();
    }

    // Without Secure Boot it is Secure Boot that is named.
    let kernel = boots(&mut machine, "secure-boot-off").await;
    let refused = report(ask(&machine, &kernel).await);
    assert!(["AR-E801", "AR-E803"].contains(&refused.code.as_str()), "{refused}");
    if refused.code.as_str() == "AR-E803" {
        assert_eq!(fact(&refused, "got"), "it is off");
    }
    let shown = broker.admin(&["runner", "approve", "r", "--diff", "--dry-run"]).ok().stdout;
    assert!(shown.contains("Secure Boot"), "{shown}");
}
