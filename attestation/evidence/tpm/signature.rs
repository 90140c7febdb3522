//! `TPMT_SIGNATURE` (Part 2 §11.3.4).

use super::scheme::{SigningAlgorithm, SigningScheme};
use crate::bytes::{Malformed, Problem, Reader};

/// Largest scalar: of P-521.
const LONGEST_SCALAR: u16 = 66;
/// Largest RSA signature: of 4096 bits.
const LONGEST_RSA: u16 = 512;

/// A signature and what it says of itself.
///
/// The verifier compares the scheme with that of the key: what a signature says of itself chooses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature<'a> {
    /// By which scheme it says that it was made.
    pub scheme: SigningScheme,
    /// The signature itself.
    pub value: SignatureValue<'a>,
}

/// The bytes of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureValue<'a> {
    /// `TPMS_SIGNATURE_ECDSA` (§11.3.2): scalars, big-endian. A TPM may leave leading zeros out.
    Ecdsa {
        /// r.
        r: &'a [u8],
        /// s.
        s: &'a [u8],
    },
    /// `TPMS_SIGNATURE_RSASSA` and `TPMS_SIGNATURE_RSAPSS` (§11.3.1), as long as the modulus.
    Rsa(&'a [u8]),
}

impl<'a> Signature<'a> {
    /// Reads one whole `TPMT_SIGNATURE`.
    ///
    /// # Errors
    /// Refuses other schemes and hashes than those of [`SigningScheme`], and bytes missing or left over.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("TPMT_SIGNATURE", bytes);
        let at_scheme = reader.clone();
        let Some(scheme) = SigningScheme::read(&mut reader)? else {
            let wanted = "ECDSA (0x18), RSASSA (0x14) or RSAPSS (0x16) is wanted";
            return Err(at_scheme.malformed(Problem::Value { field: "sigAlg", value: 0x10, wanted }));
        };
        let value = match scheme.algorithm {
            SigningAlgorithm::Ecdsa => SignatureValue::Ecdsa {
                r: reader.sized_u16("signatureR", LONGEST_SCALAR)?,
                s: reader.sized_u16("signatureS", LONGEST_SCALAR)?,
            },
            SigningAlgorithm::RsaSsa | SigningAlgorithm::RsaPss => {
                SignatureValue::Rsa(reader.sized_u16("sig", LONGEST_RSA)?)
            }
        };
        reader.end()?;
        Ok(Self { scheme, value })
    }

    /// The inverse of [`Signature::parse`].
    ///
    /// Returns `None` when a part does not fit its length.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        self.scheme.put(&mut out);
        match self.value {
            SignatureValue::Ecdsa { r, s } => {
                crate::bytes::put_sized_u16(&mut out, r)?;
                crate::bytes::put_sized_u16(&mut out, s)?;
            }
            SignatureValue::Rsa(bytes) => crate::bytes::put_sized_u16(&mut out, bytes)?,
        }
        Some(out)
    }
}

/// A big-endian number in exactly `N` bytes, leading zeros added; `None` where it has more.
pub fn fixed<const N: usize>(number: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    out.get_mut(N.checked_sub(number.len())?..)?.copy_from_slice(number);
    Some(out)
}
