//! The statement about a build environment.

use super::direct::direct;
use crate::support::{Broker, Output, Runner, Users, programs, run};
use attest_evidence::Sha256Digest;
use attest_evidence::measurement::Statement;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const SCHEMA: &str = include_str!("../../docs/reference/measurement.schema.json");

/// What it says, as the reader and as the schema have it.
fn read(out: &str) -> Statement {
    let document: Value = serde_json::from_str(out).unwrap();
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    let wrong: Vec<_> = schema.iter_errors(&document).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{out}");
    // The control: whatever is added is none of the schema's.
    let mut more = document;
    more["predicate"]["host"]["more"] = json!(1);
    assert!(!schema.is_valid(&more));
    let statement = Statement::parse(out.trim_end().as_bytes()).unwrap();
    assert_eq!(statement.to_bytes().unwrap(), out.trim_end().as_bytes());
    statement
}

/// `attest-run measure` with these variables, in direct mode.
fn measure(home: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(programs().join("attest-run"));
    command.arg("measure").args(arguments).env_clear().env("HOME", home).env("ATTEST_RUN_STATE", home.join("state"));
    run(command.env("PATH", "/usr/bin:/bin").envs(variables.iter().copied()))
}

fn git(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=a", "-c", "user.email=a@example.org"]).args(arguments).current_dir(folder);
    run(command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", folder)).ok();
}

#[test]
fn the_environment_is_measured_the_same_each_time() {
    let home = crate::support::directory();
    let one = direct(home.path(), &["measure"]).ok().stdout;
    assert_eq!(one, direct(home.path(), &["measure"]).ok().stdout);
    let statement = read(&one);
    let host = &statement.predicate.host;
    assert_eq!(host.isolation.as_str(), "direct");
    let names: Vec<_> = host.programs.iter().map(|program| program.name.as_str()).collect();
    assert_eq!(names, ["attest-agent", "attest-egress", "attest-spawner", "attest-worker"]);
    for program in &host.programs {
        let bytes = std::fs::read(programs().join(&program.name)).unwrap();
        assert_eq!(program.digest["sha256"], Sha256Digest::of(&bytes), "{}", program.name);
    }
    let uname = |flag: &str| run(Command::new("uname").arg(flag)).ok().stdout.trim_end().to_owned();
    let kernel = &host.kernel;
    assert_eq!([&kernel.release, &kernel.version, &kernel.machine], [&uname("-r"), &uname("-v"), &uname("-m")]);
    assert!(statement.predicate.job.is_none() && host.tpm.attestation_key.is_none());
    assert_eq!(direct(home.path(), &["measure", "--schema"]).ok().stdout, SCHEMA);
}

#[test]
fn what_steers_a_build_is_named_and_its_value_is_not_told() {
    let home = crate::support::directory();
    let password = "hunter2hunter2";
    let index = format!("https://ci:{password}@pypi.example/simple");
    std::fs::write(home.path().join(".npmrc"), format!("//npm.example/:_authToken={password}\n")).unwrap();
    let variables = [
        ("NODE_OPTIONS", "--require ./hook.js"),
        ("PIP_INDEX_URL", &index),
        ("npm_config_registry", "x"),
        ("npm_config__password", password),
        ("YARN_NPM_AUTH_TOKEN", password),
        ("HARMLESS", "1"),
    ];
    let out = measure(home.path(), &variables, &[]).ok().stdout;
    assert!(!out.contains(password) && !out.contains("hook.js"), "{out}");
    let claimed = read(&out).predicate.claimed;
    let names: Vec<_> = claimed.variables.keys().map(String::as_str).collect();
    assert_eq!(names, ["NODE_OPTIONS", "PATH", "PIP_INDEX_URL", "npm_config_registry"]);
    assert_eq!(claimed.variables["NODE_OPTIONS"], Sha256Digest::of(b"--require ./hook.js"));
    // The same index, whoever may fetch from it.
    assert_eq!(claimed.variables["PIP_INDEX_URL"], Sha256Digest::of(b"https://pypi.example/simple"));
    assert_eq!(claimed.files.keys().collect::<Vec<_>>(), ["~/.npmrc"]);
    // More than any build needs is refused, and not cut off.
    let many: Vec<String> = (0..600).map(|number| format!("PIP_{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "1")).collect();
    measure(home.path(), &many, &[]).refused(2, "AR-C302");
}

#[test]
fn the_working_copy_is_the_one_that_git_sees() {
    let home = crate::support::directory();
    let copy = home.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    let folder = copy.to_str().unwrap();
    let workspace = |variables: &[(&str, &str)], arguments: &[&str]| {
        read(&measure(home.path(), variables, arguments).ok().stdout).predicate.claimed.workspace
    };
    assert!(workspace(&[], &["--workspace", folder]).is_none());
    git(&copy, &["init", "--quiet"]);
    let begun = workspace(&[], &["--workspace", folder]).unwrap();
    assert_eq!((begun.commit, begun.dirty), (None, false));
    std::fs::write(copy.join("file"), "one\n").unwrap();
    git(&copy, &["add", "file"]);
    git(&copy, &["commit", "--quiet", "-m", "one"]);
    let mut command = Command::new("git");
    let head = run(command.args(["rev-parse", "HEAD"]).current_dir(&copy)).ok().stdout;
    let clean = workspace(&[("CI_PROJECT_DIR", folder)], &[]).unwrap();
    assert_eq!((clean.commit.as_deref(), clean.dirty), (Some(head.trim_end()), false));
    std::fs::write(copy.join("file"), "two\n").unwrap();
    assert!(workspace(&[("GITHUB_WORKSPACE", folder)], &[]).unwrap().dirty);
    git(&copy, &["checkout", "--quiet", "file"]);
    std::fs::write(copy.join("injected.c"), "").unwrap();
    assert!(workspace(&[], &["--workspace", folder]).unwrap().dirty);
    std::fs::write(copy.join(".git/index"), "no index").unwrap();
    measure(home.path(), &[], &["--workspace", folder]).refused(3, "AR-C303");
}

#[test]
fn tools_are_those_of_the_configuration() {
    let home = crate::support::directory();
    let compiler = home.path().join("cc-1");
    std::fs::write(&compiler, "a compiler").unwrap();
    std::os::unix::fs::symlink("cc-1", home.path().join("cc")).unwrap();
    let configured = home.path().join(".config/attest-run");
    std::fs::create_dir_all(&configured).unwrap();
    let tool = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(configured.join("config.toml"), format!("tools = [{:?}, {:?}]\n", tool("ld"), tool("cc"))).unwrap();
    let tools = || read(&measure(home.path(), &[], &[]).ok().stdout).predicate.host.tools;
    let [cc, ld] = <[_; 2]>::try_from(tools()).unwrap();
    assert_eq!((cc.path, cc.sha256), (tool("cc"), Some(Sha256Digest::of(b"a compiler"))));
    assert!(cc.leads_to.unwrap().ends_with("/cc-1"));
    assert_eq!((ld.path, ld.sha256), (tool("ld"), None));
    std::fs::write(&compiler, "another").unwrap();
    assert_eq!(tools()[0].sha256, Some(Sha256Digest::of(b"another")));
    std::fs::create_dir(tool("ld")).unwrap();
    measure(home.path(), &[], &[]).refused(3, "AR-C301");
}

#[test]
fn an_agent_tells_whose_tpm_it_is() {
    let broker = Broker::start();
    let runner = Runner::enrolled(&broker, "builder");
    let out = runner.as_user(Users::JOB, &["measure"]).ok().stdout;
    let host = read(&out).predicate.host;
    assert_eq!(host.isolation.as_str(), "agent");
    let key = host.tpm.attestation_key.unwrap().to_string();
    let shown = broker.admin(&["runner", "list", "--json"]).ok().stdout;
    assert!(shown.contains(&key), "{key}: {shown}");
}
