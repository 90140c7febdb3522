//! What a machine's kernel measures: lists against quotes, deltas against what is known, files against allow-lists (L05).

use super::machine::{Machine, boot, fact, report};
use crate::support::{Broker, Kernel, refusal};
use attest_evidence::exchange::{SecretRequest, SecretUse, logs};
use attest_evidence::{HashAlgorithm, Sha256Digest};

/// A machine that has booted, and its kernel, which has measured its init and a shell.
async fn machine(broker: &Broker) -> (Machine, Kernel) {
    let machine = Machine::booted(broker, boot(true, "vmlinuz")).await;
    let mut kernel = Kernel::default();
    kernel.measures("boot_aggregate", b"");
    kernel.measures("/usr/lib/systemd/systemd", b"init");
    kernel.measures("/usr/bin/dash", b"shell");
    kernel.extend(&machine.rig.tpm).await;
    (machine, kernel)
}

fn apply(broker: &Broker, rule: &str) {
    let file = broker.state().with_file_name("references.toml");
    std::fs::write(&file, format!("[[boot]]\nname = \"measured\"\n[boot.ima]\n{rule}")).unwrap();
    broker.admin(&["reference", "apply", file.to_str().unwrap()]).ok();
}

fn hash(content: &[u8]) -> Sha256Digest {
    Sha256Digest::of(content)
}

async fn measured(broker: &Broker) -> serde_json::Value {
    let granted = broker.audit().await.into_iter().rfind(|(kind, _)| kind == "granted");
    granted.unwrap().1["measurements"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn l05_a_list_leads_to_the_quote_and_a_delta_joins_what_is_known() {
    let broker = Broker::start();
    let (mut machine, mut kernel) = machine(&broker).await;
    // Where nobody asks what the kernel measures, what can't be followed is left out.
    machine.ask_measured(0, b"no list").await.unwrap();
    assert!(measured(&broker).await.is_null());
    assert_eq!(refusal(machine.ask_measured(7, b"").await), "AR-X108");
    apply(&broker, "violations = \"report\"\n");
    let whole = kernel.list.clone();
    let ends: Vec<usize> = entry_ends(&whole);

    // An entry left out, doubled, moved; a byte of one changed; one behind the quote is no matter.
    let entry = |number: usize| &whole[if number == 0 { 0 } else { ends[number - 1] }..ends[number]];
    for (what, list, code) in [
        ("left out", [entry(0), entry(2)].concat(), "AR-E606"),
        ("doubled", [entry(0), entry(1), entry(1), entry(2)].concat(), "AR-E606"),
        ("moved", [entry(1), entry(0), entry(2)].concat(), "AR-E606"),
        ("the last left out", [entry(0), entry(1)].concat(), "AR-E606"),
        ("nothing", Vec::new(), "AR-E606"),
        ("cut", whole[..whole.len() - 1].to_vec(), "AR-E601"),
        ("changed", [&whole[..whole.len() - 2], b"x\0"].concat(), "AR-E603"),
    ] {
        assert_eq!(refusal(machine.ask_measured(0, &list).await), code, "{what}");
    }
    // A violation that hides a file.
    let mut hidden = whole.clone();
    hidden[ends[1] + 4..ends[1] + 24].fill(0);
    assert_eq!(refusal(machine.ask_measured(0, &hidden).await), "AR-E606");
    assert_eq!(refusal(machine.send(&[(3, b"short".to_vec())]).await), "AR-X106");
    assert_eq!(refusal(machine.send(&[(3, [&[0; 8], b"no zlib".as_slice()].concat())]).await), "AR-X106");
    let twice = [logs::measurements(0, &whole), logs::measurements(0, &whole)];
    assert_eq!(refusal(machine.send(&twice).await), "AR-X106");

    // Nothing is known yet that a delta could join.
    let refused = report(machine.ask_measured(2, entry(2)).await);
    assert_eq!((refused.code.as_str(), fact(&refused, "first"), fact(&refused, "known")), ("AR-X108", "2", "0"));
    machine.ask_measured(0, &[whole.as_slice(), entry(1)].concat()).await.unwrap();
    assert_eq!(measured(&broker).await[0], 3);

    // From now on what is new is enough: nothing, one, two at once; and it goes on where it ended.
    machine.ask_measured(3, b"").await.unwrap();
    let at = kernel.list.len();
    kernel.measures("/usr/bin/make", b"make");
    kernel.extend(&machine.rig.tpm).await;
    assert_eq!(refusal(machine.ask_measured(3, b"").await), "AR-E606");
    machine.ask_measured(3, &kernel.list[at..]).await.unwrap();
    assert_eq!(measured(&broker).await[0], 4);
    for wrong in [1, 2, 5, u64::MAX] {
        assert_eq!(refusal(machine.ask_measured(wrong, b"").await), "AR-X108", "{wrong}");
    }
    // An agent that was started anew knows of nothing, and sends all; what is known must be the same.
    machine.ask_measured(0, &kernel.list).await.unwrap();
    kernel.measures("/usr/bin/cc", b"cc");
    kernel.extend(&machine.rig.tpm).await;
    let mut other = kernel.list.clone();
    let at = other.windows(6).position(|part| part == b"ima-ng").unwrap();
    other[at..at + 6].copy_from_slice(b"d-ng\0\0");
    assert_eq!(refusal(machine.ask_measured(0, &other).await), "AR-X108");
    machine.ask_measured(0, &kernel.list).await.unwrap();
    // What an exchange sent that was overtaken is known.
    machine.ask_measured(3, &kernel.list[ends[2]..]).await.unwrap();
    assert_eq!(measured(&broker).await[0], 5);

    // Another boot begins from nothing.
    machine.reboot(boot(true, "vmlinuz"), |_| {}).await;
    assert_eq!(refusal(machine.ask_measured(5, b"").await), "AR-X108");
    let before = kernel.list;
    let mut kernel = Kernel::default();
    kernel.measures("boot_aggregate", b"");
    kernel.extend(&machine.rig.tpm).await;
    let mut other = Kernel::default();
    other.measures("boot_aggregate", b"another boot");
    for list in [&other.list, &before[ends[0]..].to_vec()] {
        assert_eq!(refusal(machine.ask_measured(0, list).await), "AR-E606");
    }
    machine.ask_measured(0, &kernel.list).await.unwrap();
    assert_eq!(measured(&broker).await[0], 1);
}

/// Where the entries of a list end.
fn entry_ends(list: &[u8]) -> Vec<usize> {
    let mut entries = attest_evidence::ima::Entries::of(list).unwrap();
    std::iter::from_fn(|| entries.next().map(|entry| entry.map(|_| entries.offset()).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn l05_violations_are_counted_and_reference_values_or_policy_decide() {
    let broker = Broker::start();
    let (mut machine, mut kernel) = machine(&broker).await;
    machine.ask_measured(0, &kernel.list).await.unwrap();
    assert_eq!(measured(&broker).await[2], 0);
    apply(&broker, "");
    machine.ask_measured(3, b"").await.unwrap();
    assert_eq!(refusal(machine.ask().await), "AR-E811");
    // Nor is a kernel that has measured nothing at all.
    let idle = Machine::booted_as(&broker, "idle", boot(true, "vmlinuz")).await;
    assert_eq!(refusal(idle.ask_measured(0, b"").await), "AR-E811");

    let at = kernel.list.len();
    kernel.violates("/var/log/journal");
    kernel.extend(&machine.rig.tpm).await;
    let refused = report(machine.ask_measured(3, &kernel.list[at..]).await);
    assert_eq!((refused.code.as_str(), fact(&refused, "violations")), ("AR-E812", "1"), "{refused}");
    // It stays: that it was told once and refused is no reason to forget it.
    assert_eq!(refusal(machine.ask_measured(4, b"").await), "AR-E812");
    assert_eq!(refusal(machine.ask_measured(0, &kernel.list).await), "AR-E812");

    apply(&broker, "violations = \"report\"\n");
    machine.ask_measured(4, b"").await.unwrap();
    assert_eq!(measured(&broker).await[2], 1);
    broker.set_secret("dev", "release/npm-token", "npm_secret_of_dev");
    machine.request.secrets = vec![SecretRequest {
        name: "release/npm-token".parse().unwrap(),
        usage: SecretUse::Reveal,
        why: "for the test".to_owned(),
    }];
    let rule = |violations| {
        format!(
            "permit (principal, action == Action::\"reveal\", resource in Stage::\"dev\")\nwhen {{ context.measured.runner == \"r\" && context.measured.violations == \"{violations}\" && !(context.measured has job) }};"
        )
    };
    broker.apply_policy(&rule("none"));
    assert_eq!(refusal(machine.ask_measured(4, b"").await), "AR-P402");
    let (_, body) = broker.audit().await.pop().unwrap();
    assert_eq!(body["questions"]["measured"]["violations"], "some");
    assert_eq!(body["questions"]["measured"]["executables"], "measured");
    broker.apply_policy(&rule("some"));
    machine.ask_measured(4, b"").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_no_list_is_refused_by_its_name_and_allowed_by_an_admin() {
    let broker = Broker::start();
    let (machine, mut kernel) = machine(&broker).await;
    let files = |all: &[(&str, &[u8])]| -> String {
        all.iter().map(|(name, content)| format!("{} = \"{name}\"\n", hash(content))).collect()
    };
    let usr = files(&[("systemd", b"init"), ("dash", b"shell")]);
    apply(&broker, &format!("[[boot.ima.scope]]\npath = \"/usr/\"\n[boot.ima.scope.allow]\n{usr}"));
    machine.ask_measured(0, &kernel.list).await.unwrap();

    // In no scope; in the scope and on no list; climbing out of one where anything goes; by SHA-1.
    let mut first = 3;
    let mut ask = async |kernel: &mut Kernel| {
        let at = entry_ends(&kernel.list)[usize::try_from(first - 1).unwrap()];
        kernel.extend(&machine.rig.tpm).await;
        let answer = machine.ask_measured(first, &kernel.list[at..]).await;
        first = kernel.entries;
        answer
    };
    kernel.measures("/home/runner/work/a.out", b"whatever");
    let refused = report(ask(&mut kernel).await);
    assert_eq!((refused.code.as_str(), fact(&refused, "file")), ("AR-E813", "/home/runner/work/a.out"), "{refused}");
    assert_eq!(fact(&refused, "got"), format!("sha256:{}", hash(b"whatever")));
    let work = "[[boot.ima.scope]]\npath = \"/home/runner/work/\"\nany = true\n";
    let both = format!("{work}[[boot.ima.scope]]\npath = \"/usr/\"\n[boot.ima.scope.allow]\n{usr}");
    apply(&broker, &both);
    ask(&mut kernel).await.unwrap();
    for (path, content) in [("/usr/bin/dash", b"another".as_slice()), ("/home/runner/work/../../root/x", b"x")] {
        kernel.measures(path, content);
        assert_eq!(fact(&report(ask(&mut kernel).await), "file"), "/usr/bin/dash");
    }
    // Reference values that say more judge all of it anew, from what the broker kept.
    apply(&broker, &format!("{both}{}", files(&[("dash", b"another")])));
    assert_eq!(fact(&report(ask(&mut kernel).await), "file"), "/home/runner/work/../../root/x");

    // An admin looks, and allows it.
    let dry = broker.admin(&["runner", "approve", "r", "--diff", "--dry-run"]).ok();
    assert!(dry.stdout.contains("the kernel measured 1 files that were not allowed"), "{}", dry.stdout);
    let line = format!("+ sha256:{}  /home/runner/work/../../root/x", hash(b"x"));
    assert!(dry.stdout.contains(&line), "{}", dry.stdout);
    broker.admin(&["runner", "approve", "r", "--diff"]).ok();
    ask(&mut kernel).await.unwrap();

    // What was measured by SHA-1 can't be.
    let sha1 = HashAlgorithm::Sha1.hash(b"old");
    kernel.entry("/usr/bin/old", &[b"sha1:\0".as_slice(), sha1.as_bytes()].concat(), false);
    assert_eq!(fact(&report(ask(&mut kernel).await), "got"), format!("sha1:{sha1}"));
    let dry = broker.admin(&["runner", "approve", "r", "--diff", "--dry-run"]).ok();
    assert!(dry.stdout.contains(&format!("can't be allowed: sha1:{sha1}")), "{}", dry.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_s_own_program_has_to_be_among_what_was_measured() {
    let broker = Broker::start();
    let (machine, mut kernel) = machine(&broker).await;
    let agent = format!("[boot.ima.agent]\n{} = \"attest-run 0.1.0\"\n", hash(b"agent"));
    let anything = "[[boot.ima.scope]]\npath = \"/\"\nany = true\n";
    apply(&broker, &format!("{agent}{anything}"));
    let refused = report(machine.ask_measured(0, &kernel.list).await);
    assert_eq!((refused.code.as_str(), fact(&refused, "wanted")), ("AR-E814", hash(b"agent").to_string().as_str()));
    // Its name proves nothing.
    let at = kernel.list.len();
    kernel.measures("/usr/bin/attest-run", b"something else");
    kernel.extend(&machine.rig.tpm).await;
    assert_eq!(refusal(machine.ask_measured(3, &kernel.list[at..]).await), "AR-E814");
    let at = kernel.list.len();
    kernel.measures("/opt/agent", b"agent");
    kernel.extend(&machine.rig.tpm).await;
    machine.ask_measured(4, &kernel.list[at..]).await.unwrap();
    machine.ask_measured(5, b"").await.unwrap();

    // A first rule out of what was seen names it by where it lies.
    broker.admin(&["reference", "apply", "/dev/null"]).ok();
    let dry = broker.admin(&["runner", "approve", "r", "--diff", "--ima", "--dry-run"]).ok();
    assert!(dry.stdout.contains("[boot.ima.agent]"), "{}", dry.stdout);
    broker.admin(&["runner", "approve", "r", "--diff", "--ima"]).ok();
    machine.ask_measured(5, b"").await.unwrap();
}
