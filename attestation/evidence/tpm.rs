//! What a TPM says, in the bytes it says it in (TCG TPM 2.0 Library, Part 2: Structures, revision 1.59).
//!
//! Parsers here accept exactly one structure and nothing behind it. They take the algorithms this project
//! believes in and refuse the others by name; `attest-appraisal` decides what a structure proves.

mod attest;
mod banks;
mod credential;
mod pcr;
mod policy;
mod public;
mod scheme;
mod signature;
mod spki;

pub use attest::{Attest, Attested, BankSelection, Certified, ClockInfo, QuoteInfo, TimeInfo};
pub use banks::PcrBanks;
pub use credential::{Credential, CredentialError, make_credential};
pub use pcr::{PcrIndex, PcrSelection, PcrSelectionError, PcrValues};
pub use policy::{KeyPolicy, NONCE, PcrState, authority_public, authorization, expiration};
pub use public::{Attributes, Protection, Public, PublicKey, TpmName};
pub use scheme::{SigningAlgorithm, SigningScheme};
pub use signature::{Signature, SignatureValue, fixed};

/// Algorithm identifiers (Part 2 §6.3, `TPM_ALG_ID`).
pub mod algorithm {
    /// RSA.
    pub const RSA: u16 = 0x0001;
    /// SHA-1, to read old logs and to name it in a refusal.
    pub const SHA1: u16 = 0x0004;
    /// AES.
    pub const AES: u16 = 0x0006;
    /// A keyed hash object: an HMAC key or sealed data.
    pub const KEYEDHASH: u16 = 0x0008;
    /// SHA-256.
    pub const SHA256: u16 = 0x000b;
    /// SHA-384.
    pub const SHA384: u16 = 0x000c;
    /// SHA-512.
    pub const SHA512: u16 = 0x000d;
    /// None.
    pub const NULL: u16 = 0x0010;
    /// RSASSA-PKCS1-v1_5.
    pub const RSASSA: u16 = 0x0014;
    /// RSASSA-PSS.
    pub const RSAPSS: u16 = 0x0016;
    /// ECDSA.
    pub const ECDSA: u16 = 0x0018;
    /// Elliptic curves.
    pub const ECC: u16 = 0x0023;
    /// CFB mode.
    pub const CFB: u16 = 0x0043;
}

/// `TPM_ECC_NIST_P256` (Part 2 §6.4).
pub const CURVE_P256: u16 = 0x0003;
/// `TPM_ECC_NIST_P384`.
pub const CURVE_P384: u16 = 0x0004;
