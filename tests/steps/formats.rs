//! Signatures in the formats of others, and the programs of others that verify them.

use super::direct::direct;
use crate::support::{Broker, Directory, Output, Runner, directory, run, step};
use std::process::Command;

/// Two keys, a file, and the public keys as each verifier wants them.
struct Scene(Directory);

impl Scene {
    fn new() -> Self {
        let scene = Self(directory());
        for algorithm in ["p256", "ed25519"] {
            scene.direct(&["keys", "create", algorithm, "--by-hand", "--algorithm", algorithm]).ok();
            let line = scene.direct(&["keys", "public", algorithm, "--format", "ssh"]).ok().stdout;
            scene.write(&format!("{algorithm}.allowed"), &format!("release@example.org {line}"));
        }
        let public = scene.direct(&["keys", "public", "ed25519", "--format", "minisign"]).ok().stdout;
        scene.write("minisign.pub", &public);
        scene
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, contents: &str) {
        std::fs::write(self.path(name), contents).unwrap();
    }

    fn direct(&self, arguments: &[&str]) -> Output {
        direct(self.0.path(), arguments)
    }

    fn sign(&self, key: &str, format: &str, file: &str) -> Output {
        self.direct(&["sign", "--key", key, "--format", format, self.path(file).to_str().unwrap()])
    }

    fn ssh_keygen(&self, key: &str, namespace: &str, signature: &str, file: &str) -> Output {
        let allowed = format!("{key}.allowed");
        let arguments = ["-Y", "verify", "-I", "release@example.org", "-n", namespace, "-f", &allowed, "-s", signature];
        let reading = ["-c", "exec ssh-keygen \"$@\" < \"$0\"", file];
        run(Command::new("sh").args(reading).args(arguments).current_dir(self.0.path()))
    }

    fn minisign(&self, signature: &str, file: &str) -> Output {
        let arguments = ["-V", "-p", "minisign.pub", "-x", signature, "-m", file];
        run(Command::new("minisign").args(arguments).current_dir(self.0.path()))
    }
}

#[test]
fn ssh_keygen_verifies_what_we_sign_and_no_twin_of_it() {
    let scene = Scene::new();
    scene.write("file", "contents\n");
    scene.write("twin", "Contents\n");
    for key in ["p256", "ed25519"] {
        // Some numbers of ECDSA begin with a zero, and some with a one.
        for _ in 0..8 {
            scene.sign(key, "ssh", "file").ok();
            let good = scene.ssh_keygen(key, "file", "file.sig", "file").ok();
            assert!(good.stdout.starts_with("Good \"file\" signature for release@example.org"), "{}", good.stdout);
        }
        assert_ne!(scene.ssh_keygen(key, "file", "file.sig", "twin").status, 0);
        // It is good for files alone, not for commits.
        assert_ne!(scene.ssh_keygen(key, "git", "file.sig", "file").status, 0);
        let other = if key == "p256" { "ed25519" } else { "p256" };
        assert_ne!(scene.ssh_keygen(other, "file", "file.sig", "file").status, 0);
        let signature = std::fs::read_to_string(scene.path("file.sig")).unwrap();
        let lines: Vec<_> = signature.lines().collect();
        let last = lines[lines.len() - 2];
        let swapped: String = last
            .chars()
            .map(|c| {
                if c == 'A' {
                    'B'
                } else if c == 'B' {
                    'A'
                } else {
                    c
                }
            })
            .collect();
        let changed = signature.replace(last, &swapped);
        if changed != signature {
            scene.write("changed.sig", &changed);
            assert_ne!(scene.ssh_keygen(key, "file", "changed.sig", "file").status, 0);
        }
    }
}

#[test]
fn minisign_verifies_what_we_sign_and_no_twin_of_it() {
    let scene = Scene::new();
    scene.write("file", "contents\n");
    scene.write("twin", "Contents\n");
    scene.sign("ed25519", "minisign", "file").ok();
    let good = scene.minisign("file.minisig", "file").ok();
    assert!(good.stdout.contains("Signature and comment signature verified"), "{}", good.stdout);
    assert!(good.stdout.contains("key:dev/ed25519"), "{}", good.stdout);
    assert_ne!(scene.minisign("file.minisig", "twin").status, 0);
    let signature = std::fs::read_to_string(scene.path("file.minisig")).unwrap();
    for (from, to) in [("key:dev/", "key:prod/"), ("timestamp:1", "timestamp:2")] {
        let changed = signature.replace(from, to);
        assert_ne!(changed, signature);
        scene.write("changed.minisig", &changed);
        let said = scene.minisign("changed.minisig", "file");
        assert!(said.status != 0 && said.stderr.contains("Comment signature verification failed"), "{}", said.stderr);
    }
    // It knows no other keys.
    scene.sign("p256", "minisign", "file").refused(1, "AR-K107");
    scene.direct(&["keys", "public", "p256", "--format", "minisign"]).refused(1, "AR-K107");
}

#[test]
fn files_of_any_length_are_signed_by_their_hash() {
    let scene = Scene::new();
    let large = std::fs::File::create(scene.path("large")).unwrap();
    large.set_len(17 << 20).unwrap();
    scene.sign("ed25519", "raw", "large").refused(3, "AR-K202");
    scene.sign("ed25519", "ssh", "large").ok();
    scene.ssh_keygen("ed25519", "file", "large.sig", "large").ok();
    scene.sign("ed25519", "minisign", "large").ok();
    scene.minisign("large.minisig", "large").ok();
}

/// A step that signs in the formats that it declared, and in no other.
#[test]
fn k01_a_step_signs_in_the_formats_that_it_was_granted() {
    let broker = Broker::start();
    let runner = Runner::enrolled(&broker, "builder");
    broker.set_secret("dev", "release/npm-token", "npm_secret_of_dev");
    runner.as_user(0, &["keys", "create", "release", "--algorithm", "ed25519"]).ok();
    let sign = |formats: &str, format: &str| {
        let changed = |text: String| text.replace("[\"raw\"]", formats);
        run(&mut runner.hostile_command_by(changed, &["sign", "contents\n", format]))
    };
    sign("[\"ssh\"]", "ssh").ok();
    let scene = Scene(directory());
    let line = runner.as_user(0, &["keys", "public", "release", "--format", "ssh"]).ok().stdout;
    scene.write("release.allowed", &format!("release@example.org {line}"));
    scene.write("file", "contents\n");
    std::fs::copy(runner.work().join("inner/signature"), scene.path("file.sig")).unwrap();
    scene.ssh_keygen("release", "file", "file.sig", "file").ok();
    for format in ["raw", "minisign"] {
        let out = sign("[\"ssh\"]", format);
        assert!(out.status == 1 && out.stderr.contains("may not sign in this format"), "{}", out.stderr);
    }
    // Which keys can do what is known before the broker is asked.
    runner.as_user(0, &["keys", "delete", "release"]).ok();
    runner.as_user(0, &["keys", "create", "release"]).ok();
    sign("[\"raw\", \"minisign\"]", "raw").refused(126, "AR-K107");
    sign("[\"raw\", \"ssh\"]", "raw").ok();
}

/// The official step, in all formats at once.
#[test]
fn release_sign_signs_in_each_format() {
    let scene = Scene::new();
    scene.direct(&["keys", "create", "release", "--algorithm", "ed25519"]).ok();
    for (form, file) in [("minisign", "minisign.pub"), ("ssh", "line")] {
        scene.write(file, &scene.direct(&["keys", "public", "release", "--format", form]).ok().stdout);
    }
    let line = std::fs::read_to_string(scene.path("line")).unwrap();
    scene.write("release.allowed", &format!("release@example.org {line}"));
    let step = step("release-sign");
    let manifest = std::fs::read_to_string(step.join("step.toml")).unwrap();
    scene.write("step.toml", &manifest.replace("[\"raw\"]", "[\"raw\", \"minisign\", \"ssh\"]"));
    let sign = |formats: &str| {
        std::fs::create_dir_all(scene.path("dist")).unwrap();
        scene.write("dist/app.tar", "what the release brings\n");
        let (dist, manifest) = (format!("dist={}", scene.path("dist").display()), scene.path("step.toml"));
        let component = step.join("release-sign.wasm");
        let options = ["--dir", &dist, "--manifest", manifest.to_str().unwrap(), component.to_str().unwrap(), "--"];
        scene.direct(&[&options[..], &["--formats", formats, "v1"]].concat())
    };
    // The second run signs what the first did.
    for _ in 0..2 {
        sign("raw,minisign,ssh").ok();
        let mut names: Vec<_> =
            std::fs::read_dir(scene.path("dist")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names.len(), 2 + 2 * 3 + 1, "{names:?}");
        for file in ["dist/app.tar", "dist/SHA256SUMS"] {
            scene.minisign(&format!("{file}.minisig"), file).ok();
            scene.ssh_keygen("release", "file", &format!("{file}.sshsig"), file).ok();
            let signature = format!("{file}.sig");
            let openssl = [
                "pkeyutl",
                "-verify",
                "-rawin",
                "-pubin",
                "-inkey",
                "dist/release.pub",
                "-sigfile",
                &signature,
                "-in",
                file,
            ];
            run(Command::new("openssl").args(openssl).current_dir(scene.0.path())).ok();
        }
    }
    let wrong = sign("raw,pgp");
    assert!(wrong.status == 2 && wrong.stderr.contains("`pgp` is no format"), "{}", wrong.stderr);
}

/// Bundles by a key of the runner's, with the timestamp of its broker.
#[test]
fn bundles_are_verified_by_the_key_and_the_brokers_timestamp() {
    let broker = Broker::start();
    let runner = Runner::enrolled(&broker, "builder");
    let folder = directory();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("trusted_root.json"), broker.admin(&["timestamp", "trusted-root"]).ok().stdout).unwrap();
    let other = Broker::start();
    std::fs::write(path("other.json"), other.admin(&["timestamp", "trusted-root"]).ok().stdout).unwrap();
    let verify = |bundle: &str, root: &str, file: &str, key: &str| {
        let mut command = Command::new(crate::support::programs().join("attest-run"));
        command.args(["verify", "bundle", "--bundle", bundle, "--key", key, "--trusted-root", root, file]).env_clear();
        run(command.current_dir(folder.path()))
    };
    let public = |name: &str| {
        std::fs::write(path(&format!("{name}.pub")), runner.as_user(0, &["keys", "public", name]).ok().stdout).unwrap();
    };

    // By hand.
    runner.as_user(0, &["keys", "create", "hand", "--by-hand"]).ok();
    public("hand");
    std::fs::write(path("file"), "contents\n").unwrap();
    std::fs::write(path("twin"), "Contents\n").unwrap();
    runner.as_user(0, &["sign", "--key", "hand", "--format", "sigstore", &path("file")]).ok();
    verify("file.sigstore.json", "trusted_root.json", "file", "hand.pub").ok();
    verify("file.sigstore.json", "trusted_root.json", "twin", "hand.pub").refused(1, "AR-V204");
    verify("file.sigstore.json", "other.json", "file", "hand.pub").refused(1, "AR-V209");
    let bundle: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path("file.sigstore.json")).unwrap()).unwrap();
    let material = &bundle["verificationMaterial"];
    assert!(material["publicKey"]["hint"].as_str().unwrap().starts_with("sha256:"), "{bundle}");
    assert_eq!(material["timestampVerificationData"]["rfc3161Timestamps"].as_array().unwrap().len(), 1);
    runner.as_user(0, &["keys", "create", "derived", "--algorithm", "ed25519"]).ok();
    runner.as_user(0, &["sign", "--key", "derived", "--format", "sigstore", &path("file")]).refused(1, "AR-K107");

    // By the official step, with a key that obeys its lease.
    runner.as_user(0, &["keys", "create", "release"]).ok();
    public("release");
    let component = runner.step("release-sign");
    let manifest = component.with_file_name("step.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("[\"raw\"]", "[\"raw\", \"sigstore\"]")).unwrap();
    runner.write("dist/app.bin", "an application\n");
    let dist = format!("dist={}", runner.work().join("dist").display());
    let options = ["--dir", &dist, "--manifest", manifest.to_str().unwrap(), component.to_str().unwrap(), "--"];
    let sign = [&options[..], &["--formats", "raw,sigstore", "v1"]].concat();
    for _ in 0..2 {
        runner.job(&sign).ok();
        for file in ["app.bin", "SHA256SUMS"] {
            let signed = runner.work().join("dist").join(file).to_str().unwrap().to_owned();
            let bundle = format!("{signed}.sigstore.json");
            verify(&bundle, "trusted_root.json", &signed, "release.pub").ok();
            verify(&bundle, "trusted_root.json", &signed, "hand.pub").refused(1, "AR-V206");
        }
    }
    assert_eq!(std::fs::read_dir(runner.work().join("dist")).unwrap().count(), 2 + 2 * 2 + 1);
}
