//! Evidence, reference values and a time in; a verdict or a named refusal out.
//!
//! No I/O, no clock, no C. Each judgement is a type whose one constructor is the code that judged:
//!
//! * [`AttestationKey`]: a public area that a quote may be believed from;
//! * [`VerifiedEndorsement`]: a certificate that leads to one of the [`Roots`], and the [`TpmClass`] that root
//!   stands for;
//! * [`VerifiedQuote`]: a quote by that key, for this request, over exactly these PCRs;
//! * [`ci::VerifiedToken`]: what a CI system has said of a job;
//! * [`AppraisedHost`]: the machine behind it. The broker grants nothing without one.
#![warn(clippy::indexing_slicing)]

mod certificate;
pub mod ci;
mod endorsement;
mod host;
mod key;
mod quote;
mod roots;
mod signature;

pub use certificate::{
    CertificateRefused, Manufacturer, Specification, StoredCertificate, TpmClass, TpmDescription, VerifiedEndorsement,
};
pub use endorsement::{EndorsementRefused, ProvenEndorsement};
pub use host::{AppraisedHost, EnrolledRunner, HostRefused, Purpose};
pub use key::{AttestationKey, KeyRefused};
pub use quote::{ParsedQuote, QuoteRefused, RawQuote, VerifiedQuote};
pub use roots::Roots;
