//! `verify key`: that a key was made in a TPM, from the document that `keys attest` writes.

use crate::Global;
use crate::output::{self, answer_is_no, in_file, read_small};
use attest_appraisal::signature::PureRust;
use attest_appraisal::{BrokerAuthority, KeyAttestationRefused, VerifiedKeyAttestation};
use attest_evidence::Sha256Digest;
use attest_evidence::key_attestation::KeyAttestation;
use attest_evidence::name::{KeyName, Stage};
use attest_evidence::report::{Escaped, Explain as _, Fault, Report};
use attest_evidence::time::{Clock as _, SystemClock};
use attest_evidence::tpm::PcrSelection;
use attest_sigstore::ManagedKey;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Documents and certificates have some thousand bytes.
const LARGEST_FILE: usize = 1 << 20;

/// `verify key`.
#[derive(Debug, Args)]
pub(crate) struct Key {
    /// The document: what `attest-run keys attest` printed
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The broker's authority for attestation keys, as `attest-broker authority` prints it, from whoever runs the broker
    #[arg(long, value_name = "FILE")]
    authority: PathBuf,
    /// The public key that it has to be for, PEM. Without it, compare the fingerprint that is printed
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
}

#[derive(Serialize)]
struct Verified {
    stage: Stage,
    name: KeyName,
    fingerprint: String,
    /// Whether the TPM uses it only while the broker has signed for it.
    leased: bool,
    /// The PCRs that it is bound to, and the digest of what their values have to be.
    pcrs: Option<PcrSelection>,
    pcr_digest: Option<Sha256Digest>,
    /// Name of the attestation key, and whose certificates vouch for it.
    chain: Vec<String>,
}

impl Key {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        let bytes = read_small(&self.file, LARGEST_FILE)?;
        let authority = BrokerAuthority::read(&read_small(&self.authority, LARGEST_FILE)?)
            .map_err(|refused| in_file(refused.report(), &self.authority))?;
        let attestation = KeyAttestation::parse(&bytes).map_err(|malformed| {
            let report = Report::new("AR-K311", Fault::Refused, malformed.to_string());
            in_file(report.hint("`attest-run keys attest NAME` writes it"), &self.file)
        })?;
        let no = |refused: KeyAttestationRefused| in_file(answer_is_no(refused.report()), &self.file);
        let verified =
            VerifiedKeyAttestation::verify(&attestation, &authority, SystemClock.now(), &PureRust).map_err(no)?;
        if let Some(wanted) = &self.public_key {
            let spki = ManagedKey::parse(&read_small(wanted, LARGEST_FILE)?).map_err(|error| error.report())?;
            verified.key().is(&Sha256Digest::of(spki.spki())).map_err(|refused| no(refused.into()))?;
        }
        let state = attestation.lease.as_ref().and_then(|lease| lease.boot_state);
        let answer = Verified {
            stage: attestation.stage,
            name: attestation.name,
            fingerprint: format!("sha256:{}", verified.key().fingerprint()),
            leased: verified.is_leased(),
            pcrs: state.map(|state| state.selection),
            pcr_digest: state.map(|state| state.digest),
            chain: verified.chain().to_vec(),
        };
        output::print(global, "attest-run/verify-key/v1", &answer, || {
            let lease = if answer.leased { "\nused      only while the broker has signed for it" } else { "" };
            let state = answer.pcrs.zip(answer.pcr_digest);
            let pcrs = state.map(|(pcrs, digest)| format!(", and {pcrs} come to {digest}")).unwrap_or_default();
            let chain: Vec<_> = answer.chain.iter().map(|link| Escaped(link).to_string()).collect();
            format!(
                "key       {}/{} {}\nmade in   a TPM, which it can't leave{lease}{pcrs}\nvouched   {}\n",
                answer.stage,
                answer.name,
                answer.fingerprint,
                chain.join("\n          ")
            )
        });
        Ok(())
    }
}
