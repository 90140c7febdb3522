//! Embeds what `attest-run new` gives to every new step: the SDK and the contract, as they are.

#![expect(clippy::expect_used, reason = "without what cargo gives, nothing can be built")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Folders of this repository, and where they go in a new step. The SDK looks for the contract two folders above itself. What is
/// not there is left out.
const VENDORED: [(&str, &str); 3] =
    [("plugins/sdk", "vendor/sdk"), ("plugins/sdk-macros", "vendor/sdk-macros"), ("wit", "wit")];

fn main() {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the package is"));
    let mut code =
        String::from("/// Path in a new step, and contents.\npub(super) const VENDORED: &[(&str, &str)] = &[\n");
    for (from, to) in VENDORED {
        println!("cargo::rerun-if-changed={from}");
        let mut files = Vec::new();
        list(&root.join(from), &mut files);
        files.sort();
        for file in files {
            let inside = file.strip_prefix(root.join(from)).expect("it was found there");
            let _ = writeln!(code, "    ({:?}, include_str!({:?})),", Path::new(to).join(inside), file);
        }
    }
    code += "];\n";
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where to write"));
    std::fs::write(out.join("vendored.rs"), code).expect("cargo has made the folder");
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if name == "target" || name.to_string_lossy().starts_with('.') {
            continue;
        }
        if path.is_dir() { list(&path, files) } else { files.push(path) }
    }
}
