//! Finds libtpms, the TPM 2.0 that runs in software.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Err(error) = pkg_config::Config::new().atleast_version("0.9").probe("libtpms") {
        println!(
            "cargo::error=libtpms is needed (Debian: apt-get install libtpms-dev libtss2-dev pkg-config): {error}"
        );
    }
}
