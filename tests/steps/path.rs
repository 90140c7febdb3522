//! The one path, as it should go.

use crate::support::{Broker, Runner, Users, run};
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

#[test]
fn a_release_is_signed_through_an_agent_by_three_users() {
    let broker = Broker::start();
    let runner = Runner::enrolled(&broker, "builder-1");
    runner.as_user(0, &["keys", "create", "release"]).ok();
    runner.write("dist/app.bin", "an application\n");
    let step = runner.step("release-sign");
    let dist = runner.work().join("dist");
    let out = runner.job(&["--dir", &format!("dist={}", dist.display()), step.to_str().unwrap(), "--", "v1.0.0"]).ok();
    assert!(out.stdout.starts_with("checksums="), "{}", out.stdout);

    // A stranger checks it.
    let verify = |file: &str| {
        let checked = run(Command::new("openssl")
            .args(["dgst", "-sha256", "-verify", "release.pub", "-signature"])
            .args([&format!("{file}.sig"), file])
            .current_dir(&dist))
        .ok();
        assert_eq!(checked.stdout, "Verified OK\n");
    };
    verify("app.bin");
    verify("SHA256SUMS");
    let sums = std::fs::read_to_string(dist.join("SHA256SUMS")).unwrap();
    assert!(sums.ends_with("  app.bin\n") && sums.lines().count() == 1, "{sums}");

    // A 0600 file of the job's user was read, and what the step wrote is that user's.
    for file in ["app.bin.sig", "SHA256SUMS", "SHA256SUMS.sig", "release.pub"] {
        let metadata = std::fs::metadata(dist.join(file)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (Users::JOB, Users::JOB), "{file}");
    }
    let mut names: Vec<_> =
        std::fs::read_dir(&dist).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["SHA256SUMS", "SHA256SUMS.sig", "app.bin", "app.bin.sig", "release.pub"]);
}
