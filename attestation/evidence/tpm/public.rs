//! `TPMT_PUBLIC`: the public area of a key, and the Name that stands for it (Part 2 §12.2.4, Part 1 §16).

use crate::bytes::{Malformed, Problem, Reader};
use crate::digest::{BadHex, Sha256Digest, hex_array, to_hex};
use crate::hash::{Digest, HashAlgorithm};
use crate::tpm::scheme::{SigningAlgorithm, SigningScheme};
use crate::tpm::signature::fixed;
use crate::tpm::{CURVE_P256, CURVE_P384, algorithm};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `TPMA_OBJECT` (Part 2 §8.3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Attributes(u32);

impl Attributes {
    /// The hierarchy of the object can't change.
    pub const FIXED_TPM: Self = Self(1 << 1);
    /// The parent of the object can't change.
    pub const FIXED_PARENT: Self = Self(1 << 4);
    /// The TPM made the sensitive part.
    pub const SENSITIVE_DATA_ORIGIN: Self = Self(1 << 5);
    /// The authorization value opens it.
    pub const USER_WITH_AUTH: Self = Self(1 << 6);
    /// Only a policy allows administration.
    pub const ADMIN_WITH_POLICY: Self = Self(1 << 7);
    /// Exempt from dictionary-attack protection.
    pub const NO_DA: Self = Self(1 << 10);
    /// Uses only what the TPM made or knows the form of.
    pub const RESTRICTED: Self = Self(1 << 16);
    /// May decrypt.
    pub const DECRYPT: Self = Self(1 << 17);
    /// May sign.
    pub const SIGN: Self = Self(1 << 18);

    const NAMES: [(Self, &'static str); 9] = [
        (Self::FIXED_TPM, "fixedTPM"),
        (Self::FIXED_PARENT, "fixedParent"),
        (Self::SENSITIVE_DATA_ORIGIN, "sensitiveDataOrigin"),
        (Self::USER_WITH_AUTH, "userWithAuth"),
        (Self::ADMIN_WITH_POLICY, "adminWithPolicy"),
        (Self::NO_DA, "noDA"),
        (Self::RESTRICTED, "restricted"),
        (Self::DECRYPT, "decrypt"),
        (Self::SIGN, "sign"),
    ];

    /// Bits that say nothing and have to be zero. What a TPM to come will mean by one, nobody here could hold against a key.
    /// Bits 8 and 9 are `firmwareLimited` and `svnLimited` since version 1.83 of the library.
    const RESERVED: Self = Self(0xfff0_f009);

    /// `TPMA_OBJECT`.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those of `wanted` that are not set.
    #[must_use]
    pub const fn missing(self, wanted: Self) -> Self {
        Self(wanted.0 & !self.0)
    }

    /// Whether none is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut separator = "";
        for (bit, name) in Self::NAMES {
            if self.contains(bit) {
                write!(out, "{separator}{name}")?;
                separator = " ";
                rest &= !bit.0;
            }
        }
        if rest != 0 {
            write!(out, "{separator}{rest:#x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

/// The Name of an object: the hash algorithm and the digest of its public area (Part 1 §16.3).
///
/// Only SHA-256 Names: 34 bytes. As text: lower-case hexadecimal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TpmName([u8; 34]);

impl TpmName {
    /// The Name of the object with this `TPMT_PUBLIC`.
    pub fn of(public: &[u8]) -> Self {
        let mut name = [0; 34];
        let (algorithm, digest) = name.split_at_mut(2);
        algorithm.copy_from_slice(&algorithm::SHA256.to_be_bytes());
        digest.copy_from_slice(Sha256Digest::of(public).as_bytes());
        Self(name)
    }

    /// A Name as a TPM gives it.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().filter(|name: &[u8; 34]| name.starts_with(&algorithm::SHA256.to_be_bytes())).map(Self)
    }

    /// The Name of the object whose public area has this digest, if that is one of SHA-256.
    pub fn from_digest(digest: &Digest) -> Option<Self> {
        let algorithm = digest.algorithm().id().to_be_bytes();
        Self::from_bytes(&[&algorithm, digest.as_bytes()].concat())
    }

    /// The 34 bytes.
    pub const fn as_bytes(&self) -> &[u8; 34] {
        &self.0
    }
}

impl fmt::Display for TpmName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for TpmName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl TryFrom<String> for TpmName {
    type Error = BadHex;

    fn try_from(text: String) -> Result<Self, BadHex> {
        hex_array::<34>(&text).and_then(|bytes| Self::from_bytes(&bytes).ok_or(BadHex { wanted: 68 }))
    }
}

impl std::str::FromStr for TpmName {
    type Err = BadHex;

    fn from_str(text: &str) -> Result<Self, BadHex> {
        Self::try_from(text.to_owned())
    }
}

impl From<TpmName> for String {
    fn from(name: TpmName) -> Self {
        name.to_string()
    }
}

/// A public area. Only keys: P-256, P-384 and RSA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    /// Digest of the bytes, by the area's own hash: the Name without its algorithm (Part 1 §16.3).
    pub name: Digest,
    /// What the TPM lets the key do.
    pub attributes: Attributes,
    /// Digest of the policy that opens it; empty for none.
    pub policy: Vec<u8>,
    /// Whether it is a storage or endorsement key, and what protects the keys under it.
    pub protection: Protection,
    /// The scheme it is bound to, if any.
    pub scheme: Option<SigningScheme>,
    /// Curve point or modulus.
    pub key: PublicKey,
}

/// How a parent key protects its children: AES in CFB mode, or not at all (`TPMT_SYM_DEF_OBJECT+`, Part 2 §11.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// It has none.
    None,
    /// AES-128-CFB.
    Aes128,
    /// AES-256-CFB.
    Aes256,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// A point of NIST P-256. Whether it lies on the curve is checked where it is used.
    P256 {
        /// Affine x, 32 bytes, big-endian.
        x: [u8; 32],
        /// Affine y.
        y: [u8; 32],
    },
    /// A point of NIST P-384.
    P384 {
        /// Affine x, 48 bytes, big-endian.
        x: [u8; 48],
        /// Affine y.
        y: [u8; 48],
    },
    /// An RSA key.
    Rsa {
        /// Bits of the modulus.
        bits: u16,
        /// Public exponent.
        exponent: u32,
        /// Modulus, big-endian.
        modulus: Vec<u8>,
    },
}

impl PublicKey {
    /// What kind of key, for people.
    pub fn kind(&self) -> String {
        match self {
            Self::P256 { .. } => "P-256".to_owned(),
            Self::P384 { .. } => "P-384".to_owned(),
            Self::Rsa { bits, .. } => format!("RSA-{bits}"),
        }
    }
}

impl Public {
    /// Reads one whole `TPMT_PUBLIC` of a P-256, P-384 or RSA key.
    ///
    /// # Errors
    /// Refuses other types, curves, hashes, symmetric algorithms and schemes, and bytes missing or left over. Whether
    /// the point lies on the curve is checked where the key is used.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("TPMT_PUBLIC", bytes);
        let at_type = reader.clone();
        let kind = reader.u16()?;
        let at_hash = reader.clone();
        let hash = reader.u16()?;
        let Some(hash) = HashAlgorithm::from_id(hash) else {
            let wanted = "SHA-1 (4), SHA-256 (0xb), SHA-384 (0xc) or SHA-512 (0xd) is wanted";
            return Err(at_hash.malformed(Problem::Value { field: "nameAlg", value: hash.into(), wanted }));
        };
        let at_attributes = reader.clone();
        let attributes = Attributes(reader.u32()?);
        if attributes.0 & Attributes::RESERVED.0 != 0 {
            let wanted = "has bits that are reserved (Part 2 §8.3)";
            let problem = Problem::Value { field: "objectAttributes", value: attributes.0.into(), wanted };
            return Err(at_attributes.malformed(problem));
        }
        let policy = reader.sized_u16("authPolicy", 64)?.to_vec();
        let (protection, scheme, key) = match kind {
            algorithm::ECC => {
                let protection = Protection::read(&mut reader)?;
                let scheme = scheme(&mut reader, &[SigningAlgorithm::Ecdsa])?;
                let at_curve = reader.clone();
                let curve = reader.u16()?;
                reader.expect_u16("kdf", algorithm::NULL, "TPM_ALG_NULL (0x10) is wanted")?;
                let key = match curve {
                    CURVE_P256 => {
                        PublicKey::P256 { x: coordinate(&mut reader, "x")?, y: coordinate(&mut reader, "y")? }
                    }
                    CURVE_P384 => {
                        PublicKey::P384 { x: coordinate(&mut reader, "x")?, y: coordinate(&mut reader, "y")? }
                    }
                    other => {
                        let wanted = "TPM_ECC_NIST_P256 (3) or TPM_ECC_NIST_P384 (4) is wanted";
                        let problem = Problem::Value { field: "curveID", value: other.into(), wanted };
                        return Err(at_curve.malformed(problem));
                    }
                };
                (protection, scheme, key)
            }
            algorithm::RSA => {
                let protection = Protection::read(&mut reader)?;
                let scheme = scheme(&mut reader, &[SigningAlgorithm::RsaSsa, SigningAlgorithm::RsaPss])?;
                let bits = reader.u16()?;
                let exponent = match reader.u32()? {
                    0 => 65537, // the default exponent (Part 2 §12.2.3.5)
                    other => other,
                };
                let at_modulus = reader.clone();
                let modulus = reader.sized_u16("unique.rsa", 512)?.to_vec();
                if modulus.len() * 8 != usize::from(bits) {
                    let wanted = "must be the length of the modulus";
                    let problem = Problem::Value { field: "keyBits", value: bits.into(), wanted };
                    return Err(at_modulus.malformed(problem));
                }
                (protection, scheme, PublicKey::Rsa { bits, exponent, modulus })
            }
            other => {
                let wanted = "TPM_ALG_ECC (0x23) or TPM_ALG_RSA (1) is wanted";
                return Err(at_type.malformed(Problem::Value { field: "type", value: other.into(), wanted }));
            }
        };
        reader.end()?;
        Ok(Self { name: hash.hash(bytes), attributes, policy, protection, scheme, key })
    }

    /// Its Name, where that is one of SHA-256.
    pub fn tpm_name(&self) -> Option<TpmName> {
        TpmName::from_digest(&self.name)
    }
}

impl Protection {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let at = reader.clone();
        match reader.u16()? {
            algorithm::NULL => Ok(Self::None),
            algorithm::AES => {
                let at = reader.clone();
                let bits = reader.u16()?;
                reader.expect_u16("symmetric.mode", algorithm::CFB, "TPM_ALG_CFB (0x43) is wanted")?;
                match bits {
                    128 => Ok(Self::Aes128),
                    256 => Ok(Self::Aes256),
                    other => {
                        let wanted = "128 or 256 is wanted";
                        Err(at.malformed(Problem::Value { field: "symmetric.keyBits", value: other.into(), wanted }))
                    }
                }
            }
            other => {
                let wanted = "TPM_ALG_NULL (0x10) or TPM_ALG_AES (6) is wanted";
                Err(at.malformed(Problem::Value { field: "symmetric", value: other.into(), wanted }))
            }
        }
    }
}

/// `TPMT_ECC_SCHEME` or `TPMT_RSA_SCHEME`: none, or one of `known`.
fn scheme(reader: &mut Reader<'_>, known: &[SigningAlgorithm]) -> Result<Option<SigningScheme>, Malformed> {
    let at = reader.clone();
    let scheme = SigningScheme::read(reader)?;
    match scheme {
        Some(scheme) if !known.contains(&scheme.algorithm) => {
            let wanted = "a scheme of the key's own kind is wanted";
            Err(at.malformed(Problem::Value { field: "scheme", value: scheme.algorithm.id().into(), wanted }))
        }
        _ => Ok(scheme),
    }
}

fn coordinate<const N: usize>(reader: &mut Reader<'_>, field: &'static str) -> Result<[u8; N], Malformed> {
    let most = u16::try_from(N).unwrap_or(u16::MAX);
    let bytes = reader.sized_u16(field, most)?;
    fixed(bytes).ok_or_else(|| reader.malformed(Problem::Text("a coordinate that does not fit its curve")))
}
