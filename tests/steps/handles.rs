//! A step has what it declared and was granted, and nothing else.

use super::ready;

#[tokio::test]
async fn p01_what_is_not_declared_is_refused_by_name() {
    let (broker, runner) = ready();
    // The control: what is declared and granted is had.
    let out = runner.hostile(&["secret", "release/npm-token"]).ok();
    assert!(out.stderr.contains("release/npm-token has 17 bytes"), "{}", out.stderr);

    broker.set_secret("dev", "release/other", "another secret");
    for (trick, name, section) in [
        ("secret", "release/other", "secrets"),
        ("secret", "../release/npm-token", "secrets"),
        ("secret", "RELEASE/NPM-TOKEN", "secrets"),
        ("undeclared-key", "other", "keys"),
        ("undeclared-dir", "other", "dirs"),
    ] {
        let out = runner.hostile(&[trick, name]);
        assert_eq!(out.status, 1, "{}", out.stderr);
        let wanted = format!("`{name}` is not declared");
        assert!(out.stderr.contains(&wanted) && out.stderr.contains(&format!("[{section}.")), "{}", out.stderr);
    }
}

#[tokio::test]
async fn p01_what_policy_does_not_grant_stops_the_step() {
    let (broker, runner) = ready();
    broker.apply_policy(
        "@id(\"sign-only\")\npermit (principal, action == Action::\"sign\", resource in Stage::\"dev\")\n\
         when { context.measured.isolation == \"agent\" };",
    );
    let out = runner.hostile(&["secret", "release/npm-token"]).refused(126, "AR-P402");
    assert!(out.stderr.contains("reveal `dev/release/npm-token`"), "{}", out.stderr);
    assert!(!runner.work().join("inner/started").exists());
    let (kind, body) = broker.audit().await.pop().unwrap();
    assert_eq!((kind.as_str(), body["report"]["code"].as_str()), ("refused", Some("AR-P402")));
    assert_eq!(broker.rows("SELECT count(*) FROM leases").await[0][0], "0");
}

#[tokio::test]
async fn p01_what_is_granted_in_one_stage_is_not_in_another() {
    let (broker, runner) = ready();
    broker.set_secret("prod", "release/npm-token", "npm_secret_of_prod");
    runner.as_user(0, &["keys", "create", "release", "--stage", "prod"]).ok();
    let step = runner.step("hostile");
    runner.write("readonly/file", "");
    runner.write("inner/inside", "");
    let dir = |name: &str, folder: &str| format!("{name}={}", runner.work().join(folder).display());
    let (work, readonly) = (dir("work", "inner"), dir("readonly", "readonly"));
    let run = |stage: &str| {
        let step = step.to_str().unwrap();
        runner.job(&["--stage", stage, "--dir", &work, "--dir", &readonly, step, "--", "secret"])
    };
    run("dev").ok();
    let out = run("prod").refused(126, "AR-P402");
    assert!(out.stderr.contains("`prod/release/npm-token`"), "{}", out.stderr);
    run("staging").refused(126, "AR-K101");
    // Policy would allow it, and there is none.
    broker.admin(&["secret", "delete", "release/npm-token", "--stage", "dev"]).ok();
    run("dev").refused(126, "AR-P403");
}

#[test]
fn g01_a_component_that_imports_more_than_it_declares_does_not_start() {
    let (_broker, runner) = ready();
    let step = runner.step("hostile");
    let folder = step.parent().unwrap();
    let manifest = std::fs::read_to_string(folder.join("step.toml")).unwrap();
    let without = |section: &str| {
        let (before, after) = manifest.split_once(section).unwrap();
        let rest = after.find("\n[").map_or("", |at| &after[at..]);
        std::fs::write(folder.join("step.toml"), format!("{before}{rest}")).unwrap();
        let dir = |name: &str, path: std::path::PathBuf| format!("{name}={}", path.display());
        runner.write("inner/inside", "");
        let work = dir("work", runner.work().join("inner"));
        runner.job(&["--dir", &work, step.to_str().unwrap(), "--", "fail"])
    };
    let out = without("[secrets.").refused(126, "AR-S301");
    assert!(out.stderr.contains("attest:step/") && out.stderr.contains("[secrets."), "{}", out.stderr);
    let out = without("[keys.").refused(126, "AR-S301");
    assert!(out.stderr.contains("attest:step/signing@0.1.0"), "{}", out.stderr);
    runner.job(&["check", step.to_str().unwrap()]).refused(1, "AR-S301");
    // The control: with its own manifest it starts, and fails as it was told to.
    assert_eq!(runner.hostile(&["fail", "42"]).status, 42);
}

#[test]
fn g02_a_step_stays_in_its_directories() {
    let (_broker, runner) = ready();
    super::walls::lay_out(&runner);
    let outside = runner.work().join("outside/file");
    for way in super::walls::ESCAPES {
        let out = runner.hostile(&["escape", way]);
        assert_eq!(out.status, 77, "{way}: {}", out.stderr);
    }
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "outside\n");
    assert_eq!(std::fs::read_to_string(runner.work().join("readonly/file")).unwrap(), "may only be read\n");
    // The control: inside, it is at home.
    let out = runner.hostile(&["escape", "inside"]).ok();
    assert!(out.stderr.contains("inside: got through"), "{}", out.stderr);
    runner.hostile(&["write", "written"]).ok();
    assert_eq!(std::fs::read_to_string(runner.work().join("inner/written")).unwrap(), "by the step\n");
}
