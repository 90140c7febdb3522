//! Error codes: each has one meaning.

use super::sources;
use std::collections::BTreeMap;
use std::path::Path;

#[test]
fn every_error_code_is_listed_once_and_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = sources();
    let mut used: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for part in text.split("\"AR-").skip(1) {
            let code = format!("AR-{}", &part[..part.find('"').unwrap()]);
            if code.len() != "AR-X101".len() {
                continue; // the prefix itself, where codes are parsed
            }
            let name = file.strip_prefix(root).unwrap().display().to_string();
            let places = used.entry(code).or_default();
            if !places.contains(&name) {
                places.push(name);
            }
        }
    }
    let page = std::fs::read_to_string(root.join("docs/reference/errors.md")).unwrap();
    let listed: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| AR-")?.split_whitespace().next().map(|code| format!("AR-{code}")))
        .collect();
    // The programs leave out what lacks a column.
    let explained: Vec<&str> = attest_help::entries().map(|entry| entry.code).collect();
    assert_eq!(explained, listed, "a code without one of its three columns, or with a fourth");
    let mut unique = listed.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), listed.len(), "a code is listed twice");
    let missing: Vec<_> = used.iter().filter(|(code, _)| !listed.contains(code)).collect();
    assert!(missing.is_empty(), "used and not in docs/reference/errors.md: {missing:?}");
    let unused: Vec<_> = listed.iter().filter(|code| !used.contains_key(*code)).collect();
    assert!(unused.is_empty(), "in docs/reference/errors.md and not used: {unused:?}");
}
