//! Names of what the step writes, which it must not take for the release's files in a second run.

use attest_sdk::SignatureFormat;

pub(crate) const CHECKSUMS: &str = "SHA256SUMS";
pub(crate) const PUBLIC_KEY: &str = "release.pub";
/// Those of signatures, in each format.
const SIGNATURES: [(SignatureFormat, &str); 4] = [
    (SignatureFormat::Raw, ".sig"),
    (SignatureFormat::Minisign, ".minisig"),
    (SignatureFormat::Ssh, ".sshsig"),
    (SignatureFormat::Sigstore, ".sigstore.json"),
];
/// What a run leaves that was stopped while it wrote.
const UNFINISHED: &str = ".part";

/// Where the signature of a file goes.
pub(crate) fn signature(name: &str, format: SignatureFormat) -> String {
    let suffix = SIGNATURES.iter().find(|(known, _)| *known == format).map_or(".sig", |(_, suffix)| suffix);
    format!("{name}{suffix}")
}

/// Whether a file is ours, from an earlier run: what it writes, or would write of one of `names`.
pub(crate) fn is_ours(name: &str, names: &[&str]) -> bool {
    let written = name.strip_suffix(UNFINISHED).unwrap_or(name);
    let mut signed = SIGNATURES.iter().filter_map(|(_, suffix)| written.strip_suffix(suffix));
    written == CHECKSUMS || written == PUBLIC_KEY || signed.any(|signed| signed == CHECKSUMS || names.contains(&signed))
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
            for (format, _) in SIGNATURES {
                assert!(is_ours(&signature(product, format), &products), "{product}");
            }
        }
        for ours in [CHECKSUMS, PUBLIC_KEY, "SHA256SUMS.sig", "app.tar.gz.sig.part", "SHA256SUMS.part"] {
            assert!(is_ours(ours, &products), "{ours}");
        }
    }
}
