//! Evidence, reference values and a time in; a verdict or a named refusal out.
//!
//! No I/O, no clock, no C. Each judgement is a type whose one constructor is the code that judged:
//!
//! * [`AttestationKey`]: a public area that a quote may be believed from;
//! * [`VerifiedEndorsement`]: a certificate that leads to one of the [`Roots`], and the [`TpmClass`] that root
//!   stands for;
//! * [`VerifiedQuote`]: a quote by that key, for this request, over exactly these PCRs;
//! * [`CertifiedKey`]: another key of that TPM, that can't leave it;
//! * [`ci::VerifiedToken`]: what a CI system has said of a job;
//! * [`AppraisedHost`]: the machine behind it. The broker grants nothing without one;
//! * [`ear::VerifiedEar`]: what a verifier, ours or another, has concluded and signed.
#![warn(clippy::indexing_slicing)]

pub mod boot;
mod certificate;
mod certified;
pub mod ci;
pub mod ear;
mod endorsement;
mod host;
mod jws;
mod key;
mod key_attestation;
mod log;
mod measurements;
mod quote;
mod roots;
pub mod signature;

pub use certificate::{
    CertificateRefused, Manufacturer, Specification, StoredCertificate, TpmClass, TpmDescription, VerifiedEndorsement,
};
pub use certified::{CertificationRefused, CertifiedKey, RawCertification};
pub use endorsement::{EndorsementRefused, ProvenEndorsement};
pub use host::{
    AppraisedHost, Continuity, ContinuityRefused, EnrolledRunner, HostEvidence, HostRefused, MeasuredSoFar, Purpose,
    QuotedHost,
};
pub use key::{AttestationKey, HashPolicy, KeyRefused};
pub use key_attestation::{BrokerAuthority, KeyAttestationRefused, VerifiedKeyAttestation};
pub use log::{Accounted, LogRefused};
pub use measurements::{BootCounts, Checkpoint, Followed, Measurements, MeasurementsRefused};
pub use quote::{
    LoneQuote, MeasuredList, ParsedQuote, QuoteRefused, QuotingKey, RawQuote, VerifiedLoneQuote, VerifiedQuote,
};
pub use roots::Roots;
