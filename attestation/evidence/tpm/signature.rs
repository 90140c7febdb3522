//! `TPMT_SIGNATURE` (Part 2 §11.3.4).

use crate::bytes::{Malformed, Problem, Reader};
use crate::tpm::algorithm;

/// A signature with SHA-256, of a scheme that this project believes in.
///
/// The verifier compares the scheme with that of the key: what a signature says of itself chooses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature<'a> {
    /// ECDSA over P-256: r and s, 32 bytes each, big-endian (`TPMS_SIGNATURE_ECDSA`, §11.3.2).
    EcdsaP256 {
        /// r, then s.
        r_s: [u8; 64],
    },
    /// RSASSA-PKCS1-v1_5 (`TPMS_SIGNATURE_RSASSA`, §11.3.1).
    RsaSsa {
        /// The signature, as long as the modulus.
        bytes: &'a [u8],
    },
    /// RSASSA-PSS.
    RsaPss {
        /// The signature, as long as the modulus.
        bytes: &'a [u8],
    },
}

impl<'a> Signature<'a> {
    /// Reads one whole `TPMT_SIGNATURE`.
    ///
    /// # Errors
    /// Refuses other schemes, every hash but SHA-256, scalars above 32 bytes, and bytes missing or left over.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("TPMT_SIGNATURE", bytes);
        let at_scheme = reader.clone();
        let scheme = reader.u16()?;
        reader.expect_u16("hash", algorithm::SHA256, "TPM_ALG_SHA256 (0xb) is wanted")?;
        let signature = match scheme {
            algorithm::ECDSA => {
                let mut r_s = [0; 64];
                let (r, s) = r_s.split_at_mut(32);
                scalar(&mut reader, "signatureR", r)?;
                scalar(&mut reader, "signatureS", s)?;
                Self::EcdsaP256 { r_s }
            }
            algorithm::RSASSA => Self::RsaSsa { bytes: reader.sized_u16("sig", 512)? },
            algorithm::RSAPSS => Self::RsaPss { bytes: reader.sized_u16("sig", 512)? },
            other => {
                return Err(at_scheme.malformed(Problem::Value {
                    field: "sigAlg",
                    value: other.into(),
                    wanted: "ECDSA (0x18), RSASSA (0x14) or RSAPSS (0x16) is wanted",
                }));
            }
        };
        reader.end()?;
        Ok(signature)
    }

    /// Name of the scheme, for a refusal.
    pub const fn scheme(&self) -> &'static str {
        match self {
            Self::EcdsaP256 { .. } => "ECDSA",
            Self::RsaSsa { .. } => "RSASSA",
            Self::RsaPss { .. } => "RSAPSS",
        }
    }
}

/// A scalar of at most 32 bytes; a TPM may leave leading zeros out.
fn scalar(reader: &mut Reader<'_>, field: &'static str, out: &mut [u8]) -> Result<(), Malformed> {
    let bytes = reader.sized_u16(field, 32)?;
    let start = out.len().saturating_sub(bytes.len());
    if let Some(place) = out.get_mut(start..) {
        place.copy_from_slice(bytes);
    }
    Ok(())
}
