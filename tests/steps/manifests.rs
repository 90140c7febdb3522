//! Manifests and components that are none: each is refused by what it is, soon, and without being read whole.

use crate::support::{Output, programs, run};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// `attest-run`, where nothing is configured, with less memory than the largest file that it is shown.
fn attest_run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("bash");
    command.args(["-c", "ulimit -v 300000 && exec \"$0\" \"$@\""]).arg(programs().join("attest-run")).args(arguments);
    run(command.env_clear().env("HOME", folder).current_dir(folder))
}

/// A component that exports `run`, with these imports.
fn component(imports: &[&str]) -> Vec<u8> {
    let imports: String = imports.iter().map(|import| format!("(import \"{import}\" (instance))")).collect();
    let run = r#"(core module $m (func (export "f"))) (core instance $i (instantiate $m))
                 (func $f (canon lift (core func $i "f"))) (export "run" (func $f))"#;
    wat::parse_str(format!("(component {imports} {run})")).unwrap()
}

struct Step(crate::support::Directory);

impl Step {
    fn new() -> Self {
        let folder = crate::support::directory();
        std::fs::write(folder.path().join("step.wasm"), component(&[])).unwrap();
        std::fs::write(folder.path().join("step.toml"), "[step]\nname = \"s\"\n").unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), contents).unwrap();
    }

    fn attest_run(&self, arguments: &[&str]) -> Output {
        attest_run(self.0.path(), arguments)
    }

    fn check(&self) -> Output {
        self.attest_run(&["check", "step.wasm"])
    }
}

#[test]
fn each_manifest_that_is_none_is_refused_by_what_it_is() {
    let step = Step::new();
    step.check().ok();
    let secret = |lines: &str| format!("[secrets.a]\n{lines}\nwhy = \"w\"\n");
    let http = |lines: &str| format!("[http]\n{lines}\nwhy = \"w\"\n");
    let cases: Vec<(String, &str, &str)> = vec![
        ("\u{feff}[stp]".into(), "AR-S103", "line  3"),
        ("[secrts.a]\n".into(), "AR-S103", "was `secrets` meant?"),
        (secret("us = \"reveal\""), "AR-S103", "was `use` meant?"),
        (secret("use = \"revael\""), "AR-S103", "was `reveal` meant?"),
        (secret("use = 1"), "AR-S103", "line  4"),
        ("[secrets]\na = \"b\"\n".into(), "AR-S103", "line  4"),
        ("[dirs.\"../etc\"]\nmode = \"read\"\nwhy = \"w\"\n".into(), "AR-S103", "not allowed"),
        ("[outputs.\"a\\u001b[2J\"]\nwhy = \"w\"\n".into(), "AR-S103", "\\u{1b}"),
        ("[outputs.\"a\\u202e\"]\nwhy = \"w\"\n".into(), "AR-S103", "\\u{202e}"),
        ("[keys.a]\nuse = \"sign\"\nformats = [\"raw\"]\n".into(), "AR-S103", "`why`"),
        (http("allow = [\"https://*.com\"]"), "AR-S103", "everybody's"),
        (http("allow = [\"https://*.github.io\"]"), "AR-S103", "everybody's"),
        (http("allow = [\"https://*\"]"), "AR-S103", "line  4"),
        (http("allow = [\"ftp://example.com\"]"), "AR-S103", "https://"),
        ("[limits]\nseconds = 0\n".into(), "AR-S107", "1 to 3600"),
        ("[limits]\nmemory_mib = 4096\n".into(), "AR-S107", "1 to 2048"),
        ("[limits]\nseconds = -1\n".into(), "AR-S103", "line  4"),
        ("[limits]\nseconds = 1\nseconds = 2\n".into(), "AR-S103", "line  5"),
        (secret("use = \"http\""), "AR-S108", "[http]"),
        (
            secret("to = [\"https://example.com\"]") + &http("allow = [\"https://example.org\"]"),
            "AR-S109",
            "example.com",
        ),
        (secret("use = \"reveal\"\nto = [\"https://example.com\"]"), "AR-S110", "`to`"),
        (secret("use = \"env\""), "AR-S111", "variable"),
        (secret("use = \"reveal\"\nvariable = \"A\""), "AR-S112", "variable"),
        (secret("use = \"env\"\nvariable = \"LD_PRELOAD\""), "AR-S113", "LD_PRELOAD"),
        (
            secret("use = \"env\"\nvariable = \"A\"")
                + &secret("use = \"env\"\nvariable = \"A\"").replace("secrets.a", "secrets.b"),
            "AR-S114",
            "secrets.b",
        ),
        ("[keys.a]\nuse = \"derive\"\nformats = [\"raw\"]\nwhy = \"w\"\n".into(), "AR-S115", "derive"),
        ("[keys.a]\nuse = \"sign\"\nwhy = \"w\"\n".into(), "AR-S106", "keys.a"),
        (http(""), "AR-S116", "[http]"),
        (http("allow = [\"https://a.example\"]\nprivate = [\"https://a.example\"]"), "AR-S117", "https://a.example"),
        (
            "[dirs.a]\nmode = \"read\"\nat = \"/x\"\nwhy = \"w\"\n[dirs.x]\nmode = \"read\"\nwhy = \"w\"\n".into(),
            "AR-S118",
            "/x",
        ),
        ("[summary]\nwhy = \"\"\n".into(), "AR-S105", "summary"),
    ];
    for (lines, code, says) in cases {
        step.write("step.toml", format!("[step]\nname = \"s\"\n{lines}"));
        let out = step.check().refused(1, code);
        assert!(out.stderr.contains(says), "{lines}\n{}", out.stderr);
        assert!(!out.stderr.contains('\u{1b}') && !out.stderr.contains('\u{202e}'), "{}", out.stderr);
        // Nor does it run, and nothing was begun for it.
        let out = step.attest_run(&["pack", "step.wasm", "-o", "packed.wasm"]).refused(1, code);
        assert!(!step.path("packed.wasm").exists(), "{}", out.stderr);
    }
    step.write("step.toml", [0xff, 0xfe]);
    step.check().refused(1, "AR-S102");
}

#[test]
fn what_is_too_large_is_refused_unread() {
    let step = Step::new();
    let soon = |began: Instant| assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // 10 MB of TOML.
    step.write("large.toml", "[step]\nname = \"s\"\n".to_owned() + &"# a comment\n".repeat(900_000));
    for arguments in [
        &["check", "--manifest", "large.toml", "step.wasm"][..],
        &["pack", "--manifest", "large.toml", "step.wasm", "-o", "o.wasm"],
    ] {
        let began = Instant::now();
        let out = step.attest_run(arguments).refused(1, "AR-S101");
        assert!(out.stderr.contains("has 10800018"), "{}", out.stderr);
        soon(began);
    }
    step.attest_run(&["--manifest", "large.toml", "step.wasm"]).refused(126, "AR-S101");
    // 500 MB of component, and of core module, of which the disk has a few bytes.
    for head in [b"\0asm\x0d\0\x01\0", b"\0asm\x01\0\0\0"] {
        let large = std::fs::File::create(step.path("large.wasm")).unwrap();
        large.set_len(500_000_000).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&large, head, 0).unwrap();
        for (arguments, status) in
            [(&["check", "large.wasm"][..], 1), (&["pack", "large.wasm", "-o", "o.wasm"], 1), (&["large.wasm"], 127)]
        {
            let began = Instant::now();
            let out = step.attest_run(arguments).refused(status, "AR-S203");
            assert!(out.stderr.contains("has 500000000"), "{}", out.stderr);
            soon(began);
        }
    }
    assert!(!step.path("o.wasm").exists());
    // As many sections as there is room for.
    let mut sections = b"\0asm\x0d\0\x01\0".to_vec();
    sections.extend([0, 1, 0].repeat(5_000_000));
    step.write("sections.wasm", &sections);
    let began = Instant::now();
    step.attest_run(&["sections.wasm"]).refused(127, "AR-S206");
    step.attest_run(&["check", "sections.wasm"]).refused(1, "AR-S206");
    soon(began);
}

#[test]
fn each_file_that_is_no_component_is_refused_by_what_it_is() {
    let step = Step::new();
    let good = component(&[]);
    let mut nested = b"\0asm\x0d\0\x01\0".to_vec();
    for _ in 0..1000 {
        let mut outer = b"\0asm\x0d\0\x01\0\x04".to_vec();
        let mut rest = nested.len();
        while rest >= 0x80 {
            outer.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
            rest >>= 7;
        }
        outer.push(u8::try_from(rest).unwrap());
        outer.extend(&nested);
        nested = outer;
    }
    // Two manifests, as no tool would write them.
    let manifest = |text: &str| {
        let name = "attest:step/manifest";
        let size = |length: usize| u8::try_from(length).unwrap();
        let mut section = vec![0, size(1 + name.len() + text.len()), size(name.len())];
        section.extend(name.bytes().chain(text.bytes()));
        section
    };
    let twice = [&good[..], &manifest("[step]"), &manifest("[step]")].concat();
    let long = [&good[..], &[0, 0xa2, 0x80, 0x05, 20], b"attest:step/manifest", &[b'#'; 81_933]].concat();
    let cases: [(&str, &[u8], &str, &str); 12] = [
        ("a script", b"#!/bin/sh\n", "AR-S201", "#!/bin/s"),
        ("nothing", b"", "AR-S201", "not WebAssembly"),
        ("text", b"(component (core module))", "AR-S201", "text form"),
        ("text with a comment", b";; a step\n(component)", "AR-S201", "text form"),
        ("a core module", &wat::parse_str("(module)").unwrap(), "AR-S202", "attest-run pack"),
        ("a start", &good[..6], "AR-S204", "byte 4"),
        ("a version to come", b"\0asm\x0d\0\x02\0", "AR-S204", "version"),
        ("a half", &good[..good.len() / 2], "AR-S204", "byte"),
        ("all but one byte", &good[..good.len() - 1], "AR-S204", "byte"),
        ("a thousand in one another", &nested, "AR-S206", "64"),
        ("two manifests", &twice, "AR-S207", "two manifests"),
        ("a manifest that is too long", &long, "AR-S208", "81933"),
    ];
    for (what, bytes, code, says) in cases {
        step.write("other.wasm", bytes);
        let out = step.attest_run(&["check", "other.wasm"]).refused(1, code);
        let told = format!("{}{}", out.stdout, out.stderr);
        assert!(told.contains(says), "{what}: {told}");
    }
    // Before anything is begun for them: no state was made.
    for (what, bytes, code, _) in cases.iter().filter(|(what, ..)| *what != "a thousand in one another") {
        step.write("other.wasm", bytes);
        step.attest_run(&["other.wasm"]).refused(127, code);
        assert!(!step.path(".local").exists(), "{what}");
    }
}

#[test]
fn other_versions_and_other_hosts_are_told_apart() {
    let step = Step::new();
    for (imports, code, says) in [
        (&["attest:step/log@0.2.0"][..], "AR-S304", "built against attest:step 0.2.0; this host serves 0.1.0"),
        (&["attest:step/log@1.0.0"], "AR-S304", "attest:step 1.0.0"),
        (&["wasi:http/types@0.3.0"], "AR-S304", "built against wasi:http 0.3.0; this host serves 0.2.12"),
        (&["wasi:io/streams@0.2.0-rc-2023-11-10"], "AR-S304", "0.2.0-rc-2023-11-10"),
        (&["attest:step/telepathy@0.1.0"], "AR-S302", "does not have"),
        (&["wasi:keyvalue/store@0.2.0"], "AR-S302", "does not have"),
        (&["wasi:sockets/tcp@0.2.0"], "AR-S302", "requests go through wasi:http"),
        (&["wasi:cli/environment@0.2.0"], "AR-S302", "wasi:cli/run"),
    ] {
        step.write("step.wasm", component(imports));
        let out = step.check().refused(1, code);
        assert!(out.stderr.contains(says), "{}", out.stderr);
        assert!(out.stdout.contains(&format!("NO {}", imports[0])), "{}", out.stdout);
    }
    step.write(
        "step.wasm",
        component(&["attest:step/log@0.1.9", "wasi:io/streams@0.2.0", "wasi:clocks/wall-clock@0.2.99"]),
    );
    step.check().ok();
    step.write("step.wasm", wat::parse_str("(component)").unwrap());
    step.check().refused(1, "AR-S303");
}
