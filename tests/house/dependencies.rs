//! Who may depend on whom (DESIGN §3).

use super::sources;
use crate::support::run;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Other platforms' dependencies are not downloaded.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Names of all packages that `package` is linked from, built by itself.
fn closure(package: &str) -> BTreeSet<String> {
    let tree = cargo(&[
        "tree",
        "--locked",
        "--offline",
        "--package",
        package,
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]);
    tree.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

/// Names of all packages that link a library that is not Rust.
fn native() -> BTreeSet<String> {
    let metadata =
        cargo(&["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", PLATFORM]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let links = packages.iter().filter(|package| package["links"].is_string());
    links.map(|package| package["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn crates_keep_to_their_side() {
    let native = native();
    let never = |package: &str, prefixes: &[&str]| {
        let closure = closure(package);
        let found: Vec<_> =
            closure.iter().filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix))).collect();
        assert!(found.is_empty(), "{package} must not depend on {found:?}");
    };
    for package in ["attest-evidence", "attest-appraisal"] {
        never(package, &["tokio", "hyper", "wasmtime", "tss-esapi", "attest-tpm"]);
        let found: Vec<_> = closure(package).intersection(&native).cloned().collect();
        assert!(found.is_empty(), "{package} must not link C code: {found:?}");
    }
    never("attest-broker", &["tss-esapi", "attest-tpm", "wasmtime", "cranelift"]);
    never("attest-worker", &["tss-esapi", "attest-tpm", "rustls", "aws-lc", "sqlx", "attest-broker", "attest-agent"]);
    never("attest-agent", &["wasmtime", "cranelift", "sqlx", "attest-broker"]);
    never("attest-run", &["wasmtime-wasi", "cranelift", "sqlx", "attest-broker"]);
    never("attest-spawner", &["tss-esapi", "attest-tpm", "wasmtime", "hyper", "rustls", "attest-agent"]);
    never("attest-worker", &["sigstore"]);
    never("attest-egress", &["sigstore"]);
    // The control: the search finds what is there.
    assert!(closure("attest-tpm").contains("tss-esapi-sys") && native.contains("tss-esapi-sys"));
    assert!(closure("attest-engine").contains("wasmtime"));
    assert!(closure("attest-broker").contains("rustls"));
}

/// What a program is linked with, each process of it has in its memory, and waits for at its start.
#[test]
fn programs_link_what_they_use() {
    let needs = |program: &str| {
        let out = run(Command::new("ldd").arg(crate::support::programs().join(program))).ok().stdout;
        ["libtss2", "libtpms", "libcrypto"].map(|library| out.contains(library))
    };
    assert_eq!(needs("attest-agent"), [true, false, true]);
    assert_eq!(needs("attest-embedded-tpm"), [false, true, true]);
    for program in ["attest-run", "attest-broker", "attest-spawner", "attest-worker", "attest-egress"] {
        assert_eq!(needs(program), [false; 3], "{program}");
    }
}

/// The interfaces of Sigstore's crates break with each minor version: one crate knows them.
#[test]
fn one_crate_knows_sigstore_s() {
    let metadata = cargo(&["metadata", "--format-version", "1", "--locked", "--offline", "--no-deps"]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let knows = packages.filter(|package| {
        let dependencies = package["dependencies"].as_array().unwrap();
        dependencies.iter().any(|dependency| dependency["name"].as_str().unwrap().starts_with("sigstore"))
    });
    assert_eq!(knows.map(|package| package["name"].as_str().unwrap()).collect::<Vec<_>>(), ["attest-sigstore"]);
}

/// Lines of code, without comments.
fn code(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    // The word as a text is not the word.
    let line = |line: &str| line.split("//").next().unwrap_or_default().replace("\"unsafe\"", "");
    text.lines().map(line).collect()
}

#[test]
fn unsafe_code_and_files_are_where_they_may_be() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = sources();
    assert!(all.len() > 80, "{}", all.len());
    let mut unsafe_files = BTreeSet::new();
    for path in all {
        let relative = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        for line in code(&path) {
            let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            if words.contains(&"unsafe") {
                unsafe_files.insert(relative.clone());
            }
            if relative.starts_with("attestation/evidence") || relative.starts_with("attestation/appraisal") {
                for forbidden in ["std::fs", "std::net", "std::process", "std::thread", "std::env"] {
                    assert!(!line.contains(forbidden), "{relative}: {line}");
                }
            }
        }
    }
    let allowed = ["host/engine/", "host/egress/", "host/walls/", "host/worker/", "attestation/tpm/"];
    for file in &unsafe_files {
        assert!(allowed.iter().any(|folder| file.starts_with(folder)), "unsafe code in {file}");
    }
    assert!(unsafe_files.len() >= 3, "the control: {unsafe_files:?}");
}
