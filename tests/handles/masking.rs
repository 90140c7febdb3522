//! G06: a secret that the step was shown, in what it writes.

use super::{SEEN, Scene};
use crate::support::{Output, run};

const ENCODINGS: [&str; 7] = ["raw", "base64", "base64-1", "base64-2", "hex", "percent", "utf-16"];

/// The forms in which it would be readable.
fn assert_masked(out: &Output, what: &str) {
    let told = format!("{}{}", out.stdout, out.stderr);
    let hex = data_encoding::HEXLOWER.encode(SEEN.as_bytes());
    let base64 = data_encoding::BASE64.encode(SEEN.as_bytes());
    for form in [SEEN, "battery", &hex, &base64[..20], "hvcnNlIGJhdHRl", "b\\u{0}a\\u{0}t"] {
        assert!(!told.contains(form), "{what}: {form}: {told}");
    }
    assert!(told.contains("masked   secret `seen` in what the step wrote"), "{what}: {told}");
    assert!(told.contains("***"), "{what}: {told}");
}

#[test]
fn g06_a_secret_is_masked_wherever_people_read() {
    let scene = Scene::new();
    for encoding in ENCODINGS {
        assert_masked(&scene.run(&[], &["say", "log", encoding]).ok(), encoding);
    }
    for place in ["parts", "output", "summary", "annotation"] {
        for encoding in ["raw", "base64-1"] {
            assert_masked(&scene.run(&[], &["say", place, encoding]).ok(), place);
        }
    }
    let out = scene.run(&[], &["say", "failure", "raw"]);
    assert_eq!(out.status, 1, "{}", out.stderr);
    assert_masked(&out, "failure");
    // The control: other text is told as it is.
    let out = scene.run(&[], &["log", "correct horse stapler"]).ok();
    assert!(out.stderr.contains("correct horse stapler") && !out.stderr.contains("masked"), "{}", out.stderr);
}

#[test]
fn g06_a_secret_in_a_file_blocks_the_step_and_is_exposed() {
    for encoding in ENCODINGS {
        let scene = Scene::new();
        let out = scene.run(&[], &["file", encoding]).refused(126, "AR-S604");
        let wanted = "secret `seen` stands in `written` of directory `work`";
        assert!(out.stderr.contains(wanted), "{encoding}: {}", out.stderr);
        assert!(!out.stderr.contains(SEEN), "{encoding}: {}", out.stderr);
        let alarms = scene.broker.admin(&["alarm", "list", "--json"]).ok().stdout;
        assert!(alarms.contains("secret-exposed") && alarms.contains("[\"seen\",\"dirs.work written, "), "{alarms}");
        let leases = scene.broker.admin(&["lease", "list", "--json"]).ok().stdout;
        assert!(leases.contains("\"leases\":[]"), "{leases}");
    }
}

#[test]
fn g06_files_are_searched_that_the_step_wrote_and_no_others() {
    let scene = Scene::new();
    // It stood there before.
    scene.runner.write("inner/before", SEEN);
    std::thread::sleep(std::time::Duration::from_millis(5100));
    scene.run(&[], &["write", "other", "nothing secret"]).ok();
    // In the name of a file.
    let name = SEEN.replace(' ', "%20");
    let out = scene.run(&[], &["write", &name, "nothing secret"]).refused(126, "AR-S604");
    assert!(out.stderr.contains("(the name of a file)` of directory `work`, written as percent"), "{}", out.stderr);
    assert!(!out.stderr.contains("battery"), "{}", out.stderr);
    let audit = scene.broker.admin(&["lease", "list", "--all", "--json"]).ok().stdout;
    assert!(!audit.contains("battery"), "{audit}");
}

/// A file system of its own, until the test has ended.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn g06_what_is_mounted_within_a_directory_is_searched_whatever_its_clock_says() {
    let scene = Scene::new();
    let place = scene.runner.work().join("inner/mounted");
    std::fs::create_dir(&place).unwrap();
    run(std::process::Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&place)).ok();
    let mounted = Mounted(place);
    std::fs::write(mounted.0.join("file"), SEEN).unwrap();
    std::fs::write(scene.runner.work().join("inner/beside"), SEEN).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(5100));
    let out = scene.run(&[], &["write", "other", "nothing secret"]).refused(126, "AR-S604");
    assert!(out.stderr.contains("stands in `mounted/file` of directory `work`"), "{}", out.stderr);
    drop(mounted);
    // The control: without it, what is older than the step is not looked at.
    scene.run(&[], &["write", "other", "nothing secret"]).ok();
}

#[test]
fn g06_values_that_can_t_be_told_from_other_text_are_not_stored() {
    let scene = Scene::new();
    let file = scene.runner.path("short");
    std::fs::write(&file, "1234567").unwrap();
    let out = scene.broker.admin(&["secret", "set", "pin", "--stage", "dev", "--file", file.to_str().unwrap()]);
    assert_ne!(out.status, 0, "{}", out.stdout);
    assert!(out.stderr.contains("error[AR-P501]: a secret has 8 to 65536 bytes, this has 7"), "{}", out.stderr);
    assert!(out.stderr.contains("a shorter value could not be masked in logs"), "{}", out.stderr);
}
