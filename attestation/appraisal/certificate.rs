//! Certificates of TPM makers and clouds, and what a chain to each root says about a TPM.
//!
//! The way through: a certificate is read, from a file ([`StoredCertificate`]) or as a TPM's NV index holds it; it has
//! to be for the right kind of key ([`extensions`]); and it has to lead to one of the [`Roots`] ([`path`]), by
//! signatures ([`signature`]) of authorities that may give them. Revocation is not asked for: that needs a network, and
//! makers of TPMs revoke authorities, which are then taken out of `roots/`.

mod class;
mod constraints;
mod der;
mod extensions;
mod key;
mod maker;
pub(crate) mod name;
mod path;
mod refused;
mod signature;
mod stored;

pub use class::TpmClass;
pub use maker::{Manufacturer, Specification, TpmDescription};
pub use refused::CertificateRefused;
pub use stored::StoredCertificate;

use crate::roots::Roots;
use attest_evidence::Sha256Digest;
use attest_evidence::time::UnixSeconds;
use attest_evidence::tpm::PublicKey;
use extensions::Purpose;
use key::endorsed_key;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// A certificate that leads to a trusted root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedEndorsement {
    class: TpmClass,
    key: PublicKey,
    fingerprint: Sha256Digest,
    description: TpmDescription,
    chain: Vec<String>,
    valid_until: UnixSeconds,
}

impl VerifiedEndorsement {
    /// Checks an endorsement key's certificate against `roots` at `now`.
    ///
    /// `der` may have bytes of 0x00 or 0xff behind the certificate: TPMs return whole NV indexes, and makers write
    /// certificates into larger ones.
    ///
    /// # Errors
    /// See [`CertificateRefused`].
    pub fn verify_ek(der: &[u8], roots: &Roots, now: UnixSeconds) -> Result<Self, CertificateRefused> {
        Self::verify(der, Purpose::Endorsement, roots, now)
    }

    /// Checks a cloud's certificate for an attestation key against `roots` at `now`.
    ///
    /// # Errors
    /// See [`CertificateRefused`].
    pub fn verify_ak(der: &[u8], roots: &Roots, now: UnixSeconds) -> Result<Self, CertificateRefused> {
        Self::verify(der, Purpose::Attestation, roots, now)
    }

    fn verify(der: &[u8], purpose: Purpose, roots: &Roots, now: UnixSeconds) -> Result<Self, CertificateRefused> {
        let leaf = parse(der)?;
        // What no date and no root would change comes first.
        signature::Scheme::of(&leaf)?;
        extensions::check_extensions(&leaf)?;
        let key = endorsed_key(leaf.public_key())?;
        purpose.check(&leaf, &key)?;
        check_dates(&leaf, now)?;
        let fingerprint = Sha256Digest::of(leaf.as_raw());
        let description = TpmDescription::of(&leaf);
        let path = path::find(leaf, roots, now)?;
        // Without the last one: a root has no dates that matter.
        let below_root = path.certificates.split_last().map_or(&[][..], |(_, below)| below);
        let until = below_root.iter().map(|certificate| certificate.validity().not_after.timestamp()).min();
        Ok(Self {
            class: path.class,
            key,
            fingerprint,
            description,
            chain: path.certificates.iter().map(shown).collect(),
            valid_until: UnixSeconds(until.and_then(|until| u64::try_from(until).ok()).unwrap_or(0)),
        })
    }

    /// The class that the root stands for.
    pub const fn class(&self) -> TpmClass {
        self.class
    }

    /// SHA-256 of the certificate, without what stands behind it.
    pub const fn fingerprint(&self) -> &Sha256Digest {
        &self.fingerprint
    }

    /// What the certificate says of its TPM.
    pub const fn description(&self) -> &TpmDescription {
        &self.description
    }

    /// The kind of key that it is for: `RSA-2048`, `P-256`, `P-384`, …
    pub fn key(&self) -> String {
        self.key.kind()
    }

    /// Whose certificates lead to the root, from the TPM's to the root's, for people. A TPM's has no subject; its
    /// alternative name stands for it.
    pub fn chain(&self) -> &[String] {
        &self.chain
    }

    /// Until when all of the chain under the root is valid.
    pub const fn valid_until(&self) -> UnixSeconds {
        self.valid_until
    }

    /// Whether it is a certificate for this key.
    pub fn is_for(&self, key: &PublicKey) -> bool {
        self.key == *key
    }
}

/// Reads DER, and says in words why it can't be read.
pub(crate) fn read(der: &[u8]) -> Result<(&[u8], X509Certificate<'_>), CertificateRefused> {
    use x509_parser::{asn1_rs, error::X509Error, nom::Err};
    X509Certificate::from_der(der).map_err(|error| {
        CertificateRefused::Malformed(match error {
            Err::Incomplete(_) | Err::Error(X509Error::Der(asn1_rs::Error::Incomplete(_))) => {
                "it is cut off".to_owned()
            }
            Err::Error(X509Error::Der(_) | X509Error::NomError(_))
            | Err::Failure(X509Error::Der(_) | X509Error::NomError(_)) => "it is no DER of that structure".to_owned(),
            Err::Error(error) | Err::Failure(error) => error.to_string(),
        })
    })
}

/// Reads a certificate, and leaves what stands behind it: the padding of an NV index, or a line's end.
fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateRefused> {
    let (rest, certificate) = read(der)?;
    if !is_framed(certificate.as_raw()).unwrap_or(false) {
        return Err(CertificateRefused::Malformed("what is around its signed part is not DER".to_owned()));
    }
    let padding = |byte| rest.iter().all(|other| *other == byte);
    if padding(0x00) || padding(0xff) || rest == b"\n" {
        Ok(certificate)
    } else {
        Err(CertificateRefused::Malformed(format!("{} bytes behind its end", rest.len())))
    }
}

/// Whether all that no signature covers has the one form that it can have: the headers, the algorithm, which is the one
/// in the signed part byte for byte, and the header of the signature. The parser takes more than that, and then a
/// certificate that somebody changed would still be that certificate, and have another fingerprint.
fn is_framed(certificate: &[u8]) -> Option<bool> {
    let mut parts = der::elements(der::only(der::SEQUENCE, certificate)?);
    let (signed, algorithm, signature) = (parts.next()??, parts.next()??, parts.next()??);
    let inside = der::elements(signed.content).flatten().find(|field| field.tag == der::SEQUENCE)?;
    let tags = signed.tag == der::SEQUENCE && signature.tag == der::BIT_STRING;
    Some(tags && algorithm.whole == inside.whole && signature.content.first() == Some(&0) && parts.next().is_none())
}

fn check_dates(certificate: &X509Certificate<'_>, now: UnixSeconds) -> Result<(), CertificateRefused> {
    let validity = certificate.validity();
    let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let moment = i64::try_from(now.0).unwrap_or(i64::MAX);
    if (not_before..=not_after).contains(&moment) {
        Ok(())
    } else {
        Err(CertificateRefused::Validity { subject: shown(certificate), not_before, not_after, now })
    }
}

/// The class of the root that an authority leads to, which may itself vouch for TPMs. For tests of what ships.
#[cfg(test)]
pub(crate) fn leads_to(der: &[u8], roots: &Roots, now: UnixSeconds) -> Result<TpmClass, CertificateRefused> {
    let authority = parse(der)?;
    check_dates(&authority, now)?;
    extensions::check_extensions(&authority)?;
    extensions::check_authority(&authority, 0)?;
    path::find(authority, roots, now).map(|path| path.class)
}

/// Whether a certificate's own key has signed it, so that it counts. For tests of what ships.
#[cfg(test)]
pub(crate) fn signed_by_itself(der: &[u8]) -> bool {
    parse(der).is_ok_and(|certificate| {
        let key = key::IssuerKey::of(certificate.public_key());
        let scheme = signature::Scheme::of(&certificate);
        scheme.is_ok_and(|scheme| key.is_some_and(|key| scheme.verify(&key, &certificate)))
    })
}

/// Whose certificate it is, for people.
fn shown(certificate: &X509Certificate<'_>) -> String {
    let subject = name::show(certificate.subject());
    if !subject.is_empty() {
        return subject;
    }
    let alternative = certificate.subject_alternative_name().ok().flatten();
    alternative
        .iter()
        .flat_map(|names| &names.value.general_names)
        .find_map(|name| match name {
            GeneralName::DirectoryName(name) => Some(name::show(name)),
            _ => None,
        })
        .unwrap_or_else(|| format!("serial number {}", certificate.raw_serial_as_string()))
}
