//! Whom is believed: the trusted root of an instance.

use attest_evidence::json;
use attest_evidence::report::{Explain, Fault, Report};
use sigstore_verify::Verifier;
use sigstore_verify::trust_root::{
    SIGSTORE_GITHUB_TRUSTED_ROOT, SIGSTORE_PRODUCTION_TRUSTED_ROOT, SIGSTORE_STAGING_TRUSTED_ROOT, TrustedRoot,
};

/// The largest trusted root that is read: the public one has 7 kB.
const LARGEST: usize = 4 << 20;

/// Instances whose trusted roots are built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instance {
    /// The public good instance.
    PublicGood,
    /// Its staging.
    Staging,
    /// GitHub's own, for attestations of private repositories. It has no log: its timestamps stand for time.
    GitHub,
}

/// Certificate authorities, logs and timestamp authorities that are believed.
pub struct Trust {
    pub(crate) verifier: Verifier,
    /// Whether its certificates do.
    pub(crate) has_certificate_logs: bool,
    has_authorities: bool,
    /// The ids of its logs.
    logs: Vec<Vec<u8>>,
}

/// Not a trusted root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustMalformed {
    /// Larger than any.
    #[error("it has {0} bytes: a trusted root has {LARGEST} at most")]
    TooLarge(usize),
    /// Not JSON, or a member twice.
    #[error("it is no JSON with each member once: {0}")]
    Json(String),
    /// Not of a trusted root's form.
    #[error("it is no trusted root: {0}")]
    Form(String),
    /// A key or certificate in it can't be used.
    #[error("what is in it can't be used: {0}")]
    Material(String),
    /// There is nobody to believe.
    #[error("it trusts nobody: no log and no timestamp authority")]
    Empty,
}

impl Explain for TrustMalformed {
    fn report(&self) -> Report {
        Report::new("AR-V102", Fault::Environment, format!("this can't be used as a trusted root: {self}")).hint(
            "a `trusted_root.json` comes from the instance's TUF repository, or from `cosign trusted-root create`",
        )
    }
}

impl Trust {
    /// That of an instance.
    ///
    /// # Errors
    /// None, unless this program was built wrong.
    pub fn of(instance: Instance) -> Result<Self, TrustMalformed> {
        let json = match instance {
            Instance::PublicGood => SIGSTORE_PRODUCTION_TRUSTED_ROOT,
            Instance::Staging => SIGSTORE_STAGING_TRUSTED_ROOT,
            Instance::GitHub => SIGSTORE_GITHUB_TRUSTED_ROOT,
        };
        Self::parse(json.as_bytes())
    }

    /// That of a private instance: the bytes of its `trusted_root.json`.
    ///
    /// A root with no log is of an instance that has none, as GitHub's: timestamps stand for time then. A root with no log of
    /// certificates is of one whose certificates stand in none.
    ///
    /// # Errors
    /// See [`TrustMalformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustMalformed> {
        if bytes.len() > LARGEST {
            return Err(TrustMalformed::TooLarge(bytes.len()));
        }
        json::parse(bytes).map_err(|error| TrustMalformed::Json(error.to_string()))?;
        let text = std::str::from_utf8(bytes).map_err(|error| TrustMalformed::Json(error.to_string()))?;
        let root = TrustedRoot::from_json(text).map_err(|error| TrustMalformed::Form(error.to_string()))?;
        if root.tlogs.is_empty() && root.timestamp_authorities.is_empty() {
            return Err(TrustMalformed::Empty);
        }
        let verifier = Verifier::new(&root).map_err(|error| TrustMalformed::Material(error.to_string()))?;
        Ok(Self {
            verifier,
            has_certificate_logs: !root.ctlogs.is_empty(),
            has_authorities: !root.certificate_authorities.is_empty(),
            logs: root.tlogs.iter().map(|log| log.log_id.key_id.as_bytes().to_vec()).collect(),
        })
    }

    /// Whether signatures of this instance stand in a log.
    pub(crate) const fn has_logs(&self) -> bool {
        !self.logs.is_empty()
    }

    /// Whether it has a log of this id.
    pub(crate) fn knows_log(&self, id: &[u8]) -> bool {
        self.logs.iter().any(|known| known == id)
    }

    /// Whether certificates can be verified by it; if not, keys alone.
    pub const fn has_authorities(&self) -> bool {
        self.has_authorities
    }
}
