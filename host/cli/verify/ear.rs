//! `verify ear`: an attestation result, as a broker signs it.

use crate::Global;
use crate::output::{self, answer_is_no, in_file, read_small};
use attest_appraisal::boot::moment;
use attest_appraisal::ear::{Appraisal, Ear as AttestationResult, EarKey, EarRefused, UnverifiedEar};
use attest_evidence::report::{Escaped, Explain as _, Report};
use attest_evidence::time::{Clock as _, SystemClock, UnixSeconds};
use clap::Args;
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Most bytes of a file.
const LARGEST_FILE: usize = 2 << 20;

/// Check an attestation result.
#[derive(Debug, Args)]
pub(crate) struct Ear {
    /// The result: a JWT, as `attest-broker lease verdict` prints it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The key of the broker that made it, a JWK: `key` in `attest-broker --json lease verdict`. Have it from the broker
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The moment to check for, as 2026-11-24T12:00:00Z: results end with their leases. Default: now
    #[arg(long, value_name = "TIME", value_parser = at)]
    at: Option<UnixSeconds>,
}

fn at(text: &str) -> Result<UnixSeconds, &'static str> {
    moment(text).ok_or("a moment is 2026-12-31T00:00:00Z")
}

impl Ear {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        let of = |path: &PathBuf, refused: EarRefused| in_file(answer_is_no(refused.report()), path);
        let text = read_small(&self.file, LARGEST_FILE)?;
        let text = String::from_utf8_lossy(&text);
        let key = EarKey::from_jwk(&read_small(&self.key, LARGEST_FILE)?).map_err(|refused| of(&self.key, refused))?;
        let unverified = UnverifiedEar::parse(text.trim()).map_err(|refused| of(&self.file, refused))?;
        let now = self.at.unwrap_or_else(|| SystemClock.now());
        let verified = unverified.verify(&key, now).map_err(|refused| of(&self.file, refused))?;
        let ear = verified.ear();
        output::print(global, "attest-run/verify-ear/v1", &json!({ "claims": ear.to_value() }), || in_words(ear));
        Ok(())
    }
}

fn in_words(ear: &AttestationResult) -> String {
    let verifier = ear.verifier();
    let mut text =
        format!("appraised by {} ({}) at {}\n", Escaped(&verifier.developer), Escaped(&verifier.build), ear.issued());
    let lease = ear.extensions().get("ear_attest_run_lease");
    let of_lease = |name: &str| lease.and_then(|lease| lease.get(name)?.as_str());
    if let Some(state) = of_lease("state") {
        let _ = write!(text, "its lease is {}", Escaped(state));
        let _ = match of_lease("machine") {
            Some(machine) => writeln!(text, "; at its end the machine was {}", Escaped(machine)),
            None => writeln!(text),
        };
    }
    for (label, appraisal) in ear.submods() {
        let _ = writeln!(text, "{}  {}", Escaped(label), appraisal.status());
        text += &claims(appraisal);
    }
    text
}

fn claims(appraisal: &Appraisal) -> String {
    let mut text = String::new();
    for (aspect, claim) in appraisal.vector().into_iter().flat_map(|vector| vector.iter()) {
        let meaning = aspect.meaning(claim).unwrap_or("a claim of the verifier's own");
        let _ = writeln!(text, "  {aspect}: {claim}: {meaning}");
        let pieces = appraisal.evidence().into_iter().flat_map(|evidence| evidence.of(aspect));
        for (piece, digest) in pieces {
            let _ = writeln!(text, "    by {} {digest}", Escaped(piece));
        }
    }
    for policy in appraisal.policies() {
        let _ = writeln!(text, "  under {}", Escaped(policy));
    }
    text
}
