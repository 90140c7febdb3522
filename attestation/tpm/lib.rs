//! The TPM of this machine, and nobody else's business.
//!
//! The only crate that links libtss2 and libtpms. [`Tpm`] is a handle to the one thread that owns the TPM;
//! what runs there sees a [`Device`], whose methods are the operations this project needs:
//!
//! | what | how |
//! |---|---|
//! | [`Device::endorsement`] | EK and its certificate |
//! | [`Device::create_attestation_key`], [`Device::use_attestation_key`] | the AK, under the EK, persistent |
//! | [`Device::certified_attestation_key`] | the AK of a cloud's virtual TPM, with its certificate |
//! | [`Device::activate`] | proof that AK and EK share a TPM |
//! | [`Device::quote`] | signed PCR values |
//! | [`Device::create_signing_key`], [`Device::sign`], [`Device::certify`] | P-256 keys that never leave |
//! | [`Device::create_leased_key`], [`Device::begin_lease`], [`Device::open_lease`], [`Device::sign_leased`] | the same, for as long as a broker has signed |
//! | [`Device::create_derivation_key`], [`Device::derive`] | HMAC keys that never leave |
//! | [`Device::lend`], [`Device::borrowed`] | the TPM in the hands of a process that ends with its secrets |
//! | [`Device::seal`], [`Device::unseal`] | bytes that only this boot state opens |
//!
//! Sessions and transient objects are closed on every path, also when a command fails.

mod device;
mod error;
mod library_log;
mod thread;
mod transport;

pub use device::{
    AttestationKey, AwaitingSession, Credentials, DerivationKey, Device, Endorsed, Handles, KeyTicket, Opening,
    QuoteOutput, Sealed, SigningKey, StoredKey,
};
pub use error::TpmError;
pub use library_log::silence_library_log;
pub use thread::Tpm;
pub use transport::{Embedded, Lent, LentKind, SessionProtection, Transport, TransportError, serve_embedded};
