//! Signature schemes: what a key signs by.

use super::algorithm;
use crate::bytes::{Malformed, Problem, Reader};
use crate::hash::HashAlgorithm;
use std::fmt;

/// How a key signs (`TPMI_ALG_SIG_SCHEME`, Part 2 §9.35).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SigningAlgorithm {
    /// ECDSA (FIPS 186-5).
    Ecdsa,
    /// RSASSA-PKCS1-v1_5 (RFC 8017 §8.2).
    RsaSsa,
    /// RSASSA-PSS (RFC 8017 §8.1).
    RsaPss,
}

/// A signing algorithm with its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SigningScheme {
    /// How it signs.
    pub algorithm: SigningAlgorithm,
    /// What it hashes with.
    pub hash: HashAlgorithm,
}

impl SigningAlgorithm {
    /// As TCG documents spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ecdsa => "ECDSA",
            Self::RsaSsa => "RSASSA",
            Self::RsaPss => "RSAPSS",
        }
    }

    const fn from_id(id: u16) -> Option<Self> {
        match id {
            algorithm::ECDSA => Some(Self::Ecdsa),
            algorithm::RSASSA => Some(Self::RsaSsa),
            algorithm::RSAPSS => Some(Self::RsaPss),
            _ => None,
        }
    }

    pub(super) const fn id(self) -> u16 {
        match self {
            Self::Ecdsa => algorithm::ECDSA,
            Self::RsaSsa => algorithm::RSASSA,
            Self::RsaPss => algorithm::RSAPSS,
        }
    }
}

impl SigningScheme {
    /// What the keys of this project sign by.
    pub const ECDSA_SHA256: Self = Self::new(SigningAlgorithm::Ecdsa, HashAlgorithm::Sha256);

    /// A scheme.
    pub const fn new(algorithm: SigningAlgorithm, hash: HashAlgorithm) -> Self {
        Self { algorithm, hash }
    }

    /// `TPMT_SIG_SCHEME+` (Part 2 §11.2.1.4): none, or a scheme with its hash.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Option<Self>, Malformed> {
        let at = reader.clone();
        let id = reader.u16()?;
        if id == algorithm::NULL {
            return Ok(None);
        }
        let Some(algorithm) = SigningAlgorithm::from_id(id) else {
            let wanted = "ECDSA (0x18), RSASSA (0x14), RSAPSS (0x16) or none (0x10) is wanted";
            return Err(at.malformed(Problem::Value { field: "scheme", value: id.into(), wanted }));
        };
        let at = reader.clone();
        let id = reader.u16()?;
        let Some(hash) = HashAlgorithm::from_id(id) else {
            let wanted = "SHA-1 (4), SHA-256 (0xb), SHA-384 (0xc) or SHA-512 (0xd) is wanted";
            return Err(at.malformed(Problem::Value { field: "hash", value: id.into(), wanted }));
        };
        Ok(Some(Self { algorithm, hash }))
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        out.extend(self.algorithm.id().to_be_bytes());
        out.extend(self.hash.id().to_be_bytes());
    }
}

impl fmt::Display for SigningScheme {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} with {}", self.algorithm.as_str(), self.hash)
    }
}
