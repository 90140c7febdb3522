//! `check`, `pack` and `new`: what step authors do before anything is attested.

use crate::support::{Output, programs, run, step};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// `attest-run` in a folder, without network, TPM and configuration.
fn offline(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("unshare");
    command.arg("--net").arg(programs().join("attest-run")).args(arguments);
    command.env_clear().env("ATTEST_RUN_TPM", "device:/nonexistent").env("PATH", "/usr/bin:/bin");
    run(command.current_dir(folder))
}

/// `attest-run` in direct mode.
fn direct(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(programs().join("attest-run"));
    command.args(arguments).env_clear().env("HOME", folder).env("ATTEST_RUN_STATE", folder.join("state"));
    run(command.current_dir(folder))
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.stdout))
}

fn component(imports: &[&str], run: &str) -> Vec<u8> {
    let imports: String = imports.iter().map(|import| format!("(import \"{import}\" (instance))")).collect();
    let run = format!(
        r#"(core module $m (func (export "f"))) (core instance $i (instantiate $m))
           (func $f (canon lift (core func $i "f"))) {}"#,
        match run {
            "run" => "(export \"run\" (func $f))".to_owned(),
            instance => format!("(instance $run (export \"run\" (func $f))) (export \"{instance}\" (instance $run))"),
        }
    );
    wat::parse_str(format!("(component {imports} {run})")).unwrap()
}

const PUBLISH: [&str; 6] = [
    "attest:step/log@0.1.0",
    "attest:step/secrets@0.1.0",
    "attest:step/http@0.1.0",
    "wasi:http/types@0.2.12",
    "wasi:http/outgoing-handler@0.2.12",
    "attest:step/outputs@0.1.0",
];

#[test]
fn wanted_stands_against_granted_and_fix_writes_the_rest() {
    let folder = crate::support::directory();
    let folder = folder.path();
    std::fs::write(folder.join("publish.wasm"), component(&PUBLISH, "run")).unwrap();
    let before = "# Mine.\n[step]   # and this\nname = \"publish\"\n\n[outputs.version]\nwhy = \"tells\"\n\n[summary]\nwhy = \"tells\"";
    std::fs::write(folder.join("step.toml"), before).unwrap();
    let out = offline(folder, &["check", "publish.wasm"]).refused(1, "AR-S301");
    for line in [
        "step       publish (step)",
        "  ok attest:step/log@0.1.0              always          writes messages",
        "  ok attest:step/outputs@0.1.0          [outputs.NAME]  sets values",
        "  NO attest:step/http@0.1.0             nothing         sends requests",
        "needs `[http]`, and `[secrets.NAME]` with `use = \"http\"` or `[tokens.NAME]`",
        "[http]\nallow = [\"https://HOST\"]",
    ] {
        assert!(out.stdout.contains(line), "{line}\n{}", out.stdout);
    }
    assert!(out.stderr.contains("warning: `summary` is declared, and nothing"), "{}", out.stderr);
    // One document, with all of it.
    let listing = json(&offline(folder, &["--json", "check", "publish.wasm"]));
    assert_eq!((&listing["kind"], &listing["manifest_from"]), (&"step".into(), &"beside".into()));
    assert_eq!(listing["unneeded"], serde_json::json!(["summary"]));
    assert_eq!(listing["error"]["code"], "AR-S301");
    let covered = |listing: &Value| -> Vec<bool> {
        listing["imports"].as_array().unwrap().iter().map(|import| import["covered"].as_bool().unwrap()).collect()
    };
    assert_eq!(covered(&listing), [true, false, false, false, false, true]);
    // Looking changes nothing.
    assert_eq!(std::fs::read_to_string(folder.join("step.toml")).unwrap(), before);

    let out = offline(folder, &["check", "--fix", "publish.wasm"]).ok();
    assert!(out.stderr.contains("wrote [http], [secrets.my-token] into step.toml"), "{}", out.stderr);
    assert!(out.stderr.contains("TODO are to be filled in"), "{}", out.stderr);
    let after = std::fs::read_to_string(folder.join("step.toml")).unwrap();
    assert!(after.starts_with(before), "{after}");
    // Once is enough, and nothing is left behind.
    let out = offline(folder, &["--json", "check", "--fix", "publish.wasm"]).ok();
    assert_eq!(json(&out)["written"], Value::Null);
    assert_eq!(covered(&json(&out)), [true; 6]);
    assert_eq!(std::fs::read_to_string(folder.join("step.toml")).unwrap(), after);
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 2);
}

#[test]
fn fix_makes_a_manifest_where_there_is_none_and_leaves_what_it_can_not_add_to() {
    let folder = crate::support::directory();
    let folder = folder.path();
    std::fs::write(folder.join("My Step_2.wasm"), component(&PUBLISH, "run")).unwrap();
    offline(folder, &["check", "My Step_2.wasm"]).refused(3, "AR-S002");
    offline(folder, &["check", "--fix", "My Step_2.wasm"]).ok();
    let made = std::fs::read_to_string(folder.join("step.toml")).unwrap();
    assert!(made.starts_with("[step]\nname = \"my-step-2\"\n"), "{made}");
    offline(folder, &["check", "My Step_2.wasm"]).ok();
    // A link is written through, with the rights that the file had.
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(folder.join("real.toml"), "[step]\nname = \"s\"\n").unwrap();
    std::fs::set_permissions(folder.join("real.toml"), std::fs::Permissions::from_mode(0o640)).unwrap();
    std::fs::remove_file(folder.join("step.toml")).unwrap();
    std::os::unix::fs::symlink("real.toml", folder.join("step.toml")).unwrap();
    offline(folder, &["check", "--fix", "My Step_2.wasm"]).ok();
    assert!(folder.join("step.toml").is_symlink());
    let real = folder.join("real.toml");
    assert!(std::fs::read_to_string(&real).unwrap().contains("[http]"));
    assert_eq!(real.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    let inline = "step = { name = \"s\" }\nsecrets = {}\n";
    std::fs::write(&real, inline).unwrap();
    offline(folder, &["check", "--fix", "My Step_2.wasm"]).refused(1, "AR-S503");
    std::fs::write(folder.join("broken.toml"), "[stp]\n").unwrap();
    offline(folder, &["check", "--fix", "--manifest", "broken.toml", "My Step_2.wasm"]).refused(1, "AR-S103");
    assert_eq!(std::fs::read_to_string(&real).unwrap(), inline);
}

#[test]
fn programs_of_any_toolchain_are_commands() {
    let folder = crate::support::directory();
    let folder = folder.path();
    let imports = ["wasi:cli/environment@0.2.3", "wasi:filesystem/preopens@0.2.3", "wasi:cli/stdout@0.2.3"];
    std::fs::write(folder.join("tool.wasm"), component(&imports, "wasi:cli/run@0.2.3")).unwrap();
    std::fs::write(folder.join("step.toml"), "[step]\nname = \"tool\"\n").unwrap();
    let out = offline(folder, &["check", "tool.wasm"]).ok();
    assert!(out.stdout.contains("tool (command)") && out.stdout.contains("is empty without"), "{}", out.stdout);
    let imports = [&imports[..], &["wasi:sockets/tcp@0.2.3"]].concat();
    std::fs::write(folder.join("tool.wasm"), component(&imports, "wasi:cli/run@0.2.3")).unwrap();
    let out = offline(folder, &["check", "tool.wasm"]).refused(1, "AR-S302");
    assert!(out.stderr.contains("no sockets"), "{}", out.stderr);
    std::fs::write(folder.join("tool.wasm"), component(&[], "wasi:cli/run@0.3.0")).unwrap();
    let out = offline(folder, &["check", "tool.wasm"]).refused(1, "AR-S304");
    assert!(out.stderr.contains("built against wasi:cli 0.3.0"), "{}", out.stderr);
}

#[test]
fn the_manifest_travels_in_the_component() {
    let folder = crate::support::directory();
    let folder = folder.path();
    let hello = step("hello").join("hello.wasm");
    let write = |name: &str, step: &str| {
        std::fs::write(folder.join(name), format!("[step]\nname = \"{step}\"\n")).unwrap();
    };
    let named = |arguments: &[&str]| {
        let listing = json(&offline(folder, arguments).ok());
        (listing["step"].as_str().unwrap().to_owned(), listing["manifest_from"].as_str().unwrap().to_owned())
    };
    let pair = |step: &str, from: &str| (step.to_owned(), from.to_owned());
    write("inner.toml", "inner");
    let packed =
        offline(folder, &["--json", "pack", hello.to_str().unwrap(), "-o", "one.wasm", "--manifest", "inner.toml"])
            .ok();
    assert_eq!(json(&packed)["manifest"].as_str().unwrap().len(), 64);
    assert_eq!(named(&["--json", "check", "one.wasm"]), pair("inner", "inside"));
    direct(folder, &["one.wasm", "--", "you"]).ok();
    // One beside it that differs is told, and not used; one that says the same is not told.
    std::fs::copy(folder.join("inner.toml"), folder.join("step.toml")).unwrap();
    assert!(!offline(folder, &["check", "one.wasm"]).ok().stderr.contains("differs"));
    write("step.toml", "beside");
    let out = offline(folder, &["check", "one.wasm"]).ok();
    assert!(
        out.stderr.contains("step.toml differs from the manifest in the component, which is used"),
        "{}",
        out.stderr
    );
    assert_eq!(named(&["--json", "check", "one.wasm"]), pair("inner", "inside"));
    assert_eq!(named(&["--json", "check", "--manifest", "step.toml", "one.wasm"]), pair("beside", "named"));
    let out = direct(folder, &["one.wasm"]).ok();
    assert!(out.stderr.contains("differs from the manifest in the component"), "{}", out.stderr);
    // What the agent was given is what the flag says: this one declares what was not given.
    std::fs::write(folder.join("dir.toml"), "[step]\nname = \"d\"\n[dirs.d]\nmode = \"read\"\nwhy = \"w\"\n").unwrap();
    direct(folder, &["--manifest", "dir.toml", "one.wasm"]).refused(125, "AR-S401");
    // Packed again it has the other in its place; packed without, none.
    offline(folder, &["pack", "one.wasm", "-o", "two.wasm"]).ok();
    assert_eq!(named(&["--json", "check", "two.wasm"]), pair("beside", "inside"));
    std::fs::remove_file(folder.join("step.toml")).unwrap();
    offline(folder, &["pack", "one.wasm", "-o", "three.wasm"]).ok();
    assert_eq!(std::fs::read(folder.join("one.wasm")).unwrap(), std::fs::read(folder.join("three.wasm")).unwrap());
    offline(folder, &["pack", "one.wasm", "-o", "none.wasm", "--no-manifest"]).ok();
    offline(folder, &["check", "none.wasm"]).refused(3, "AR-S002");
    direct(folder, &["none.wasm"]).refused(125, "AR-S002");
    write("step.toml", "beside");
    assert_eq!(named(&["--json", "check", "none.wasm"]), pair("beside", "beside"));
    direct(folder, &["none.wasm"]).ok();
    // What would not start is told when it is packed.
    std::fs::write(folder.join("publish.wasm"), component(&PUBLISH, "run")).unwrap();
    let out = offline(folder, &["pack", "publish.wasm", "-o", "packed.wasm"]).ok();
    assert!(out.stderr.contains("warning: it would not start"), "{}", out.stderr);
}

#[test]
fn a_new_step_builds_and_runs_at_once() {
    let folder = crate::support::directory();
    let folder = folder.path();
    let made = json(&offline(folder, &["--json", "new", "say-hello"]).ok());
    let next: Vec<&str> = made["next"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let project = folder.join("say-hello");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let compiler = Command::new(root.join("plugins/toolchain.sh")).output().unwrap();
    assert!(compiler.status.success(), "{}", String::from_utf8_lossy(&compiler.stderr));
    let compiler = String::from_utf8(compiler.stdout).unwrap();
    // As it says, each line by a shell, with the compiler of the guests.
    for line in next {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("exec {line}")]).current_dir(&project).env("RUSTC", compiler.trim());
        command.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS").env("ATTEST_RUN_STATE", folder.join("state"));
        command.env("PATH", format!("{}:{}", programs().display(), std::env::var("PATH").unwrap()));
        let output = command.output().unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{line}\n{stdout}\n{stderr}");
        assert!(!line.ends_with("run say-hello.wasm") || stdout == "greeting=hello, world\n", "{stdout}\n{stderr}");
        assert!(!stderr.contains("warning"), "{stderr}");
    }
    let listing = json(&offline(&project, &["--json", "check", "say-hello.wasm"]).ok());
    assert_eq!((&listing["step"], &listing["manifest_from"]), (&"say-hello".into(), &"inside".into()));
    assert_eq!(listing["unneeded"], serde_json::json!([]));
    // What is there is left as it is.
    std::fs::write(project.join("src/lib.rs"), "mine").unwrap();
    offline(folder, &["new", "say-hello"]).refused(1, "AR-S505");
    assert_eq!(std::fs::read_to_string(project.join("src/lib.rs")).unwrap(), "mine");
}

#[test]
fn a_new_step_has_a_name_that_it_can_have() {
    let folder = crate::support::directory();
    let folder = folder.path();
    for name in ["", "../up", "/tmp/x", "Hello", "9lives", "a.b", "a/b", "fn", "test", "attest-sdk", "a\u{1b}[2J", "-"]
    {
        let out = offline(folder, &["new", "--", name]).refused(2, "AR-S504");
        assert!(!out.stderr.contains('\u{1b}'), "{}", out.stderr);
    }
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
    assert_eq!(offline(folder, &["new", "--lang", "cobol", "x"]).status, 2);
    std::fs::write(folder.join("file"), "").unwrap();
    offline(folder, &["new", "file"]).refused(1, "AR-S505");
}
