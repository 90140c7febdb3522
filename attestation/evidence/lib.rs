//! Formats of attestation evidence and of the exchange between agent and broker.
//!
//! Everything in this crate turns bytes into typed values, once and strictly, or says at which offset they
//! are wrong. It judges nothing: whether evidence is good enough is the business of `attest-appraisal`. It
//! does no I/O, starts no thread, holds no C code and trusts no length it reads.
//!
//! The way through it, from the outside in:
//!
//! * [`exchange`]: the messages of one exchange. [`exchange::Exchange::parse`] yields the challenge, the
//!   [`exchange::Request`] that the quote covers, and the raw evidence.
//! * [`tpm`]: what a TPM says: `TPMS_ATTEST`, `TPMT_SIGNATURE`, `TPMT_PUBLIC`, PCR selections.
//! * [`eventlog`]: what firmware says it measured at boot.
//! * [`uefi`]: what firmware measures into the event log: variables, signature databases, partitions, images.
//! * [`ima`]: the kernel's list of what it measured, and its replay up to a quoted PCR value.
//! * [`json`]: JSON whose members come once.
//! * [`measurement`]: the statement about a build environment.
//! * [`name`], [`digest`], [`hash`], [`time`], [`secret`]: the words all crates share.
//! * [`report`]: how an error reaches a person: a code, what happened, the facts, what to do.
#![warn(clippy::indexing_slicing)]

pub mod bytes;
pub mod digest;
pub mod eventlog;
pub mod exchange;
pub mod hash;
pub mod ima;
pub mod json;
pub mod key_attestation;
pub mod measurement;
pub mod name;
pub mod report;
pub mod secret;
pub mod time;
pub mod tpm;
pub mod uefi;

pub use bytes::{Malformed, Problem};
pub use digest::Sha256Digest;
pub use hash::{Digest, HashAlgorithm};
pub use secret::SecretBytes;
pub use time::UnixSeconds;
