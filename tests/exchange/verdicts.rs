//! What a broker concludes of an exchange, in the form that others read (draft-ietf-rats-ear).

use super::machine::{Machine, boot};
use crate::support::{Broker, Kernel, programs, run};
use attest_appraisal::ear::{EarKey, TrustAspect, TrustTier, UnverifiedEar};
use attest_evidence::Sha256Digest;
use attest_evidence::time::{Clock as _, SystemClock};
use std::process::Command;

struct Verdict {
    token: String,
    key: String,
}

impl Verdict {
    async fn of(broker: &Broker, lease: &str) -> Self {
        let printed = broker.admin(&["--json", "lease", "verdict", lease]).ok().stdout;
        let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(printed["schema"], "attest-run/verdict/v1");
        Self { token: printed["ear"].as_str().unwrap().to_owned(), key: printed["key"].to_string() }
    }

    /// Status of a submodule, and its claim in one respect.
    fn says(&self, of: &str, aspect: TrustAspect) -> (TrustTier, i8) {
        let key = EarKey::from_jwk(self.key.as_bytes()).unwrap();
        let verified = UnverifiedEar::parse(&self.token).unwrap().verify(&key, SystemClock.now()).unwrap();
        let appraisal = &verified.ear().submods()[of];
        (appraisal.status(), appraisal.claim(aspect).code())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_affirms_what_was_shown_and_names_the_evidence() {
    let broker = Broker::start();
    let machine = Machine::booted(&broker, boot(true, "vmlinuz")).await;
    let mut kernel = Kernel::default();
    kernel.measures("boot_aggregate", b"");
    kernel.measures("/usr/bin/attest-run", b"agent");
    kernel.extend(&machine.rig.tpm).await;

    // A software TPM, no reference values, no CI job, a step that asks for nothing: the key is known, and nothing else.
    let grant = machine.ask_measured(0, &kernel.list).await.unwrap();
    let verdict = Verdict::of(&broker, grant.lease.as_str()).await;
    assert_eq!(verdict.says("tpm", TrustAspect::InstanceIdentity), (TrustTier::None, 2));
    assert_eq!(verdict.says("tpm", TrustAspect::Hardware), (TrustTier::None, 1));
    assert_eq!(verdict.says("tpm", TrustAspect::Configuration), (TrustTier::None, 1));
    assert_eq!(verdict.says("tpm", TrustAspect::Executables), (TrustTier::None, 1));
    assert_eq!(verdict.says("ci", TrustAspect::InstanceIdentity), (TrustTier::None, 0));
    assert_eq!(verdict.says("step", TrustAspect::Configuration), (TrustTier::None, 0));

    // What an admin has allowed is affirmed. Hardware never is, of a program; so the whole is not.
    broker.admin(&["runner", "approve", "r", "--diff", "--ima"]).ok();
    let grant = machine.ask_measured(2, b"").await.unwrap();
    let verdict = Verdict::of(&broker, grant.lease.as_str()).await;
    assert_eq!(verdict.says("tpm", TrustAspect::Hardware), (TrustTier::None, 1));
    assert_eq!(verdict.says("tpm", TrustAspect::Configuration), (TrustTier::None, 2));
    assert_eq!(verdict.says("tpm", TrustAspect::Executables), (TrustTier::None, 2));

    // As a stranger reads it; each claim names what it rests on.
    let folder = crate::support::directory();
    let (file, key) = (folder.path().join("ear.jwt"), folder.path().join("key.json"));
    std::fs::write(&file, &verdict.token).unwrap();
    std::fs::write(&key, &verdict.key).unwrap();
    let verify = |more: &[&str]| {
        let mut command = Command::new(programs().join("attest-run"));
        run(command.args(["verify", "ear", file.to_str().unwrap(), "--key", key.to_str().unwrap()]).args(more))
    };
    let said = verify(&[]).ok().stdout;
    for wanted in [
        "tpm  none".to_owned(),
        "  hardware: 1 (none): evidence that the verifier can't evaluate".to_owned(),
        "  executables: 2 (affirming): only what is approved, during boot and after it".to_owned(),
        format!("    by event-log {}", Sha256Digest::of(&machine.log)),
        format!("    by attestation-key {}", Sha256Digest::of(&machine.rig.key.public)),
    ] {
        assert!(said.contains(&wanted), "{wanted} in {said}");
    }
    let said: serde_json::Value = serde_json::from_str(&verify(&["--json"]).ok().stdout).unwrap();
    assert_eq!(said["claims"]["ear_status"], "none");
    let of_step = &said["claims"]["submods"]["step"]["ear_attest_run_evidence"]["configuration"];
    assert_eq!(of_step["component"], format!("sha256:{}", machine.request.component));
    assert_eq!(of_step["bound"], format!("sha256:{}", grant.bound));
    // The audit log has the same, and the key signs nothing else for it.
    let (_, body) = broker.audit().await.into_iter().rfind(|(kind, _)| kind == "granted").unwrap();
    let mut claims = said["claims"].clone();
    let lease = claims.as_object_mut().unwrap().remove("ear_attest_run_lease").unwrap();
    assert_eq!((&body["ear"], &lease["state"]), (&claims, &serde_json::json!("active")));
    let quote = data_encoding::BASE64.decode(body["quote"][0].as_str().unwrap().as_bytes()).unwrap();
    let of_tpm = &claims["submods"]["tpm"]["ear_attest_run_evidence"]["instance-identity"];
    assert_eq!(of_tpm["quote"], format!("sha256:{}", Sha256Digest::of(&quote)));

    verify(&["--at", "2040-01-01T00:00:00Z"]).refused(1, "AR-E707");
    let other = Broker::start();
    let rig = crate::support::Rig::enrolled(&other, "r").await;
    let grant = rig.send(rig.exchange(&rig.request()).await).await.unwrap();
    std::fs::write(&key, Verdict::of(&other, grant.lease.as_str()).await.key).unwrap();
    verify(&[]).refused(1, "AR-E703");
    other.admin(&["lease", "verdict", "lse_none"]).refused(1, "AR-B305");

    // A place where anything may run is no list; nor is a list worth more than the kernel that nobody looked at.
    let agent = Sha256Digest::of(b"agent");
    let ima = format!("[boot.ima]\n[boot.ima.agent]\n{agent} = \"agent\"\n[[boot.ima.scope]]\npath = \"/\"\n");
    let listed = format!("{ima}[boot.ima.scope.allow]\n{agent} = \"agent\"\n");
    let file = broker.state().with_file_name("references.toml");
    for (rule, configuration) in [(format!("{ima}any = true\n"), 1), (listed, 1)] {
        std::fs::write(&file, format!("[[boot]]\nname = \"x\"\n{rule}")).unwrap();
        broker.admin(&["reference", "apply", file.to_str().unwrap()]).ok();
        let grant = machine.ask_measured(2, b"").await.unwrap();
        let verdict = Verdict::of(&broker, grant.lease.as_str()).await;
        assert_eq!(verdict.says("tpm", TrustAspect::Executables).1, 1, "{rule}");
        assert_eq!(verdict.says("tpm", TrustAspect::Configuration).1, configuration, "{rule}");
    }
}
