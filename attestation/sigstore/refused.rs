//! Why a bundle is not believed.

use attest_evidence::report::{Explain, Fault, Report};
use sigstore_verify::{CertificateError, Error, TimestampError, TransparencyLogError};

/// Who made a signature that is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// The certificate's subject: a URL or an e-mail address.
    pub identity: Option<String>,
    /// Who vouched for it: the issuer of the token.
    pub issuer: Option<String>,
}

/// Why a bundle is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The signature is good, and somebody else's.
    #[error("it is signed by somebody else")]
    OtherSigner {
        /// Who was wanted: identity and issuer.
        wanted: (String, String),
        /// Who it is.
        found: Signer,
    },
    /// A certificate where a key was wanted, or the other way round.
    #[error("{0}")]
    OtherMaterial(&'static str),
    /// The trusted root has no certificate authority.
    #[error("the trusted root has no certificate authority: certificates can't be verified by it")]
    NoAuthority,
    /// It is another artifact's.
    #[error("it is not this artifact's: {0}")]
    Artifact(String),
    /// The artifact can't be read.
    #[error("the artifact can't be read: {0}")]
    Unreadable(std::io::Error),
    /// The signature is not by the key.
    #[error("the signature is not the key's: {0}")]
    Signature(String),
    /// The certificate.
    #[error("its certificate is not believed: {0}")]
    Certificate(String),
    /// The log entry.
    #[error("its log entry is not believed: {0}")]
    Log(String),
    /// The time.
    #[error("nobody shows when it was signed: {0}")]
    Time(String),
    /// Something of it that nobody can verify here.
    #[error("it can't be verified here: {0}")]
    Unsupported(String),
    /// It contradicts itself.
    #[error("it is not in order: {0}")]
    Form(String),
}

impl Refused {
    pub(crate) fn of(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::SignatureInvalid(reason) => Self::Signature(reason),
            Error::ArtifactMismatch(reason) => Self::Artifact(reason),
            Error::ArtifactRead(error) => Self::Unreadable(error),
            Error::Certificate(error) => Self::Certificate(match error {
                CertificateError::Malformed(reason)
                | CertificateError::ChainInvalid(reason)
                | CertificateError::Sct(reason) => reason,
                other => other.to_string(),
            }),
            Error::TransparencyLog(error) => Self::Log(match error {
                TransparencyLogError::UnknownLog { log_id } => format!("log {log_id} is not in the trusted root"),
                other => other.to_string(),
            }),
            Error::Timestamp(error) => Self::Time(match error {
                TimestampError::NoVerifiedTimestamp(reason) => reason,
                other => other.to_string(),
            }),
            Error::UnsupportedBundle(reason) | Error::UnsupportedArtifact(reason) => Self::Unsupported(reason),
            _ => Self::Form(text),
        }
    }
}

impl Explain for Refused {
    fn report(&self) -> Report {
        let (code, fault, hint) = match self {
            Self::OtherSigner { wanted: (identity, issuer), found } => {
                let or_none = |claim: &Option<String>| claim.clone().unwrap_or_else(|| "nobody".to_owned());
                return Report::new("AR-V201", Fault::Identity, self.to_string())
                    .fact("wanted", format!("{identity}, by {issuer}"))
                    .fact("signed by", format!("{}, by {}", or_none(&found.identity), or_none(&found.issuer)))
                    .hint(
                        "the signature itself is good. If that is whom you trust, name it with --identity and --issuer",
                    );
            }
            Self::OtherMaterial(_) => (
                "AR-V202",
                Fault::Refused,
                "a bundle with a certificate takes --identity and --issuer, one without takes --key",
            ),
            Self::NoAuthority => {
                ("AR-V203", Fault::Environment, "name the trusted root of the instance that issued the certificate")
            }
            Self::Artifact(_) => {
                ("AR-V204", Fault::Refused, "the file is another than was signed, or was changed since: do not use it")
            }
            Self::Unreadable(_) => ("AR-V205", Fault::Environment, "look at the path, and at who may read it"),
            Self::Signature(_) => (
                "AR-V206",
                Fault::Refused,
                "the file or its signature was changed, or the key is another: do not use it",
            ),
            Self::Certificate(_) => (
                "AR-V207",
                Fault::Refused,
                "it is another instance's, or was not good when it was used. --trusted-root names a private instance's root",
            ),
            Self::Log(_) => (
                "AR-V208",
                Fault::Refused,
                "an entry that a log does not vouch for proves nothing. --trusted-root names a private instance's root",
            ),
            Self::Time(_) => (
                "AR-V209",
                Fault::Refused,
                "certificates live for minutes: a log or a timestamp authority of the trusted root has to say when it was used",
            ),
            Self::Unsupported(_) => ("AR-V210", Fault::Refused, "a newer version may know it"),
            Self::Form(_) => {
                ("AR-V211", Fault::Refused, "ask for the bundle anew: this one was made wrong, or changed")
            }
        };
        Report::new(code, fault, self.to_string()).hint(hint)
    }
}
