//! Attestation keys, in the files that people have.

use super::QuotingKey;
use crate::key::{AttestationKey, HashPolicy, KeyRefused};
use attest_evidence::tpm::PublicKey;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

impl QuotingKey {
    /// Reads a key out of a file: PEM or DER of a certificate or a public key, `TPMT_PUBLIC`, or `TPM2B_PUBLIC`.
    ///
    /// # Errors
    /// See [`KeyRefused`]. A public area has to be that of an attestation key; of a bare key nobody knows.
    pub fn read(file: &[u8], policy: HashPolicy) -> Result<Self, KeyRefused> {
        if file.trim_ascii_start().starts_with(b"-----BEGIN ") {
            let (_, pem) = parse_x509_pem(file).map_err(|_| KeyRefused::File)?;
            return match pem.label.as_str() {
                "CERTIFICATE" => of_certificate(&pem.contents),
                "PUBLIC KEY" => of_spki(&pem.contents),
                _ => Err(KeyRefused::File),
            };
        }
        match file {
            // SEQUENCE: nothing that a TPM writes begins so.
            [0x30, ..] => of_certificate(file).or_else(|_| of_spki(file)),
            // `TPM2B_PUBLIC`: its length, then `TPMT_PUBLIC`.
            [high, low, public @ ..] if usize::from(u16::from_be_bytes([*high, *low])) == public.len() => {
                AttestationKey::check_by(public, policy).map(Self::Restricted)
            }
            public => AttestationKey::check_by(public, policy).map(Self::Restricted),
        }
    }
}

fn of_certificate(der: &[u8]) -> Result<QuotingKey, KeyRefused> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| KeyRefused::File)?;
    of_spki(certificate.public_key().raw)
}

fn of_spki(der: &[u8]) -> Result<QuotingKey, KeyRefused> {
    let key = PublicKey::from_spki(der).ok_or(KeyRefused::Algorithm)?;
    if matches!(key, PublicKey::Rsa { bits, .. } if bits < crate::signature::SMALLEST_RSA) {
        return Err(KeyRefused::Algorithm);
    }
    Ok(QuotingKey::Bare(key))
}
