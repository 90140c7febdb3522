//! The step that looks for secrets in sources, on real parts.

use super::direct::direct;
use crate::support::step;

#[test]
fn secrets_in_sources_are_found_and_not_told() {
    let home = crate::support::directory();
    let (source, report) = (home.path().join("source"), home.path().join("report"));
    std::fs::create_dir_all(source.join("deploy")).unwrap();
    std::fs::create_dir_all(source.join(".git")).unwrap();
    std::fs::create_dir(&report).unwrap();
    // Not verbatim: scanners would find it here.
    let token = ["SG.", "q7Lw2ZxT0bRk9VnE4mHs5A", ".", "Yp3Jd8Uf1Gc6Xo0Ni2Bt7Ql4Ws9Ke5Mz8Ra3Vh6Cy1D"].concat();
    std::fs::write(source.join("deploy/notes.txt"), format!("first\nkey = {token}\n")).unwrap();
    std::fs::write(source.join(".git/config"), &token).unwrap();
    std::fs::write(source.join("large"), [vec![0; 2 << 20], token.clone().into_bytes()].concat()).unwrap();

    let component = step("secret-scan").join("secret-scan.wasm");
    let (source_given, report_given) = (format!("source={}", source.display()), format!("report={}", report.display()));
    let search = || direct(home.path(), &["--dir", &source_given, "--dir", &report_given, component.to_str().unwrap()]);
    let out = search();
    assert_eq!(out.status, 1, "{}", out.stderr);
    assert!(out.stderr.contains("secrets found: 1, see secret-scan.sarif (1 files searched, 0 allowed, 1 left out)"));
    assert!(out.stderr.contains("deploy/notes.txt"), "{}", out.stderr);
    let written = std::fs::read_to_string(report.join("secret-scan.sarif")).unwrap();
    assert!(!out.stderr.contains(&token) && !out.stdout.contains(&token) && !written.contains(&token));
    let log: serde_json::Value = serde_json::from_str(&written).unwrap();
    let result = &log["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "sendgrid-key");
    assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 2);

    // What is allowed fails nothing; a list that is none fails all.
    let (_, fingerprint) = result["fingerprints"].as_object().unwrap().iter().next().unwrap();
    let allowed = format!("{}  # of a test\n", fingerprint.as_str().unwrap());
    std::fs::write(source.join(".secret-scan-allow"), allowed).unwrap();
    let out = search().ok();
    assert!(out.stderr.contains("no secrets found (2 files searched, 1 allowed, 1 left out)"), "{}", out.stderr);
    std::fs::write(source.join(".secret-scan-allow"), "notes.txt\n").unwrap();
    let out = search();
    assert_eq!(out.status, 2, "{}", out.stderr);
}
