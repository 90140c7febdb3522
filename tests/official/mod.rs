//! The official steps, against servers on loopback: a token of theirs is kept by the broker, and no step sees it.

mod github_release;
mod http_upload;
mod oci_push;

use crate::handles::Scene;
use crate::support::Output;
use std::path::PathBuf;

/// The value of each step's `token`.
const TOKEN: &str = "ghx_9f3kQ2m7Lx0Rz5Vb8Nc1Wd4";

/// One official step, whose requests go to servers of this machine.
struct Official {
    scene: Scene,
    component: PathBuf,
}

impl Official {
    /// The step of this name. `origins` stand in its manifest in place of those that it comes with, and `token` may go there.
    fn new(name: &str, origins: &[&str], places: &[&str]) -> Self {
        Self::narrow(name, origins, origins, places)
    }

    /// The same, where `token` may go to these `destinations` alone.
    fn narrow(name: &str, origins: &[&str], destinations: &[&str], places: &[&str]) -> Self {
        let scene = Scene::new();
        let mut options = vec!["--private"];
        for destination in destinations {
            options.extend(["--to", destination]);
        }
        for place in places {
            options.extend(["--in", place]);
        }
        scene.broker.set_secret_with("dev", "token", TOKEN, &options);
        scene.runner.as_user(0, &["keys", "create", "release"]).ok();
        let component = scene.runner.step(name);
        let manifest = component.with_file_name("step.toml");
        let text = std::fs::read_to_string(&manifest).unwrap();
        let quoted: Vec<String> = origins.iter().map(|origin| format!("\"{origin}\"")).collect();
        let lines = text.lines().filter(|line| !line.starts_with("to = ")).map(|line| {
            if line.starts_with("allow = ") { format!("private = [{}]", quoted.join(", ")) } else { line.to_owned() }
        });
        std::fs::write(&manifest, lines.collect::<Vec<_>>().join("\n")).unwrap();
        Self { scene, component }
    }

    /// Runs it on a folder of the job's.
    fn run(&self, name: &str, folder: &str, arguments: &[&str]) -> Output {
        let manifest = self.component.with_file_name("step.toml");
        let directory = format!("{name}={}", self.scene.runner.work().join(folder).display());
        let mut all = vec!["--manifest", manifest.to_str().unwrap(), "--dir", &directory];
        all.extend([self.component.to_str().unwrap(), "--"]);
        all.extend(arguments);
        let out = self.scene.runner.job(&all);
        assert!(!out.stderr.contains(TOKEN) && !out.stdout.contains(TOKEN), "{}", out.stderr);
        out
    }

    /// A file of the job's.
    fn write(&self, path: &str, contents: &str) {
        self.scene.runner.write(path, contents);
    }

    /// The file is not there any more.
    fn remove(&self, path: &str) {
        std::fs::remove_file(self.scene.runner.work().join(path)).unwrap();
    }
}
