//! The folder of roots and its manifest.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_file_of_the_folder_is_in_the_manifest() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("attestation/appraisal/roots");
    let manifest = std::fs::read_to_string(folder.join("manifest.tsv")).unwrap();
    let listed: BTreeSet<String> =
        manifest.lines().skip(1).map(|line| line.split('\t').next().unwrap().to_owned()).collect();
    let mut found = BTreeSet::new();
    for maker in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for file in std::fs::read_dir(maker).unwrap() {
            let file = file.unwrap().path();
            found.insert(file.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned());
        }
    }
    assert_eq!(found, listed);
    assert!(manifest.lines().all(|line| line.split('\t').filter(|column| !column.is_empty()).count() == 7));
}
