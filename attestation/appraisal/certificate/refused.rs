//! Why a certificate is not believed.

use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::time::UnixSeconds;
use x509_parser::time::ASN1Time;

/// Why a certificate is not believed. Names are as [`super::VerifiedEndorsement::chain`] shows them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefused {
    /// Not an X.509 certificate.
    #[error("not an X.509 certificate: {0}")]
    Malformed(String),
    /// Not valid now.
    #[error("the certificate of `{subject}` is not valid now")]
    Validity {
        /// Whose.
        subject: String,
        /// Unix time.
        not_before: i64,
        /// Unix time.
        not_after: i64,
        /// Unix time.
        now: UnixSeconds,
    },
    /// No trusted root vouches for it.
    #[error("no trusted root vouches for it; it was issued by `{issuer}`")]
    UnknownIssuer {
        /// The issuer that the path ends at.
        issuer: String,
    },
    /// It asks to be understood where it isn't.
    #[error("the certificate of `{subject}` has a critical extension {oid} that is not understood")]
    CriticalExtension {
        /// Whose.
        subject: String,
        /// Which.
        oid: String,
    },
    /// It is for something else.
    #[error("the certificate is not for a TPM's {0}")]
    Purpose(&'static str),
    /// Its key is of a kind that no endorsement or attestation key is.
    #[error("the certificate's key is {found}; it must be RSA of 2048 to 4096 bits, P-256 or P-384")]
    Key {
        /// What it is.
        found: String,
    },
    /// An issuer of that name is known, and the signature is not by its key.
    #[error("the certificate of `{subject}` is not signed by `{issuer}`, as it says")]
    Signature {
        /// Whose.
        subject: String,
        /// Who should have signed.
        issuer: String,
    },
    /// Signed with a hash function that is broken.
    #[error("the certificate of `{subject}` is signed with {algorithm}, which proves nothing any more")]
    BrokenHash {
        /// Whose.
        subject: String,
        /// Which.
        algorithm: &'static str,
    },
    /// Signed in a way that is not understood.
    #[error("the certificate of `{subject}` is signed with {algorithm}, which is not understood")]
    SignatureAlgorithm {
        /// Whose.
        subject: String,
        /// Object identifier, or what is odd about its parameters.
        algorithm: String,
    },
    /// Whoever signed it may not sign certificates.
    #[error("`{subject}` has signed a certificate and {lack}")]
    NotAuthority {
        /// Who.
        subject: String,
        /// What is missing.
        lack: &'static str,
    },
    /// More authorities under one than it allows.
    #[error("`{subject}` allows {most} authorities under it, and there are {found}")]
    PathLength {
        /// Whose limit.
        subject: String,
        /// The limit.
        most: u32,
        /// What there is.
        found: usize,
    },
    /// A name that an authority may not vouch for.
    #[error("`{authority}` may not vouch for `{name}`")]
    NameConstraint {
        /// Whose constraint.
        authority: String,
        /// The name.
        name: String,
    },
    /// A constraint on names or policies that can't be evaluated: nobody can say whether it is kept.
    #[error("`{authority}` has a constraint that can't be evaluated: {constraint}")]
    Constraint {
        /// Whose.
        authority: String,
        /// Which.
        constraint: String,
    },
    /// An authority for other purposes.
    #[error("`{subject}` is an authority for other things than TPMs")]
    AuthorityPurpose {
        /// Which.
        subject: String,
    },
    /// A root that is trusted for one maker's TPMs only.
    #[error("`{root}` is trusted for `{organization}` only, and vouches for `{subject}`")]
    OtherMaker {
        /// The root.
        root: String,
        /// Whom it may vouch for.
        organization: String,
        /// Whom it vouches for here.
        subject: String,
    },
    /// Too many authorities between it and a root.
    #[error("more than {most} authorities lie between the certificate and a root")]
    LongPath {
        /// The bound.
        most: usize,
    },
    /// Too many authorities could have issued it.
    #[error("no path to a root was found among the first {most} candidates")]
    ManyCandidates {
        /// The bound.
        most: u32,
    },
}

impl Explain for CertificateRefused {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Identity, self.to_string());
        match self {
            Self::Malformed(_) => report("AR-E401"),
            Self::Validity { not_before, not_after, now, .. } => report("AR-E402")
                .fact("valid from", date(*not_before))
                .fact("valid until", date(*not_after))
                .fact("now", date(i64::try_from(now.0).unwrap_or(i64::MAX)))
                .hint("is the clock right?"),
            Self::UnknownIssuer { .. } => report("AR-E403").hint(
                "an intermediate may be missing, or it is a maker that is not known here. \
                 The broker's admin may add a root: `attest-broker root add --class CLASS FILE`",
            ),
            Self::CriticalExtension { .. } => report("AR-E404"),
            Self::Purpose(_) => report("AR-E405"),
            Self::Key { .. } => report("AR-E406"),
            Self::Signature { .. } => report("AR-E409"),
            Self::BrokenHash { .. } => report("AR-E410")
                .hint("TPMs of the 1.2 generation have such certificates; their maker may have issued another since"),
            Self::SignatureAlgorithm { .. } => report("AR-E411"),
            Self::NotAuthority { .. } => report("AR-E412"),
            Self::PathLength { .. } => report("AR-E413"),
            Self::NameConstraint { .. } => report("AR-E414"),
            Self::Constraint { .. } => report("AR-E415"),
            Self::AuthorityPurpose { .. } => report("AR-E416"),
            Self::OtherMaker { .. } => report("AR-E417"),
            Self::LongPath { .. } => report("AR-E418"),
            Self::ManyCandidates { .. } => report("AR-E419"),
        }
    }
}

fn date(seconds: i64) -> String {
    ASN1Time::from_timestamp(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}
