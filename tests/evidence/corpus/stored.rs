//! The corpus as files: `tests/corpus`, for other verifiers to be held against.

use super::case::{Case, Files, IMA, Kind, LOG, MESSAGE, NONCE, PCRS, PEM, PUBLIC, SIGNATURE, Verdict};
use super::evidence;
use super::judge::judge;
use super::mass::{self, Rule};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Set to anything, the test writes the corpus anew.
const WRITE: &str = "ATTEST_WRITE_CORPUS";
/// Folders and files that are written; the others are by hand.
const WRITTEN: [&str; 6] = ["manifest.json", "parent", "quote", "eventlog", "ima", "key"];

/// `manifest.json`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    schema: String,
    cases: Vec<Entry>,
    rules: Vec<Rule>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    name: String,
    kind: Kind,
    parent: Option<String>,
    what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clause: Option<String>,
    files: BTreeMap<String, String>,
    #[serde(flatten)]
    verdict: Verdict,
}

fn corpus(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../corpus")).join(path)
}

/// A private key of the corpus.
pub(crate) fn key(name: &str) -> String {
    std::fs::read_to_string(corpus(&format!("keys/{name}.pem"))).unwrap()
}

/// All files, by path. A file that is the same as its parent's is there once.
fn rendered() -> BTreeMap<String, Vec<u8>> {
    let cases = evidence();
    let by_name: BTreeMap<_, _> = cases.iter().map(|case| (case.name.as_str(), case)).collect();
    let mut out = BTreeMap::new();
    let mut entries = Vec::new();
    for case in &cases {
        let parent = case.parent.as_ref().map(|parent| by_name[parent.as_str()]);
        let mut files = BTreeMap::new();
        for (name, bytes) in &case.files {
            let of_parent = parent.filter(|parent| parent.files.get(name) == Some(bytes));
            let path = format!("{}/{name}", of_parent.unwrap_or(case).name);
            files.insert((*name).to_owned(), path.clone());
            out.insert(path, bytes.clone());
        }
        entries.push(entry(case, files));
    }
    let rules = mass::rules().into_iter().map(|(_, rule)| rule).collect();
    let manifest = Manifest { schema: "attest-run/evidence-corpus/v1".to_owned(), cases: entries, rules };
    out.insert("manifest.json".to_owned(), serde_json::to_vec_pretty(&manifest).unwrap());
    out
}

fn entry(case: &Case, files: BTreeMap<String, String>) -> Entry {
    let Case { name, kind, parent, what, clause, verdict, .. } = case.clone();
    Entry { name, kind, parent, what, clause: clause.map(str::to_owned), files, verdict }
}

/// All files below a folder, by path.
fn stored(folder: &Path, name: &str, out: &mut BTreeMap<String, Vec<u8>>) {
    let path = folder.join(name);
    if path.is_dir() {
        for entry in std::fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap().file_name().into_string().unwrap();
            stored(folder, &format!("{name}/{entry}"), out);
        }
    } else if path.exists() {
        out.insert(name.to_owned(), std::fs::read(path).unwrap());
    }
}

#[test]
fn the_stored_corpus_is_what_is_generated() {
    let rendered = rendered();
    if std::env::var_os(WRITE).is_some() {
        WRITTEN.iter().map(|name| corpus(name)).filter(|path| path.is_dir()).for_each(|path| {
            std::fs::remove_dir_all(path).unwrap();
        });
        for (path, bytes) in &rendered {
            let path = corpus(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
    let mut stored_files = BTreeMap::new();
    WRITTEN.iter().for_each(|name| stored(&corpus(""), name, &mut stored_files));
    let other: Vec<_> = rendered.iter().filter(|(path, bytes)| stored_files.get(*path) != Some(bytes)).collect();
    let other: Vec<_> = other.iter().map(|(path, _)| path).collect();
    assert!(other.is_empty(), "not as stored; {WRITE}=1 writes it anew: {other:?}");
    let left: Vec<_> = stored_files.keys().filter(|path| !rendered.contains_key(*path)).collect();
    assert!(left.is_empty(), "stored and not generated: {left:?}");
}

/// As anybody else would use it: from the manifest and the files alone.
#[test]
fn the_stored_corpus_is_judged_as_its_manifest_says() {
    let manifest: Manifest = serde_json::from_slice(&std::fs::read(corpus("manifest.json")).unwrap()).unwrap();
    for entry in &manifest.cases {
        let of_name = |name: &str| {
            let known =
                [MESSAGE, SIGNATURE, PUBLIC, PEM, NONCE, PCRS, LOG, IMA].into_iter().find(|known| *known == name);
            known.unwrap_or_else(|| panic!("{}: {name}", entry.name))
        };
        let files: Files = entry
            .files
            .iter()
            .map(|(name, path)| (of_name(name), std::fs::read(corpus(path)).unwrap_or_else(|_| panic!("{path}"))))
            .collect();
        let judged = match judge(entry.kind, &files) {
            Ok(facts) => Verdict::Accept { facts },
            Err(code) => Verdict::Refuse { code },
        };
        assert_eq!(judged, entry.verdict, "{}", entry.name);
    }
}
