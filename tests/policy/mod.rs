//! Policies as their authors and admins meet them: the command line, the samples, two persons (P02).

use crate::support::{Broker, Output, run};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const AGENT_PROOF: &str = "context.measured.isolation == \"agent\"";
const AGENT: &str = "when { context.measured.isolation == \"agent\" }";

/// A broker, and a folder for files that its admins write.
struct Office {
    broker: Broker,
    folder: PathBuf,
}

impl Office {
    fn open() -> Self {
        let broker = Broker::start();
        let folder = broker.state().parent().unwrap().to_owned();
        Self { broker, folder }
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn policy(&self, arguments: &[&str]) -> Output {
        self.broker.admin(&[&["policy"], arguments].concat())
    }

    /// The same as another person: root, who may open the broker's state as well.
    fn policy_as_root(&self, arguments: &[&str]) -> Output {
        let program = crate::support::programs().join("attest-broker");
        let state = self.broker.state();
        run(Command::new(program).arg("policy").args(arguments).arg("--state").arg(state).env_clear())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.policy(&[arguments, &["--json"]].concat()).ok().stdout).unwrap()
    }
}

/// The sample policies, each with its cases.
#[test]
fn the_samples_work_as_they_stand() {
    let office = Office::open();
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("runner-config/policies");
    for (name, least) in [("github", 20), ("gitlab", 15)] {
        let file = |file: &str| samples.join(name).join(file).display().to_string();
        let (policy, entities, cases) = (file("policy.cedar"), file("entities.json"), file("cases.toml"));
        office.policy(&["check", &policy, "--entities", &entities]).ok();
        let tested = office.json(&["test", &policy, "--entities", &entities, &cases]);
        assert_eq!(tested["failed"], 0, "{tested}");
        assert!(tested["passed"].as_u64().unwrap() >= least, "{tested}");
        // Each way that a case can go is gone.
        let got = |wanted: &str| tested["cases"].as_array().unwrap().iter().any(|case| case["got"] == wanted);
        assert!(got("allow") && got("deny"));
        office.policy(&["apply", &policy, "--entities", &entities]).ok();
    }
    assert_eq!(office.json(&["show"])["version"], 3);
}

#[test]
fn cases_that_go_otherwise_are_named_with_the_reason() {
    let office = Office::open();
    let policy = office.write(
        "p.cedar",
        &format!(
            "@id(\"sign\") permit (principal, action == Action::\"sign\", resource == Key::\"dev/release\") when {{ !(context.measured has job) && {AGENT_PROOF} }};"
        ),
    );
    let cases = office.write(
        "c.toml",
        "[[case]]\nname = \"walls\"\nask = \"sign key dev/release\"\nexpect = \"allow\"\nmeasured.isolation = \"agent\"\n\
         [[case]]\nname = \"no walls\"\nask = \"sign key dev/release\"\nexpect = \"allow\"\nmeasured.isolation = \"direct\"\n",
    );
    let out = office.policy(&["test", &policy, &cases]).refused(1, "AR-P203");
    assert!(out.stdout.contains("ok      walls\n"), "{}", out.stdout);
    assert!(out.stdout.contains("FAILED  no walls\n        want allow, got deny\n"), "{}", out.stdout);
    assert!(
        out.stdout.contains("sign (line 1): does not permit: isolation: want `agent`, got `direct`"),
        "{}",
        out.stdout
    );
    office.policy(&["test", &policy, &office.write("none.toml", "")]).refused(2, "AR-P201");
    office.policy(&["test", &policy, &office.write("bad.toml", "[[case]]\nname = 1")]).refused(2, "AR-P201");
    office.policy(&["test", &policy, "/nonexistent"]).refused(2, "AR-P106");
}

#[tokio::test]
async fn p02_what_is_no_good_is_not_applied_and_says_why() {
    let office = Office::open();
    let apply = |text: &str| office.policy(&["apply", &office.write("p.cedar", text)]);
    let rule = |scope: &str, when: &str| {
        format!("@id(\"r\") permit (principal, action == Action::\"reveal\", {scope}) {when};")
    };
    let prod = "resource in Stage::\"prod\"";
    apply(&rule(prod, "")).refused(1, "AR-P107");
    apply(&rule("resource", AGENT)).refused(1, "AR-P108");
    let job = |when: &str| rule(prod, &format!("when {{ context.measured has job && {AGENT_PROOF} && {when} }}"));
    apply(&job("context.measured.job.repository == \"o/r\"")).refused(1, "AR-P109");
    apply(&job("context.measured.job.event == \"push\"")).refused(1, "AR-P111");
    apply(&(rule(prod, AGENT) + "forbid (principal, action == Action::\"reveal\", resource);")).refused(1, "AR-P112");
    apply(&rule("resource in Stage::\"production\"", AGENT)).refused(1, "AR-P113");
    apply("permit (principal").refused(1, "AR-P102");
    apply(&rule(prod, "when { context.measured.x == 1 }")).refused(1, "AR-P103");
    apply("forbid (principal, action, resource);").refused(1, "AR-P104");
    let began = std::time::Instant::now();
    apply(&" ".repeat(10 << 20)).refused(1, "AR-P101");
    assert!(began.elapsed() < std::time::Duration::from_secs(2));
    // What would end a process by its stack is refused before it is parsed.
    for deep in
        ["(".repeat(100_000), "!".repeat(100_000), "true || ".repeat(60_000), "if true then 1 else ".repeat(30_000)]
    {
        apply(&rule(prod, &format!("when {{ {deep} }}"))).refused(1, "AR-P118");
    }
    let policy = office.write("p.cedar", &rule(prod, AGENT));
    for entities in [
        "{",
        r#"[{"uid":{"type":"Runner","id":"r"},"attrs":{},"parents":[{"type":"Stage","id":"prod"}]}]"#,
        r#"[{"uid":{"type":"KeyGroup","id":"a"},"attrs":{},"parents":[{"type":"KeyGroup","id":"b"}]},
            {"uid":{"type":"KeyGroup","id":"b"},"attrs":{},"parents":[{"type":"KeyGroup","id":"a"}]}]"#,
    ] {
        office.policy(&["apply", &policy, "--entities", &office.write("e.json", entities)]).refused(1, "AR-P114");
    }
    // Nothing of all that has been applied, and the control is.
    assert_eq!(office.json(&["show"])["version"], 1);
    office.policy(&["apply", &policy]).ok();
    assert_eq!(office.json(&["show"])["version"], 2);
    let (kind, body) = office.broker.audit().await.pop().unwrap();
    assert_eq!((kind.as_str(), &body["what"], &body["by"]), ("admin", &"policy apply".into(), &"uid:61001".into()));
}

/// P03, at every door through which an admin's names come in. Manifests and requests are of the same types.
#[test]
fn p03_names_that_read_as_others_come_in_nowhere() {
    let office = Office::open();
    // The control.
    office.broker.set_secret("prod", "a/npm", "npm_secret_of_prod");
    let json = |text: &str| serde_json::to_string(text).unwrap();
    for name in [
        "*",
        "npm*",
        "../npm",
        "a/../npm",
        "a//npm",
        "/npm",
        "npm/",
        "npm\n",
        "NPM",
        "npm\u{202e}",
        "n\u{440}m",
        "a npm",
        "",
    ] {
        let staged = format!("prod/{name}");
        for command in [
            &["secret", "set", name, "--stage", "prod"][..],
            &["secret", "delete", name, "--stage", "prod"],
            &["runner", "token", name, "--isolation", "agent"],
            &["lease", "revoke", "--secret", &staged],
            &["lease", "revoke", "--key", &staged],
            &["lease", "revoke", "--token", &staged],
            &["audience", "set", name, "--stage", "prod", "--audience", "a", "--to", "https://a.example"],
            &["audience", "delete", name, "--stage", "prod"],
        ] {
            assert_eq!(office.broker.admin(command).status, 2, "{command:?}");
        }
        let rule = format!("permit (principal, action == Action::\"reveal\", resource == Secret::{staged:?}) {AGENT};");
        office.policy(&["check", &office.write("p.cedar", &rule)]).refused(1, "AR-P113");
        let group = format!(
            r#"[{{"uid":{{"type":"Secret","id":{}}},"attrs":{{}},"parents":[{{"type":"SecretGroup","id":"g"}}]}}]"#,
            json(&staged)
        );
        let good = office.write("good.cedar", &rule.replace(&format!("{staged:?}"), "\"prod/a/npm\""));
        office.policy(&["check", &good, "--entities", &office.write("e.json", &group)]).refused(1, "AR-P114");
        let ask = json(&format!("reveal secret {staged}"));
        let cases = office.write("c.toml", &format!("[[case]]\nname = \"x\"\nask = {ask}\nexpect = \"deny\"\n"));
        office.policy(&["test", &good, &cases]).refused(2, "AR-P201");
    }
}

#[test]
fn p02_a_policy_that_locks_every_admin_out_is_not_applied() {
    let office = Office::open();
    let steps = format!("permit (principal, action == Action::\"sign\", resource in Stage::\"dev\") {AGENT};\n");
    let apply = |rules: &str| office.policy(&["apply", &office.write("p.cedar", &format!("{steps}{rules}"))]);
    let admin =
        |name: &str| format!("permit (principal == Admin::\"{name}\", action == Action::\"administer\", resource);\n");
    apply("forbid (principal, action == Action::\"administer\", resource);").refused(1, "AR-P115");
    apply("permit (principal, action == Action::\"administer\", resource) when { context.what == \"secret set\" };")
        .refused(1, "AR-P115");
    // To somebody else alone: it may be given away, and then it is.
    apply(&admin("root")).ok();
    apply(&admin("uid:61001")).refused(1, "AR-P116");
    let file = office.folder.join("p.cedar").display().to_string();
    office.policy_as_root(&["apply", &file]).ok();
    apply("").ok();
    // By two, there have to be two.
    let two = office.write("two.cedar", &format!("{steps}{}", admin("uid:61001")));
    office.policy(&["apply", &two, "--two-persons"]).refused(1, "AR-P115");
}

#[tokio::test]
async fn a_second_person_has_to_agree_where_policy_says_so() {
    let office = Office::open();
    let steps = |class: &str| {
        format!(
            "permit (principal, action == Action::\"sign\", resource in Stage::\"dev\") when {{ context.measured.tpm_class == \"{class}\" }};"
        )
    };
    let (one, two, three) = (
        office.write("1.cedar", &steps("discrete")),
        office.write("2.cedar", &steps("firmware")),
        office.write("3.cedar", &steps("virtual")),
    );
    office.policy(&["apply", &one, "--two-persons"]).ok();
    assert_eq!(office.json(&["show"])["version"], 2);
    let applied = office.json(&["apply", &two]);
    assert_eq!((&applied["version"], &applied["waiting"]), (&3.into(), &true.into()));
    // It is not in force, and whoever wrote it can't make it so.
    assert_eq!(office.json(&["show"])["version"], 2);
    office.policy(&["approve", "3"]).refused(1, "AR-P117");
    office.policy(&["approve", "2"]).refused(1, "AR-P117");
    office.policy(&["approve", "9"]).refused(1, "AR-B305");
    let other = office.json(&["apply", &three]);
    assert_eq!(other["version"], 4);
    office.policy_as_root(&["approve", "4"]).ok();
    assert_eq!(office.json(&["show"])["version"], 4);
    let shown = office.json(&["show", "4"]);
    assert_eq!((&shown["applied_by"], &shown["approved_by"]), (&"uid:61001".into(), &"root".into()));
    // The older one was written in ignorance of it.
    office.policy_as_root(&["approve", "3"]).refused(1, "AR-P117");
    let (_, body) = office.broker.audit().await.pop().unwrap();
    assert_eq!((&body["what"], &body["by"]), (&"policy approve".into(), &"root".into()));
    // It stays so until two persons have agreed that one is enough.
    let last = office.json(&["apply", &one, "--one-person"]);
    assert_eq!((&last["version"], &last["waiting"]), (&5.into(), &true.into()));
    office.policy_as_root(&["approve", "5"]).ok();
    assert_eq!(office.json(&["apply", &two])["waiting"], false);
}
