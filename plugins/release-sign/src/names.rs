//! Names of what the step writes, which it must not take for the release's files in a second run.

pub(crate) const CHECKSUMS: &str = "SHA256SUMS";
pub(crate) const PUBLIC_KEY: &str = "release.pub";
const SIGNATURE: &str = ".sig";
/// What a run leaves that was stopped while it wrote.
const UNFINISHED: &str = ".part";

/// Where the signature of a file goes.
pub(crate) fn signature(name: &str) -> String {
    format!("{name}{SIGNATURE}")
}

/// Whether a file is one of the release's, rather than one of ours from an earlier run.
pub(crate) fn is_product(name: &str) -> bool {
    name != CHECKSUMS && name != PUBLIC_KEY && !name.ends_with(SIGNATURE) && !name.ends_with(UNFINISHED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_signs_what_the_first_did() {
        for product in ["app.tar.gz", "SHA256SUMS.txt", "release.pub.zip", "sig"] {
            assert!(is_product(product) && !is_product(&signature(product)), "{product}");
        }
        for ours in [CHECKSUMS, PUBLIC_KEY, "SHA256SUMS.sig", "app.tar.gz.sig.part", "SHA256SUMS.part"] {
            assert!(!is_product(ours), "{ours}");
        }
    }
}
