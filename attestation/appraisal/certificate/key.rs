//! Public keys of certificates.

use super::CertificateRefused;
use crate::signature::SMALLEST_RSA;
use attest_evidence::tpm::PublicKey;
use rsa::{BigUint, RsaPublicKey};
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
pub(super) fn endorsed_key(info: &SubjectPublicKeyInfo<'_>) -> Result<PublicKey, CertificateRefused> {
    let kind = &info.algorithm.algorithm;
    let refused = |found: String| CertificateRefused::Key { found };
    if [RSA, RSASSA_PSS, RSAES_OAEP].contains(kind) {
        let (modulus, exponent) = rsa(info).ok_or_else(|| refused("malformed RSA".to_owned()))?;
        let bits = bits(modulus);
        RsaPublicKey::new(BigUint::from_bytes_be(modulus), exponent.into())
            .ok()
            .filter(|_| bits >= usize::from(SMALLEST_RSA))
            .and_then(|_| u16::try_from(bits).ok())
            .map(|bits| PublicKey::Rsa { bits, exponent, modulus: modulus.to_vec() })
            .ok_or_else(|| refused(format!("RSA of {bits} bits with exponent {exponent}")))
    } else {
        let (curve, point) = point(info).ok_or_else(|| refused(format!("of kind {}", kind.to_id_string())))?;
        let off_curve = || refused("not a point of its curve".to_owned());
        if curve == P256 {
            p256::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(|_| off_curve())?;
            let (x, y) = coordinates(point).ok_or_else(off_curve)?;
            Ok(PublicKey::P256 { x, y })
        } else if curve == P384 {
            p384::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(|_| off_curve())?;
            let (x, y) = coordinates(point).ok_or_else(off_curve)?;
            Ok(PublicKey::P384 { x, y })
        } else {
            Err(refused(format!("over curve {}", curve.to_id_string())))
        }
    }
}

/// Whether it agrees on secrets, as curves do, rather than encrypting them.
pub(super) const fn agrees(key: &PublicKey) -> bool {
    !matches!(key, PublicKey::Rsa { .. })
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
