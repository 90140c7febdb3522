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

/// Whether a file is ours, from an earlier run: what it writes, or would write of one of `names`.
pub(crate) fn is_ours(name: &str, names: &[&str]) -> bool {
    let written = name.strip_suffix(UNFINISHED).unwrap_or(name);
    let signed = written.strip_suffix(SIGNATURE);
    written == CHECKSUMS
        || written == PUBLIC_KEY
        || signed.is_some_and(|signed| signed == CHECKSUMS || names.contains(&signed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_signs_what_the_first_did() {
        let products =
            ["app.tar.gz", "SHA256SUMS.txt", "release.pub.zip", "sig", "firmware.part", "theirs.sig", ".part"];
        for product in products {
            assert!(!is_ours(product, &products), "{product}");
            assert!(is_ours(&signature(product), &products), "{product}");
        }
        for ours in [CHECKSUMS, PUBLIC_KEY, "SHA256SUMS.sig", "app.tar.gz.sig.part", "SHA256SUMS.part"] {
            assert!(is_ours(ours, &products), "{ours}");
        }
    }
}
