//! What was concluded, in the form that others read: EAT Attestation Results (draft-ietf-rats-ear) with the
//! trustworthiness vector of AR4SI (draft-ietf-rats-ar4si), as JSON in a signed JWT.
//!
//! The verifier's way: [`TrustVector`] of one attester → [`Appraisal`], whose status is computed → [`Ear`] →
//! [`Ear::sign`]. The reader's way: text → [`UnverifiedEar`] → [`VerifiedEar`], by a key that the reader has already.
//! Neither way leads to a status that is better than the claims below it, and what nobody claims is not affirmed.
//!
//! The draft has renamed its claims on its way. [`Profile`] says which names a claims set has; nothing else here
//! depends on it.

mod appraisal;
mod claims;
mod extensions;
mod json;
mod key;
mod profile;
mod refused;
#[cfg(test)]
mod tests;
mod token;
mod vector;

pub use appraisal::Appraisal;
pub use claims::{Ear, EatNonce, VerifierId};
pub use extensions::{EvidenceDigests, Extensions};
pub use key::{EarAlgorithm, EarKey};
pub use profile::Profile;
pub use refused::{EarRefused, Problem};
pub use token::{UnverifiedEar, VerifiedEar};
pub use vector::{
    Configuration, Executables, FileSystem, Hardware, InstanceIdentity, RuntimeOpaque, SourcedData, StandardClaim,
    StorageOpaque, TrustAspect, TrustClaim, TrustTier, TrustVector,
};
