//! Bundles: a signature, who made it, and what shows when.

use attest_evidence::json;
use attest_evidence::report::{Explain, Fault, Report};
use sigstore_verify::types::{self, SignatureContent};
use std::sync::Arc;

/// The largest bundle that is read. The largest that are seen, with provenance in them, have 100 kB.
pub const LARGEST_BUNDLE: usize = 16 << 20;

/// The payload type of in-toto statements in DSSE.
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// A bundle, read and not verified.
#[derive(Debug, Clone)]
pub struct Bundle(Arc<types::Bundle>);

/// Not a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleMalformed {
    /// Larger than any.
    #[error("it has {0} bytes: a bundle has {LARGEST_BUNDLE} at most")]
    TooLarge(usize),
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// Not JSON, or a member twice: of two readers one might take the first, the other the last.
    #[error("it is no JSON with each member once: {0}")]
    Json(String),
    /// Not of a bundle's form.
    #[error("it is no bundle of version 0.1, 0.2 or 0.3: {0}")]
    Form(String),
    /// More than one log entry. The second of two would be believed for the first's sake.
    #[error("it has {0} log entries: one is read, so that none rides along with another")]
    Entries(usize),
}

impl Explain for BundleMalformed {
    fn report(&self) -> Report {
        Report::new("AR-V101", Fault::Refused, format!("this can't be read as a Sigstore bundle: {self}"))
            .hint("a bundle is what `cosign … --bundle`, `gh attestation download` or `attest-run sign` write")
    }
}

impl Bundle {
    /// Reads a bundle.
    ///
    /// # Errors
    /// See [`BundleMalformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleMalformed> {
        if bytes.len() > LARGEST_BUNDLE {
            return Err(BundleMalformed::TooLarge(bytes.len()));
        }
        if bytes.trim_ascii().is_empty() {
            return Err(BundleMalformed::Empty);
        }
        json::parse(bytes).map_err(|error| BundleMalformed::Json(error.to_string()))?;
        let text = std::str::from_utf8(bytes).map_err(|error| BundleMalformed::Json(error.to_string()))?;
        let mut bundle = types::Bundle::from_json(text).map_err(|error| BundleMalformed::Form(error.to_string()))?;
        if let types::bundle::VerificationMaterialContent::X509CertificateChain { certificates } =
            &bundle.verification_material.content
            && certificates.is_empty()
        {
            return Err(BundleMalformed::Form("its certificate chain is empty".to_owned()));
        }
        if bundle.media_type == types::MediaType::Bundle0_1 {
            // Version 0.1 has proofs without checkpoints, which prove nothing: its promises are what counts.
            let entries =
                bundle.verification_material.tlog_entries.iter_mut().filter(|entry| entry.inclusion_promise.is_some());
            let unsigned = |proof: &types::bundle::InclusionProof| proof.checkpoint.checkpoint().is_none();
            entries.for_each(|entry| drop(entry.inclusion_proof.take_if(|proof| unsigned(proof))));
        }
        match bundle.verification_material.tlog_entries.len() {
            0 | 1 => Ok(Self(Arc::new(bundle))),
            several => Err(BundleMalformed::Entries(several)),
        }
    }

    /// Whether a certificate says whose signature it is; if not, a key that the reader has to know.
    pub fn has_certificate(&self) -> bool {
        self.0.signing_certificate().is_some()
    }

    /// By which name the signer calls the key, where there is no certificate. Anybody may have written it.
    pub fn key_hint(&self) -> Option<&str> {
        match &self.0.verification_material.content {
            types::bundle::VerificationMaterialContent::PublicKey(key) => Some(&key.hint),
            _ => None,
        }
    }

    /// The in-toto statement in it. Signed by nobody until the bundle is verified.
    pub(crate) fn statement(&self) -> Option<&[u8]> {
        match &self.0.content {
            SignatureContent::DsseEnvelope(envelope) if envelope.payload_type == IN_TOTO => {
                Some(envelope.payload.as_bytes())
            }
            _ => None,
        }
    }

    /// Its entry of a log.
    pub(crate) fn entry(&self) -> Option<&types::TransparencyLogEntry> {
        self.0.verification_material.tlog_entries.first()
    }

    pub(crate) fn inner(&self) -> &types::Bundle {
        &self.0
    }
}
