//! The cases of Sigstore's own conformance suite, by its own protocol.

use super::data;
use crate::support::{directory, programs};
use std::path::Path;
use std::process::Command;

/// Whose signature a case is, if it does not say.
const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/\
                        extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// One case, under names that say nothing. Whether it passes, and what was said.
fn run(case: &Path, as_digest: bool) -> (bool, String) {
    let folder = directory();
    let place = |name: &str, to: &str| {
        let to = folder.path().join(to);
        std::fs::copy(case.join(name), &to).ok().map(|_| to)
    };
    let text = |name: &str, otherwise: &str| {
        std::fs::read_to_string(case.join(name)).map_or_else(|_| otherwise.to_owned(), |text| text.trim().to_owned())
    };
    let artifact = place("artifact", "1").or_else(|| place("../a.txt", "1")).unwrap();
    let mut command = Command::new(programs().join("attest-run"));
    command.args(["conformance", "verify-bundle", "--bundle"]).arg(place("bundle.sigstore.json", "2").unwrap());
    match place("key.pub", "3") {
        Some(key) => command.arg("--key").arg(key),
        None => command
            .args(["--certificate-identity", &text("identity", IDENTITY)])
            .args(["--certificate-oidc-issuer", &text("issuer", ISSUER)]),
    };
    if let Some(root) = place("trusted_root.json", "4") {
        command.arg("--trusted-root").arg(root);
    }
    if as_digest {
        let digest = attest_evidence::Sha256Digest::of(&std::fs::read(&artifact).unwrap());
        std::fs::remove_file(artifact).unwrap();
        command.arg(format!("sha256:{digest}"));
    } else {
        command.arg(artifact);
    }
    let output = command.env_clear().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // No panic and no defect is a refusal.
    assert!([Some(0), Some(1), Some(3)].contains(&output.status.code()), "{case:?}: {:?}: {said}", output.status);
    (output.status.success(), said)
}

#[test]
fn s01_the_conformance_suite_passes() {
    let known = std::fs::read_to_string(data("conformance/EXPECTED.tsv")).unwrap();
    let (mut good, mut bad) = (0, 0);
    for line in known.lines() {
        let (name, wanted) = line.split_once('\t').unwrap();
        let case = data("conformance/bundle-verify").join(name);
        for as_digest in [false, true] {
            let (passed, said) = run(&case, as_digest);
            assert_eq!(passed, wanted == "PASS", "{name}, as digest {as_digest}: {said}");
        }
        if wanted == "PASS" { good += 1 } else { bad += 1 }
    }
    assert_eq!((good, bad), (11, 30));
}
