//! Certificates of endorsement and attestation keys: as makers issue them, and as nobody may.

mod command;
mod forgeries;
mod maker;
mod paths;
mod real;
mod shipped;

use attest_appraisal::{CertificateRefused, StoredCertificate, VerifiedEndorsement};
use attest_evidence::report::Explain as _;
use attest_evidence::time::UnixSeconds;
use std::path::{Path, PathBuf};

/// 24 November 2026.
const NOW: UnixSeconds = UnixSeconds(1_795_478_400);

type Verified = Result<VerifiedEndorsement, CertificateRefused>;

/// A certificate that others made.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/certs").join(name)
}

/// Its DER, as the command line would read it.
fn certificate(name: &str) -> Vec<u8> {
    StoredCertificate::read(&std::fs::read(file(name)).unwrap()).unwrap().remove(0).der
}

/// The code of a refusal.
#[track_caller]
fn code(verified: Verified) -> String {
    verified.unwrap_err().report().code.to_string()
}
