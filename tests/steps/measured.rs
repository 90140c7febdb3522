//! An agent whose kernel measures: what it sends, and what its lease says at the end.

use crate::support::{Broker, Kernel, Runner, Swtpm, programs};
use attest_evidence::Sha256Digest;
use attest_tpm::Tpm;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_sends_what_its_kernel_measured_and_closes_its_leases_with_a_quote() {
    let broker = Broker::start();
    let swtpm = Swtpm::bare();
    swtpm.open_to_all();
    let mut kernel = Kernel::default();
    let measure = async |kernel: &mut Kernel| {
        let tpm = Tpm::open(swtpm.transport()).await.unwrap();
        kernel.extend(&tpm).await;
    };
    kernel.measures("boot_aggregate", b"");
    kernel.measures("/usr/bin/dash", b"shell");
    measure(&mut kernel).await;

    let mut runner = Runner::new(programs());
    let list = runner.path("measurements");
    std::fs::write(&list, &kernel.list).unwrap();
    let tpm = format!("swtpm:{}", swtpm.socket().display());
    runner.configure(&tpm, &format!("measurements = \"{}\"\n", list.display()));
    // It is opened before the agent gives up what it takes to open it.
    std::os::unix::fs::chown(&list, Some(0), Some(0)).unwrap();
    std::fs::set_permissions(&list, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    runner.start_agent();
    let token = broker.token_text("r", "agent", true);
    runner.as_user(0, &["enroll", "--broker", &broker.url(), "--token", &token]).ok();
    let hello = runner.step("hello");
    for _ in 0..2 {
        runner.job(&[hello.to_str().unwrap()]).ok();
        let (_, body) = broker.audit().await.into_iter().rfind(|(kind, _)| kind == "granted").unwrap();
        assert_eq!(body["measurements"][0], 2, "{body}");
    }
    let leases = broker.rows("SELECT state || ' ' || closing FROM leases").await;
    assert_eq!(leases, [["succeeded same"], ["succeeded same"]]);

    // Something else is used, and the agent is started anew.
    let rule = format!(
        "[[boot]]\nname = \"x\"\n[boot.ima]\n[[boot.ima.scope]]\npath = \"/usr/\"\n[boot.ima.scope.allow]\n{} = \"dash\"\n",
        Sha256Digest::of(b"shell")
    );
    let file = broker.state().with_file_name("references.toml");
    std::fs::write(&file, rule).unwrap();
    broker.admin(&["reference", "apply", file.to_str().unwrap()]).ok();
    runner.job(&[hello.to_str().unwrap()]).ok();
    runner.stop_agent();
    kernel.measures("/tmp/miner", b"miner");
    measure(&mut kernel).await;
    std::fs::write(&list, &kernel.list).unwrap();
    runner.start_agent();
    let refused = runner.job(&[hello.to_str().unwrap()]).refused(126, "AR-E813");
    assert!(refused.stderr.contains("/tmp/miner"), "{}", refused.stderr);

    // Where a file that an admin names is not there, nothing starts.
    runner.stop_agent();
    runner.configure(&tpm, "event_log = \"/nowhere\"\n");
    runner.as_user(0, &["agent"]).refused(3, "AR-C005");
}
