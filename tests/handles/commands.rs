//! Programs of the command line, and steps in JavaScript: made by toolchains that know nothing of attest-run.

use super::Scene;
use crate::support::{Broker, Output, Runner};
use std::path::PathBuf;

/// A component that `make steps-cli` or `make steps-js` has built, with a manifest.
fn component(runner: &Runner, folder: &str, name: &str, manifest: &str) -> PathBuf {
    let from = crate::support::step_file(folder, name);
    let to = runner.path("steps").join(name);
    std::fs::create_dir_all(&to).unwrap();
    std::fs::copy(from, to.join(format!("{name}.wasm"))).unwrap();
    std::fs::write(to.join("step.toml"), manifest).unwrap();
    to.join(format!("{name}.wasm"))
}

const CLI: &str = "[step]\nname = \"cli\"\n[dirs.data]\nmode = \"write\"\nwhy = \"files\"\n\
    [secrets.seen]\nuse = \"env\"\nvariable = \"TOKEN\"\nwhy = \"a program that reads it there\"\n";

pub(crate) fn cli(scene: &Scene, arguments: &[&str]) -> Output {
    let program = component(&scene.runner, "cli", "cli", CLI);
    let data = format!("data={}", scene.runner.work().join("inner").display());
    let mut all = vec!["--dir", &data, program.to_str().unwrap(), "--"];
    all.extend(arguments);
    scene.runner.job(&all)
}

#[test]
fn an_unchanged_program_of_the_command_line_runs() {
    let scene = Scene::new();
    assert_eq!(cli(&scene, &["args", "a", "b c"]).ok().stdout, "[\"a\", \"b c\"]\n");
    // Its environment is what was declared, and nothing of the job's. What it prints of it is masked.
    assert_eq!(cli(&scene, &["env"]).ok().stdout, "TOKEN=***\n");
    assert_eq!(cli(&scene, &["cat", "/data/inside"]).ok().stdout, "inside\n");
    cli(&scene, &["write", "/data/made", "by a program"]).ok();
    assert_eq!(std::fs::read_to_string(scene.runner.work().join("inner/made")).unwrap(), "by a program");
    assert!(cli(&scene, &["ls", "/data"]).ok().stdout.contains("made\n"));
    assert_eq!(cli(&scene, &["stdin"]).ok().stdout, "0 bytes, 0 lines\n");
    assert!(cli(&scene, &["stderr", "to \u{1b}[31mpeople"]).ok().stderr.contains("to \\u{1b}[31mpeople"));
    assert_eq!(cli(&scene, &["exit", "0"]).status, 0);
    assert_eq!(cli(&scene, &["exit", "1"]).status, 1);
    for command in ["clock", "random", "seed"] {
        cli(&scene, &[command]).ok();
    }
    cli(&scene, &["sleep", "10"]).ok();
    cli(&scene, &["panic"]).refused(134, "AR-W301");
    let out = cli(&scene, &["spam", "17"]).refused(134, "AR-W302");
    assert!(out.stderr.contains("16 MiB of log and outputs"), "{}", out.stderr);
    // Beside what it was given there is nothing.
    for path in ["/etc/passwd", "/data/../../etc/passwd", "/", "/proc/self/environ"] {
        let out = cli(&scene, &["cat", path]);
        assert_eq!(out.status, 1, "{path}: {}{}", out.stdout, out.stderr);
        assert!(out.stderr.contains("cli: "), "{path}: {}", out.stderr);
    }
}

#[test]
fn a_secret_in_the_environment_is_declared_granted_and_as_good_as_revealed() {
    let scene = Scene::new();
    let program = component(&scene.runner, "cli", "cli", "[step]\nname = \"cli\"\n");
    let out = scene.runner.job(&[program.to_str().unwrap(), "--", "env"]).ok();
    assert_eq!(out.stdout, "");
    // Policy is asked to reveal it.
    let development = include_str!("../../attestation/broker/policy/development.cedar");
    let unseen = development.replace("action in [Action::\"reveal\", Action::\"use\"]", "action == Action::\"use\"");
    scene.broker.apply_policy(&unseen);
    let out = cli(&scene, &["env"]).refused(126, "AR-P402");
    assert!(out.stderr.contains("dev/seen"), "{}", out.stderr);
}

#[test]
fn steps_in_javascript_run() {
    let broker = Broker::start();
    let runner = Runner::enrolled(&broker, "builder");
    let manifest = std::fs::read_to_string(crate::support::step("hello-js").join("step.toml")).unwrap();
    let hello = component(&runner, "hello-js", "hello-js", &manifest);
    let out = runner.job(&[hello.to_str().unwrap(), "--", "you"]).ok();
    assert!(out.stdout.contains("greeting="), "{}", out.stdout);
    assert!(out.stderr.contains("you"), "{}", out.stderr);

    let manifest = std::fs::read_to_string(crate::support::step("sizes-js").join("step.toml")).unwrap();
    let sizes = component(&runner, "sizes-js", "sizes-js", &manifest);
    runner.write("dist/app.tar.gz", "0123456789");
    let dist = format!("dist={}", runner.work().join("dist").display());
    let out = runner.job(&["--dir", &dist, sizes.to_str().unwrap()]).ok();
    assert!(out.stderr.contains("app.tar.gz") && out.stderr.contains("10"), "{}", out.stderr);

    // The same as a command that any runtime runs.
    let command = component(&runner, "hello-js", "hello-js-command", "[step]\nname = \"hello-js\"\n");
    let out = runner.job(&[command.to_str().unwrap(), "--", "you"]).ok();
    assert!(out.stdout.contains("you"), "{}{}", out.stdout, out.stderr);
}
