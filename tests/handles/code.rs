//! G10: machine code is loaded only if a compiler of ours made it.

use super::{Scene, http};
use crate::support::{Users, run};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// How a run came by its code: `compiled` if it was.
fn compiles(scene: &Scene) -> bool {
    let out = run(&mut scene.command(&http(&[]), &["--timings"], &["log", "here"])).ok();
    assert!(out.stderr.contains("here"), "{}", out.stderr);
    out.stderr.lines().any(|line| line.trim_start().starts_with("compile "))
}

fn entries(scene: &Scene) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(scene.runner.path("state/code")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn g10_code_that_somebody_changed_is_not_loaded() {
    let mut scene = Scene::new();
    assert!(compiles(&scene), "the first run compiles");
    assert!(!compiles(&scene), "a warm one does not");
    scene.runner.kill_agent();
    scene.runner.start_agent();
    assert!(!compiles(&scene), "nor one of an agent that has just started");

    // Nobody but the agent gets near it.
    let [entry] = <[PathBuf; 1]>::try_from(entries(&scene)).unwrap();
    for path in [entry.as_path(), entry.parent().unwrap()] {
        let metadata = std::fs::metadata(path).unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o077), (Users::AGENT, 0), "{}", path.display());
    }

    // Somebody who did all the same: the entry is not believed, it is told, and made anew.
    let good = std::fs::read(&entry).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    scene.runner.kill_agent();
    std::fs::write(&entry, &bad).unwrap();
    scene.runner.start_agent();
    assert!(compiles(&scene), "it was compiled anew");
    assert!(scene.runner.log().contains("an entry of the code cache is not believed"), "{}", scene.runner.log());
    assert_eq!(std::fs::read(&entry).unwrap(), good);

    // Code of another runner, whose TPM is another.
    let other = Scene::new();
    compiles(&other);
    let [others] = <[PathBuf; 1]>::try_from(entries(&other)).unwrap();
    scene.runner.kill_agent();
    std::fs::copy(&others, &entry).unwrap();
    scene.runner.start_agent();
    assert!(compiles(&scene), "the other's was not loaded");
}
