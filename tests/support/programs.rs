//! The programs and steps under test, where every user can reach them.

use super::process::run;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What users install.
const INSTALLED: [&str; 7] = [
    "attest-agent",
    "attest-broker",
    "attest-egress",
    "attest-embedded-tpm",
    "attest-run",
    "attest-spawner",
    "attest-worker",
];

/// The folder with the programs, as users install them.
pub(crate) fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let built = Path::new(env!("CARGO_BIN_EXE_attest-run")).parent().unwrap();
        let folder = super::directory().keep();
        for name in INSTALLED {
            assert!(built.join(name).exists(), "{name} is not built. `make test` builds all programs first");
            install(&built.join(name), &folder.join(name));
        }
        remove_at_exit(&folder);
        folder
    })
}

/// The same programs with another in the worker's place.
pub(crate) fn worker_programs(worker: &Path) -> super::Directory {
    let folder = super::directory();
    for name in INSTALLED.into_iter().filter(|name| *name != "attest-worker") {
        install(&programs().join(name), &folder.path().join(name));
    }
    install(worker, &folder.path().join("attest-worker"));
    folder
}

/// Copies a program, by a process of its own: a file that this one had open for writing, a child of another test might hold open
/// still when it is to be started.
fn install(program: &Path, to: &Path) {
    run(Command::new("cp").arg(program).arg(to)).ok();
}

/// A step that `make steps` has built: the folder with its component and its manifest.
pub(crate) fn step(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/steps").join(name);
    assert!(folder.join(format!("{name}.wasm")).exists(), "step {name} is not built: `make steps`");
    folder
}

/// A component that `make test` has built in the folder of another.
pub(crate) fn step_file(folder: &str, name: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/steps/{folder}/{name}.wasm"));
    assert!(file.exists(), "{} is not built: `make steps-js steps-cli`", file.display());
    file
}

/// Statics are never dropped; a child that outlives us by a moment cleans up.
#[expect(clippy::zombie_processes, reason = "it ends after this process, and init waits for it")]
fn remove_at_exit(folder: &Path) {
    let script = r#"while kill -0 "$1" 2>/dev/null; do sleep 0.2; done; rm -rf "$2""#;
    std::process::Command::new("sh")
        .args(["-c", script, "sh", &std::process::id().to_string(), folder.to_str().unwrap()])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
}
