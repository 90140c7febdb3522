//! The verdict on an exchange: what was concluded of the machine, of the CI job and of the step, as an attestation result
//! (draft-ietf-rats-ear) whose every claim names the evidence that it rests on.
//!
//! What nobody has looked at is affirmed by nobody: evidence without a reference value is `unknown evidence`, and a step is
//! believed no further than the agent that speaks of it.

use super::VerifiedJob;
use crate::policy::Decision;
use attest_appraisal::ear::{
    Appraisal, Configuration, Ear, EarRefused, EatNonce, EvidenceDigests, Executables, Hardware, InstanceIdentity,
    Profile, TrustAspect, TrustClaim, TrustTier, TrustVector, VerifierId,
};
use attest_appraisal::{AppraisedHost, TpmClass};
use attest_evidence::exchange::{Nonce, Request};
use attest_evidence::tpm::PcrIndex;
use attest_evidence::{Sha256Digest, UnixSeconds};
use std::collections::BTreeMap;

/// The edition of the format that the broker writes.
const PROFILE: Profile = Profile::Draft04;

/// What a verdict is about, appraised and decided.
pub(super) struct Concluded<'a> {
    pub(super) host: &'a AppraisedHost,
    pub(super) job: &'a VerifiedJob,
    pub(super) decision: &'a Decision,
    pub(super) request: &'a Request,
    pub(super) nonce: &'a Nonce,
    /// The version of the reference values that judged the host.
    pub(super) references: i64,
}

impl Concluded<'_> {
    /// The claims. Good from `issued` until `expires`: that of the lease.
    pub(super) fn verdict(&self, issued: UnixSeconds, expires: UnixSeconds) -> Result<Ear, EarRefused> {
        let submods = BTreeMap::from([
            ("tpm".to_owned(), self.tpm()?),
            ("ci".to_owned(), self.ci()),
            ("step".to_owned(), self.step()),
        ]);
        let verifier = VerifierId {
            developer: "attest-run".to_owned(),
            build: concat!("attest-broker ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        Ok(Ear::new(PROFILE, verifier, issued, submods)?.expiring(expires))
    }

    /// The machine: its key, its hardware, what it booted, what ran on it.
    fn tpm(&self) -> Result<Appraisal, EarRefused> {
        let host = self.host;
        let mut vector = TrustVector::default().with(InstanceIdentity::Trustworthy);
        let mut evidence = EvidenceDigests::default()
            .with(TrustAspect::InstanceIdentity, "attestation-key", *host.quoted().key_digest())
            .with(TrustAspect::InstanceIdentity, "quote", *host.quoted().quote_digest());
        let unknown = |vector: TrustVector, aspect| vector.with_claim(aspect, TrustClaim::UNKNOWN_EVIDENCE);
        vector = match host.class() {
            TpmClass::Discrete | TpmClass::Firmware => {
                evidence = evidence.with(TrustAspect::Hardware, "attestation-key", *host.quoted().key_digest());
                vector.with(Hardware::Genuine)
            }
            // A cloud speaks for its machine, and no hardware does.
            TpmClass::Virtual => vector,
            TpmClass::Software => unknown(vector, TrustAspect::Hardware),
        };
        evidence = evidence.with(TrustAspect::Configuration, "pcrs", host.quote().boot_pcrs().digest());
        if let Some(log) = host.event_log() {
            evidence = evidence.with(TrustAspect::Configuration, "event-log", *log);
        }
        vector = match host.boot().is_some_and(|boot| boot.pins_boot()) {
            true => vector.with(Configuration::Approved),
            false => unknown(vector, TrustAspect::Configuration),
        };
        if host.measurements().is_some() {
            if let Some(value) = host.quote().pcrs().get(PcrIndex::IMA) {
                evidence = evidence.with(TrustAspect::Executables, "pcr-10", Sha256Digest::from_bytes(*value));
            }
            let approved = host.boot().is_some_and(|boot| boot.executables());
            vector = match approved {
                true => vector.with(Executables::ApprovedAtBootAndRuntime),
                false => unknown(vector, TrustAspect::Executables),
            };
        }
        let mut appraisal = Appraisal::of(vector).answering(EatNonce::of(self.nonce.as_bytes())?).resting_on(evidence);
        if let Some(boot) = host.boot() {
            appraisal = appraisal.under_policy(format!("reference values {}: {}", self.references, boot.name()));
        }
        Ok(appraisal)
    }

    /// The CI job, as far as its CI system has spoken for it.
    fn ci(&self) -> Appraisal {
        let Some(job) = self.job.job() else { return Appraisal::of(TrustVector::default()) };
        // A token of the run may be any of its jobs'.
        let vector = match job.claims.exact {
            true => TrustVector::default().with(InstanceIdentity::Trustworthy),
            false => TrustVector::default().with_claim(TrustAspect::InstanceIdentity, TrustClaim::UNKNOWN_EVIDENCE),
        };
        let appraisal = Appraisal::of(vector);
        match job.token_digest {
            Some(digest) => {
                let evidence = EvidenceDigests::default().with(TrustAspect::InstanceIdentity, "token", digest);
                appraisal.resting_on(evidence)
            }
            None => appraisal.no_better_than(TrustTier::None),
        }
    }

    /// The step: that policy allows it all that it asked for. That it is this step, the agent says.
    fn step(&self) -> Appraisal {
        let asks = !self.decision.rules().is_empty();
        let vector = match asks {
            true => TrustVector::default().with(Configuration::Approved),
            false => TrustVector::default(),
        };
        let evidence = EvidenceDigests::default()
            .with(TrustAspect::Configuration, "component", self.request.component)
            .with(TrustAspect::Configuration, "manifest", self.request.manifest)
            .with(TrustAspect::Configuration, "bound", *self.host.bound());
        let appraisal =
            self.decision.rules().iter().fold(Appraisal::of(vector).resting_on(evidence), |appraisal, rule| {
                appraisal.under_policy(format!("policy {}: {rule}", self.decision.policy_version()))
            });
        match self.host.boot().is_some_and(|boot| boot.executables()) {
            true => appraisal,
            false => appraisal.no_better_than(TrustTier::None),
        }
    }
}
