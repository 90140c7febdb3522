//! The hash algorithms of PCR banks, logs and signatures.

use crate::digest::to_hex;
use crate::tpm::algorithm;
use data_encoding::HEXLOWER_PERMISSIVE;
use std::fmt;

/// A hash algorithm (`TPMI_ALG_HASH`, TPM 2.0 Part 2 §9.27).
///
/// SHA-1 is here to read old logs. Nothing that rests on it alone is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlgorithm {
    /// SHA-1: 20 bytes.
    Sha1,
    /// SHA-256: 32 bytes.
    Sha256,
    /// SHA-384: 48 bytes.
    Sha384,
    /// SHA-512: 64 bytes.
    Sha512,
}

/// Text or a number that names no [`HashAlgorithm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash algorithm is `sha1`, `sha256`, `sha384` or `sha512`")]
pub struct UnknownHash;

impl HashAlgorithm {
    /// All algorithms, from the weakest.
    pub const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];
    /// The size of the largest digest, in bytes.
    pub const LARGEST: usize = 64;

    /// The algorithm with this `TPM_ALG_ID`.
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            algorithm::SHA1 => Some(Self::Sha1),
            algorithm::SHA256 => Some(Self::Sha256),
            algorithm::SHA384 => Some(Self::Sha384),
            algorithm::SHA512 => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Its `TPM_ALG_ID`.
    pub const fn id(self) -> u16 {
        match self {
            Self::Sha1 => algorithm::SHA1,
            Self::Sha256 => algorithm::SHA256,
            Self::Sha384 => algorithm::SHA384,
            Self::Sha512 => algorithm::SHA512,
        }
    }

    /// Bytes of a digest.
    pub const fn size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// As `tpm2-tools` spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Whether collisions can be made, so that nothing may rest on it.
    pub const fn is_weak(self) -> bool {
        matches!(self, Self::Sha1)
    }

    /// The digest of `bytes`.
    pub fn hash(self, bytes: &[u8]) -> Digest {
        self.hash_parts([bytes])
    }

    /// The digest of all `parts`, one after the other and nothing between them.
    pub fn hash_parts<'a>(self, parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
        fn of<'a, H: sha2::Digest>(parts: impl IntoIterator<Item = &'a [u8]>) -> sha2::digest::Output<H> {
            let mut hash = H::new();
            for part in parts {
                hash.update(part);
            }
            hash.finalize()
        }
        match self {
            Self::Sha1 => Digest::new(self, &of::<sha1::Sha1>(parts)),
            Self::Sha256 => Digest::new(self, &of::<sha2::Sha256>(parts)),
            Self::Sha384 => Digest::new(self, &of::<sha2::Sha384>(parts)),
            Self::Sha512 => Digest::new(self, &of::<sha2::Sha512>(parts)),
        }
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl std::str::FromStr for HashAlgorithm {
    type Err = UnknownHash;

    fn from_str(text: &str) -> Result<Self, UnknownHash> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text).ok_or(UnknownHash)
    }
}

/// A digest together with its algorithm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: HashAlgorithm,
    /// Zero behind the digest's size, so that equality may look at all of it.
    bytes: [u8; HashAlgorithm::LARGEST],
}

impl Digest {
    fn new(algorithm: HashAlgorithm, digest: &[u8]) -> Self {
        let mut bytes = [0; HashAlgorithm::LARGEST];
        for (place, byte) in bytes.iter_mut().zip(digest) {
            *place = *byte;
        }
        Self { algorithm, bytes }
    }

    /// A digest that something else computed, if it has the size of one.
    pub fn from_bytes(algorithm: HashAlgorithm, bytes: &[u8]) -> Option<Self> {
        (bytes.len() == algorithm.size()).then(|| Self::new(algorithm, bytes))
    }

    /// A digest of zeros: what most PCRs start from (Part 1 §17.7).
    pub const fn zero(algorithm: HashAlgorithm) -> Self {
        Self { algorithm, bytes: [0; HashAlgorithm::LARGEST] }
    }

    /// Its algorithm.
    pub const fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// The bytes, as many as the algorithm has.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.algorithm.size()).unwrap_or_default()
    }

    /// `TPM2_PCR_Extend`: the digest of this value and `digest` (Part 1 §17.4).
    #[must_use]
    pub fn extended(&self, digest: &[u8]) -> Self {
        self.algorithm.hash_parts([self.as_bytes(), digest])
    }
}

/// Not a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is `ALGORITHM:HEX`, such as `sha256:…` with 64 digits")]
pub struct BadDigest;

/// A digest with its algorithm, as `sha512:HEX`.
impl std::str::FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let (algorithm, digits) = text.split_once(':').ok_or(BadDigest)?;
        let algorithm = algorithm.parse().map_err(|_| BadDigest)?;
        let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map_err(|_| BadDigest)?;
        Self::from_bytes(algorithm, &bytes).ok_or(BadDigest)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&to_hex(self.as_bytes()))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{self}", self.algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_know_their_size_and_their_algorithm() {
        // FIPS 180-4, "abc".
        let sha1 = HashAlgorithm::Sha1.hash(b"abc");
        assert_eq!(sha1.to_string(), "a9993e364706816aba3e25717850c26c9cd0d89d");
        let sha384 = HashAlgorithm::Sha384.hash_parts([&b"a"[..], b"bc"]);
        assert!(sha384.to_string().starts_with("cb00753f45a35e8bb5a03d699ac65007"));
        assert_eq!(sha384.as_bytes().len(), 48);
        assert_eq!(format!("sha384:{sha384}").parse(), Ok(sha384));
        for wrong in ["", "sha384", "sha256:", "md5:00"] {
            assert_eq!(wrong.parse::<Digest>(), Err(BadDigest));
        }
        assert_eq!(format!("sha256:{sha384}").parse::<Digest>(), Err(BadDigest));
        for algorithm in HashAlgorithm::ALL {
            assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
            assert_eq!(HashAlgorithm::from_id(algorithm.id()), Some(algorithm));
            assert_eq!(Digest::from_bytes(algorithm, &vec![1; algorithm.size() + 1]), None);
            let extended = Digest::zero(algorithm).extended(&[7]);
            assert_eq!(extended, algorithm.hash(&[vec![0; algorithm.size()], vec![7]].concat()));
        }
    }
}
