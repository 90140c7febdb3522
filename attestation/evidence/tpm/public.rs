//! `TPMT_PUBLIC`: the public area of a key, and the Name that stands for it (Part 2 §12.2.4, Part 1 §16).

use crate::bytes::{Malformed, Problem, Reader};
use crate::digest::{BadHex, Sha256Digest, hex_array, to_hex};
use crate::tpm::{CURVE_P256, algorithm};
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

/// A public area with its Name. Only keys: P-256 and RSA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    /// The Name that follows from the bytes.
    pub name: TpmName,
    /// What the TPM lets the key do.
    pub attributes: Attributes,
    /// Digest of the policy that opens it; empty for none.
    pub policy: Vec<u8>,
    /// Whether it is a storage or endorsement key, with AES-128-CFB to protect what is under it.
    pub protects: bool,
    /// Curve or modulus, and scheme.
    pub parameters: Parameters,
}

/// The parameters and the public point or modulus of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameters {
    /// A key over NIST P-256.
    P256 {
        /// Whether it signs by ECDSA with SHA-256 only; otherwise it has no scheme of its own.
        ecdsa: bool,
        /// Affine x, 32 bytes, big-endian.
        x: [u8; 32],
        /// Affine y.
        y: [u8; 32],
    },
    /// An RSA key.
    Rsa {
        /// The scheme it is bound to, if any: [`algorithm::RSASSA`] or [`algorithm::RSAPSS`], with SHA-256.
        scheme: Option<u16>,
        /// Bits of the modulus.
        bits: u16,
        /// Public exponent.
        exponent: u32,
        /// Modulus, big-endian.
        modulus: Vec<u8>,
    },
}

impl Public {
    /// Reads one whole `TPMT_PUBLIC` of a P-256 or RSA key with a SHA-256 Name.
    ///
    /// # Errors
    /// Refuses other types, curves, Name algorithms, symmetric algorithms and schemes, and bytes missing or
    /// left over. Whether the point lies on the curve is checked where the key is used.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("TPMT_PUBLIC", bytes);
        let at_type = reader.clone();
        let kind = reader.u16()?;
        reader.expect_u16("nameAlg", algorithm::SHA256, "TPM_ALG_SHA256 (0xb) is wanted")?;
        let attributes = Attributes(reader.u32()?);
        let policy = reader.sized_u16("authPolicy", 64)?.to_vec();
        let (protects, parameters) = match kind {
            algorithm::ECC => {
                let protects = symmetric(&mut reader)?;
                let ecdsa = scheme(&mut reader, &[algorithm::ECDSA])?.is_some();
                reader.expect_u16("curveID", CURVE_P256, "TPM_ECC_NIST_P256 (3) is wanted")?;
                reader.expect_u16("kdf", algorithm::NULL, "TPM_ALG_NULL (0x10) is wanted")?;
                (
                    protects,
                    Parameters::P256 { ecdsa, x: coordinate(&mut reader, "x")?, y: coordinate(&mut reader, "y")? },
                )
            }
            algorithm::RSA => {
                let protects = symmetric(&mut reader)?;
                let scheme = scheme(&mut reader, &[algorithm::RSASSA, algorithm::RSAPSS])?;
                let bits = reader.u16()?;
                let exponent = match reader.u32()? {
                    0 => 65537, // the default exponent (Part 2 §12.2.3.5)
                    other => other,
                };
                let at_modulus = reader.clone();
                let modulus = reader.sized_u16("unique.rsa", 512)?.to_vec();
                if modulus.len() * 8 != usize::from(bits) {
                    let problem = Problem::Value {
                        field: "keyBits",
                        value: bits.into(),
                        wanted: "must be the length of the modulus",
                    };
                    return Err(at_modulus.malformed(problem));
                }
                (protects, Parameters::Rsa { scheme, bits, exponent, modulus })
            }
            other => {
                let wanted = "TPM_ALG_ECC (0x23) or TPM_ALG_RSA (1) is wanted";
                return Err(at_type.malformed(Problem::Value { field: "type", value: other.into(), wanted }));
            }
        };
        reader.end()?;
        Ok(Self { name: TpmName::of(bytes), attributes, policy, protects, parameters })
    }
}

/// `TPMT_SYM_DEF_OBJECT+`: none, or AES-128 in CFB mode (Part 2 §11.1.7).
fn symmetric(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    let at = reader.clone();
    match reader.u16()? {
        algorithm::NULL => Ok(false),
        algorithm::AES => {
            reader.expect_u16("symmetric.keyBits", 128, "128 is wanted")?;
            reader.expect_u16("symmetric.mode", algorithm::CFB, "TPM_ALG_CFB (0x43) is wanted")?;
            Ok(true)
        }
        other => {
            let wanted = "TPM_ALG_NULL (0x10) or TPM_ALG_AES (6) is wanted";
            Err(at.malformed(Problem::Value { field: "symmetric", value: other.into(), wanted }))
        }
    }
}

/// `TPMT_ECC_SCHEME` or `TPMT_RSA_SCHEME`: none, or one of `known` with SHA-256.
fn scheme(reader: &mut Reader<'_>, known: &[u16]) -> Result<Option<u16>, Malformed> {
    let at = reader.clone();
    match reader.u16()? {
        algorithm::NULL => Ok(None),
        scheme if known.contains(&scheme) => {
            reader.expect_u16("scheme.hash", algorithm::SHA256, "TPM_ALG_SHA256 (0xb) is wanted")?;
            Ok(Some(scheme))
        }
        other => {
            let wanted = "ECDSA, RSASSA or RSAPSS with SHA-256, or none, is wanted";
            Err(at.malformed(Problem::Value { field: "scheme", value: other.into(), wanted }))
        }
    }
}

fn coordinate(reader: &mut Reader<'_>, field: &'static str) -> Result<[u8; 32], Malformed> {
    let bytes = reader.sized_u16(field, 32)?;
    let mut out = [0; 32];
    if let Some(place) = out.get_mut(32 - bytes.len()..) {
        place.copy_from_slice(bytes);
    }
    Ok(out)
}
