//! Public keys of certificates.

use super::CertificateRefused;
use crate::signature::SMALLEST_RSA;
use attest_evidence::tpm::Parameters;
use rsa::{BigUint, RsaPublicKey};
use std::fmt;
use x509_parser::der_parser::{Oid, oid};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::RSAPublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

const RSA: Oid<'static> = oid!(1.2.840.113549.1.1.1);
/// RSA that only encrypts. Makers gave it to endorsement keys of the 1.2 generation, and some of 2.0.
const RSAES_OAEP: Oid<'static> = oid!(1.2.840.113549.1.1.7);
/// RSA that only signs, by PSS.
const RSASSA_PSS: Oid<'static> = oid!(1.2.840.113549.1.1.10);
const EC: Oid<'static> = oid!(1.2.840.10045.2.1);
const P256: Oid<'static> = oid!(1.2.840.10045.3.1.7);
const P384: Oid<'static> = oid!(1.3.132.0.34);
const P521: Oid<'static> = oid!(1.3.132.0.35);

/// A key that signs certificates.
#[derive(Debug)]
pub(super) enum IssuerKey {
    Rsa { key: RsaPublicKey, pss_only: bool },
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    P521(p521::ecdsa::VerifyingKey),
}

impl IssuerKey {
    /// `None` for a key that isn't valid, is too weak, or can't sign.
    pub(super) fn of(info: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        let kind = &info.algorithm.algorithm;
        if *kind == RSA || *kind == RSASSA_PSS {
            let (modulus, exponent) = rsa(info)?;
            let key = RsaPublicKey::new(BigUint::from_bytes_be(modulus), exponent.into()).ok()?;
            return (bits(modulus) >= usize::from(SMALLEST_RSA))
                .then_some(Self::Rsa { key, pss_only: *kind == RSASSA_PSS });
        }
        let (curve, point) = point(info)?;
        if curve == P256 {
            p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok().map(Self::P256)
        } else if curve == P384 {
            p384::ecdsa::VerifyingKey::from_sec1_bytes(point).ok().map(Self::P384)
        } else if curve == P521 {
            p521::ecdsa::VerifyingKey::from_sec1_bytes(point).ok().map(Self::P521)
        } else {
            None
        }
    }
}

/// The key of a TPM that a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EndorsedKey {
    P256 { x: [u8; 32], y: [u8; 32] },
    P384 { x: [u8; 48], y: [u8; 48] },
    Rsa { modulus: Vec<u8>, exponent: u32 },
}

impl EndorsedKey {
    pub(super) fn of(info: &SubjectPublicKeyInfo<'_>) -> Result<Self, CertificateRefused> {
        let kind = &info.algorithm.algorithm;
        let refused = |found: String| CertificateRefused::Key { found };
        if [RSA, RSASSA_PSS, RSAES_OAEP].contains(kind) {
            let (modulus, exponent) = rsa(info).ok_or_else(|| refused("malformed RSA".to_owned()))?;
            RsaPublicKey::new(BigUint::from_bytes_be(modulus), exponent.into())
                .ok()
                .filter(|_| bits(modulus) >= usize::from(SMALLEST_RSA))
                .ok_or_else(|| refused(format!("RSA of {} bits with exponent {exponent}", bits(modulus))))?;
            return Ok(Self::Rsa { modulus: modulus.to_vec(), exponent });
        }
        let (curve, point) = point(info).ok_or_else(|| refused(format!("of kind {}", kind.to_id_string())))?;
        let off_curve = || refused("not a point of its curve".to_owned());
        if curve == P256 {
            p256::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(|_| off_curve())?;
            let (x, y) = coordinates(point).ok_or_else(off_curve)?;
            Ok(Self::P256 { x, y })
        } else if curve == P384 {
            p384::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(|_| off_curve())?;
            let (x, y) = coordinates(point).ok_or_else(off_curve)?;
            Ok(Self::P384 { x, y })
        } else {
            Err(refused(format!("over curve {}", curve.to_id_string())))
        }
    }

    pub(super) fn is(&self, parameters: &Parameters) -> bool {
        match (self, parameters) {
            (Self::P256 { x, y }, Parameters::P256 { x: key_x, y: key_y, .. }) => x == key_x && y == key_y,
            (Self::Rsa { modulus, exponent }, Parameters::Rsa { modulus: n, exponent: e, .. }) => {
                modulus == n && exponent == e
            }
            _ => false,
        }
    }

    pub(super) const fn agrees(&self) -> bool {
        !matches!(self, Self::Rsa { .. })
    }
}

impl fmt::Display for EndorsedKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::P256 { .. } => out.write_str("P-256"),
            Self::P384 { .. } => out.write_str("P-384"),
            Self::Rsa { modulus, .. } => write!(out, "RSA-{}", bits(modulus)),
        }
    }
}

/// Modulus without leading zeros, and exponent.
fn rsa<'a>(info: &'a SubjectPublicKeyInfo<'_>) -> Option<(&'a [u8], u32)> {
    let (rest, key) = RSAPublicKey::from_der(&info.subject_public_key.data).ok()?;
    let exponent = key.try_exponent().ok().and_then(|exponent| u32::try_from(exponent).ok())?;
    let zeros = key.modulus.iter().take_while(|byte| **byte == 0).count();
    (rest.is_empty() && key.modulus.first()? & 0x80 == 0).then_some((key.modulus.get(zeros..)?, exponent))
}

fn bits(modulus: &[u8]) -> usize {
    modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize)
}

/// Curve and uncompressed point.
fn point<'a>(info: &'a SubjectPublicKeyInfo<'_>) -> Option<(Oid<'a>, &'a [u8])> {
    let curve = info.algorithm.parameters.as_ref()?.as_oid().ok()?;
    (info.algorithm.algorithm == EC).then_some((curve, info.subject_public_key.data.as_ref()))
}

fn coordinates<const N: usize>(point: &[u8]) -> Option<([u8; N], [u8; N])> {
    let (x, y) = point.strip_prefix(&[4])?.split_first_chunk::<N>()?;
    Some((*x, y.try_into().ok()?))
}
