//! Certificates as they lie in files and TPMs.

use super::CertificateRefused;
use x509_parser::pem::Pem;

/// The longest file that certificates are read from, in bytes: a whole chain is 10 KB.
const LONGEST_FILE: usize = 1 << 20;
/// The most certificates in one file.
const MOST_CERTIFICATES: usize = 64;
/// `TCPA_TAG_STORED_CERT` and the type of a whole certificate, then a length of two bytes, then
/// `TCPA_TAG_FULL_CERT`: how TPMs of the 1.2 generation keep a certificate in NV (TCG PC Client Specific
/// Implementation Specification for Conventional BIOS 1.2 §7.3.2).
const STORED_CERT: [u8; 3] = [0x10, 0x01, 0x00];
const FULL_CERT: [u8; 2] = [0x10, 0x02];

/// One certificate out of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCertificate {
    /// X.509, DER, and behind it whatever the file has there: see [`super::VerifiedEndorsement::verify_ek`].
    pub der: Vec<u8>,
    /// Whether it stood behind the header of a TPM 1.2.
    pub tpm12_header: bool,
}

impl StoredCertificate {
    /// Reads what may be PEM, DER, or what a TPM's NV index holds. In PEM there may be several.
    ///
    /// The header of the 1.2 generation is taken off: it is unambiguous, and nothing that counts depends on it. What
    /// came behind it is verified like any other.
    ///
    /// # Errors
    /// [`CertificateRefused::Malformed`].
    pub fn read(bytes: &[u8]) -> Result<Vec<Self>, CertificateRefused> {
        let malformed = |what: &str| CertificateRefused::Malformed(what.to_owned());
        if bytes.len() > LONGEST_FILE {
            return Err(malformed("the file is longer than 1 MiB"));
        }
        let pem = !bytes.starts_with(&[0x30, 0x82]) && bytes.windows(10).any(|window| window == b"-----BEGIN");
        if !pem {
            let (der, tpm12_header) = without_header(bytes);
            return Ok(vec![Self { der: der.to_vec(), tpm12_header }]);
        }
        let mut certificates = Vec::new();
        for block in Pem::iter_from_buffer(bytes) {
            let block = block.map_err(|error| CertificateRefused::Malformed(format!("PEM: {error}")))?;
            if block.label == "CERTIFICATE" {
                certificates.push(Self { der: block.contents, tpm12_header: false });
            }
            if certificates.len() > MOST_CERTIFICATES {
                return Err(malformed("the file holds more than 64 certificates"));
            }
        }
        if certificates.is_empty() { Err(malformed("PEM without a certificate")) } else { Ok(certificates) }
    }
}

fn without_header(bytes: &[u8]) -> (&[u8], bool) {
    let inside = bytes.strip_prefix(&STORED_CERT).and_then(|rest| rest.split_first_chunk::<2>());
    match inside {
        Some((length, rest)) => {
            let length = usize::from(u16::from_be_bytes(*length));
            let held = rest.get(..length).unwrap_or(rest);
            held.strip_prefix(&FULL_CERT).map_or((bytes, false), |certificate| (certificate, true))
        }
        None => (bytes, false),
    }
}
