//! Bytes that fuzzing came upon, on a stable compiler: `tests/fuzz` keeps them, `make fuzz` looks for more.

use attest_properties::ALL;
use std::path::{Path, PathBuf};

/// Names the input at which a property did not hold.
struct LookingAt(PathBuf);

impl Drop for LookingAt {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input is {}", self.0.display());
        }
    }
}

fn inputs(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz")).join(folder);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files = files.map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_none_or(|extension| extension != "md")).collect()
}

fn look(property: attest_properties::Property, path: PathBuf) {
    let at = LookingAt(path);
    property(&std::fs::read(&at.0).unwrap());
}

#[test]
fn what_fuzzing_keeps_has_the_properties_that_it_is_kept_for() {
    for (target, property) in ALL {
        let kept = inputs(&format!("corpus/{target}"));
        assert!(!kept.is_empty(), "{target}");
        kept.into_iter().for_each(|path| look(property, path));
    }
}

#[test]
fn what_was_once_wrong_is_right() {
    for path in inputs("regressions") {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let target = name.split_once('-').map(|(target, _)| target);
        let (_, property) = ALL.into_iter().find(|(name, _)| Some(*name) == target).expect("a target and `-`");
        look(property, path);
    }
}
