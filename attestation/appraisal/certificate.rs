//! Certificates of TPM makers and clouds, and what a chain to each root says about a TPM.

use crate::signature::SMALLEST_RSA;
use attest_evidence::Sha256Digest;
use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::time::UnixSeconds;
use attest_evidence::tpm::PublicKey as TpmKey;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use rsa::Pkcs1v15Sign;
use rsa::traits::PublicKeyParts as _;
use rsa::traits::SignatureScheme as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use std::fmt;
use x509_parser::der_parser::{Oid, oid};
use x509_parser::prelude::{FromDer as _, ParsedExtension, X509Certificate};
use x509_parser::public_key::PublicKey;

/// What a TPM is. It follows from the root that its certificate leads to, never from what a host says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TpmClass {
    /// A chip of its own.
    Discrete,
    /// A part of the processor's firmware.
    Firmware,
    /// A cloud's, outside the machine that uses it.
    Virtual,
    /// A program. Also everything that no known root vouches for.
    Software,
}

impl TpmClass {
    /// All classes.
    pub const ALL: [Self; 4] = [Self::Discrete, Self::Firmware, Self::Virtual, Self::Software];

    /// As text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Discrete => "discrete",
            Self::Firmware => "firmware",
            Self::Virtual => "virtual",
            Self::Software => "software",
        }
    }
}

impl fmt::Display for TpmClass {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl std::str::FromStr for TpmClass {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|class| class.as_str() == text)
            .ok_or("a TPM class is `discrete`, `firmware`, `virtual` or `software`")
    }
}

/// The authorities that a broker trusts to vouch for TPMs.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    roots: Vec<(TpmClass, Vec<u8>)>,
    intermediates: Vec<Vec<u8>>,
}

impl Roots {
    /// Trusts a root, DER, to vouch for TPMs of `class`.
    pub fn add_root(&mut self, class: TpmClass, der: Vec<u8>) {
        self.roots.push((class, der));
    }

    /// Makes a certificate known that lies between roots and TPMs. It is trusted only as far as a root
    /// vouches for it.
    pub fn add_intermediate(&mut self, der: Vec<u8>) {
        self.intermediates.push(der);
    }
}

/// A certificate that leads to a trusted root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedEndorsement {
    class: TpmClass,
    key: SubjectKey,
    fingerprint: Sha256Digest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum SubjectKey {
    P256 { x: [u8; 32], y: [u8; 32] },
    Rsa { modulus: Vec<u8>, exponent: u32 },
}

/// Why a certificate is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefused {
    /// Not an X.509 certificate.
    #[error("not an X.509 certificate: {0}")]
    Malformed(String),
    /// Not valid now.
    #[error("the certificate of `{subject}` is valid from {not_before} to {not_after}, and it is {now}")]
    Validity {
        /// Whose.
        subject: String,
        /// Unix time.
        not_before: i64,
        /// Unix time.
        not_after: i64,
        /// Unix time.
        now: UnixSeconds,
    },
    /// No trusted root vouches for it.
    #[error("no trusted root vouches for it; it was issued by `{issuer}`")]
    UnknownIssuer {
        /// Its issuer.
        issuer: String,
    },
    /// It asks to be understood where it isn't.
    #[error("the certificate of `{subject}` has a critical extension {oid} that is not understood")]
    CriticalExtension {
        /// Whose.
        subject: String,
        /// Which.
        oid: String,
    },
    /// It is for something else.
    #[error("the certificate is not for a TPM's {0}")]
    Purpose(&'static str),
    /// Its key is of a kind that can't be activated here.
    #[error("the certificate's key is neither RSA-2048 nor P-256")]
    Key,
}

/// `tcg-kp-EKCertificate` (TCG EK Credential Profile §3.2.16).
const EK_CERTIFICATE: Oid<'static> = oid!(2.23.133.8.1);
/// `id-ecPublicKey` parameters: NIST P-256.
const P256: Oid<'static> = oid!(1.2.840.10045.3.1.7);
/// NIST P-384.
const P384: Oid<'static> = oid!(1.3.132.0.34);
/// Most certificates between a TPM's and a root.
const LONGEST_PATH: usize = 5;

impl VerifiedEndorsement {
    /// Checks an endorsement key's certificate against `roots` at `now`.
    ///
    /// # Errors
    /// See [`CertificateRefused`].
    pub fn verify_ek(der: &[u8], roots: &Roots, now: UnixSeconds) -> Result<Self, CertificateRefused> {
        let leaf = parse(der)?;
        if let Ok(Some(usage)) = leaf.extended_key_usage()
            && !usage.value.other.contains(&EK_CERTIFICATE)
        {
            return Err(CertificateRefused::Purpose("endorsement key"));
        }
        Self::verify(&leaf, roots, now)
    }

    /// Checks a cloud's certificate for an attestation key against `roots` at `now`.
    ///
    /// # Errors
    /// See [`CertificateRefused`].
    pub fn verify_ak(der: &[u8], roots: &Roots, now: UnixSeconds) -> Result<Self, CertificateRefused> {
        let leaf = parse(der)?;
        match leaf.key_usage() {
            Ok(Some(usage)) if !usage.value.digital_signature() => {
                return Err(CertificateRefused::Purpose("attestation key"));
            }
            _ => {}
        }
        Self::verify(&leaf, roots, now)
    }

    fn verify(leaf: &X509Certificate<'_>, roots: &Roots, now: UnixSeconds) -> Result<Self, CertificateRefused> {
        check_dates(leaf, now)?;
        check_extensions(leaf)?;
        let key = subject_key(leaf)?;
        let class = path(leaf, roots, now, LONGEST_PATH)?;
        Ok(Self { class, key, fingerprint: Sha256Digest::of(leaf.tbs_certificate.as_ref()) })
    }

    /// The class that the root stands for.
    pub const fn class(&self) -> TpmClass {
        self.class
    }

    /// Digest of the signed part, to know the certificate again.
    pub const fn fingerprint(&self) -> &Sha256Digest {
        &self.fingerprint
    }

    /// Whether it is a certificate for this key.
    pub fn is_for(&self, key: &TpmKey) -> bool {
        match (&self.key, key) {
            (SubjectKey::P256 { x, y }, TpmKey::P256 { x: key_x, y: key_y }) => x == key_x && y == key_y,
            (SubjectKey::Rsa { modulus, exponent }, TpmKey::Rsa { modulus: n, exponent: e, .. }) => {
                modulus == n && exponent == e
            }
            _ => false,
        }
    }
}

/// TPMs return whole NV indexes: what stands behind the certificate is padding (Part 1 of the EK profile
/// says nothing of it, and makers do it).
fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateRefused> {
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|error| CertificateRefused::Malformed(error.to_string()))?;
    if rest.iter().all(|byte| *byte == 0x00) || rest.iter().all(|byte| *byte == 0xff) {
        Ok(certificate)
    } else {
        Err(CertificateRefused::Malformed(format!("{} bytes behind its end", rest.len())))
    }
}

/// The class of the root that `certificate` leads to.
fn path(
    certificate: &X509Certificate<'_>,
    roots: &Roots,
    now: UnixSeconds,
    longest: usize,
) -> Result<TpmClass, CertificateRefused> {
    let unknown = || CertificateRefused::UnknownIssuer { issuer: certificate.issuer().to_string() };
    for (class, der) in &roots.roots {
        if let Ok(root) = parse(der)
            && issued(&root, certificate)
        {
            check_dates(&root, now)?;
            return Ok(*class);
        }
    }
    if longest == 0 {
        return Err(unknown());
    }
    let mut reason = unknown();
    for der in &roots.intermediates {
        let Ok(issuer) = parse(der) else { continue };
        if issuer.subject().as_raw() == issuer.issuer().as_raw() || !issued(&issuer, certificate) {
            continue;
        }
        let found = check_dates(&issuer, now)
            .and_then(|()| check_extensions(&issuer))
            .and_then(|()| path(&issuer, roots, now, longest - 1));
        match found {
            Ok(class) => return Ok(class),
            Err(refused) => reason = refused,
        }
    }
    Err(reason)
}

/// Whether `issuer` is an authority that signed `certificate`.
fn issued(issuer: &X509Certificate<'_>, certificate: &X509Certificate<'_>) -> bool {
    let authority = matches!(issuer.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca);
    let may_sign = match issuer.key_usage() {
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Ok(None) => true,
        Err(_) => false,
    };
    authority
        && may_sign
        && issuer.subject().as_raw() == certificate.issuer().as_raw()
        && signed_by(issuer, certificate).unwrap_or(false)
}

/// RSA PKCS#1 v1.5 and ECDSA, with SHA-256, SHA-384 and SHA-512 (RFC 4055, RFC 5758).
fn signed_by(issuer: &X509Certificate<'_>, certificate: &X509Certificate<'_>) -> Option<bool> {
    let algorithm = &certificate.signature_algorithm.algorithm;
    if *algorithm != certificate.tbs_certificate.signature.algorithm {
        return Some(false);
    }
    let message = certificate.tbs_certificate.as_ref();
    let signature = certificate.signature_value.as_ref();
    let hash = algorithm.to_id_string();
    let (digest, padding) = match hash.as_str() {
        "1.2.840.113549.1.1.11" => (Sha256::digest(message).to_vec(), Some(Pkcs1v15Sign::new::<rsa::sha2::Sha256>())),
        "1.2.840.113549.1.1.12" => (Sha384::digest(message).to_vec(), Some(Pkcs1v15Sign::new::<rsa::sha2::Sha384>())),
        "1.2.840.113549.1.1.13" => (Sha512::digest(message).to_vec(), Some(Pkcs1v15Sign::new::<rsa::sha2::Sha512>())),
        "1.2.840.10045.4.3.2" => (Sha256::digest(message).to_vec(), None),
        "1.2.840.10045.4.3.3" => (Sha384::digest(message).to_vec(), None),
        "1.2.840.10045.4.3.4" => (Sha512::digest(message).to_vec(), None),
        _ => return None,
    };
    if let Some(padding) = padding {
        let PublicKey::RSA(key) = issuer.public_key().parsed().ok()? else { return Some(false) };
        let exponent = u32::try_from(key.try_exponent().ok()?).ok()?;
        let key = rsa::RsaPublicKey::new(rsa::BigUint::from_bytes_be(key.modulus), exponent.into()).ok()?;
        return Some(key.size() * 8 >= usize::from(SMALLEST_RSA) && padding.verify(&key, &digest, signature).is_ok());
    }
    let PublicKey::EC(point) = issuer.public_key().parsed().ok()? else { return Some(false) };
    let curve = issuer.public_key().algorithm.parameters.as_ref()?.as_oid().ok()?;
    if curve == P256 {
        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point.data()).ok()?;
        Some(key.verify_prehash(&digest, &p256::ecdsa::Signature::from_der(signature).ok()?).is_ok())
    } else if curve == P384 {
        let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(point.data()).ok()?;
        Some(key.verify_prehash(&digest, &p384::ecdsa::Signature::from_der(signature).ok()?).is_ok())
    } else {
        None
    }
}

fn check_dates(certificate: &X509Certificate<'_>, now: UnixSeconds) -> Result<(), CertificateRefused> {
    let validity = certificate.validity();
    let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let moment = i64::try_from(now.0).unwrap_or(i64::MAX);
    if (not_before..=not_after).contains(&moment) {
        Ok(())
    } else {
        Err(CertificateRefused::Validity { subject: certificate.subject().to_string(), not_before, not_after, now })
    }
}

/// Critical extensions must be among those that the checks here take into account. The subject's alternative
/// name is critical in EK certificates, whose subject is empty: it holds the maker's names.
fn check_extensions(certificate: &X509Certificate<'_>) -> Result<(), CertificateRefused> {
    for extension in certificate.extensions().iter().filter(|extension| extension.critical) {
        let understood = matches!(
            extension.parsed_extension(),
            ParsedExtension::BasicConstraints(_)
                | ParsedExtension::KeyUsage(_)
                | ParsedExtension::ExtendedKeyUsage(_)
                | ParsedExtension::SubjectAlternativeName(_)
        );
        if !understood {
            let subject = certificate.subject().to_string();
            return Err(CertificateRefused::CriticalExtension { subject, oid: extension.oid.to_id_string() });
        }
    }
    Ok(())
}

fn subject_key(certificate: &X509Certificate<'_>) -> Result<SubjectKey, CertificateRefused> {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => {
            let exponent = key.try_exponent().ok().and_then(|exponent| u32::try_from(exponent).ok());
            let modulus = key.modulus.iter().copied().skip_while(|byte| *byte == 0).collect();
            exponent.map(|exponent| SubjectKey::Rsa { modulus, exponent }).ok_or(CertificateRefused::Key)
        }
        Ok(PublicKey::EC(point)) => {
            let coordinates = point.data().strip_prefix(&[4]).and_then(|rest| rest.split_first_chunk::<32>());
            match coordinates {
                Some((x, y)) if y.len() == 32 => {
                    let y = <[u8; 32]>::try_from(y).map_err(|_| CertificateRefused::Key)?;
                    Ok(SubjectKey::P256 { x: *x, y })
                }
                _ => Err(CertificateRefused::Key),
            }
        }
        _ => Err(CertificateRefused::Key),
    }
}

impl Explain for CertificateRefused {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Identity, self.to_string());
        match self {
            Self::Malformed(_) => report("AR-E401"),
            Self::Validity { .. } => report("AR-E402").hint("is the broker's clock right?"),
            Self::UnknownIssuer { .. } => report("AR-E403")
                .hint("the broker's admin may add its maker's root: `attest-broker root add --class CLASS FILE`"),
            Self::CriticalExtension { .. } => report("AR-E404"),
            Self::Purpose(_) => report("AR-E405"),
            Self::Key => report("AR-E406"),
        }
    }
}
