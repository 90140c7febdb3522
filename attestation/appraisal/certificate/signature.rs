//! Signatures on certificates: RSA PKCS#1 v1.5 and PSS (RFC 4055), ECDSA (RFC 5758), with SHA-256, SHA-384 and SHA-512.

use super::key::IssuerKey;
use super::{CertificateRefused, shown};
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use rsa::traits::SignatureScheme as _;
use rsa::{Pkcs1v15Sign, Pss};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::{Oid, oid};
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::AlgorithmIdentifier;

const RSASSA_PSS: Oid<'static> = oid!(1.2.840.113549.1.1.10);
const SHA1: Oid<'static> = oid!(1.3.14.3.2.26);
const MGF1: Oid<'static> = oid!(1.2.840.113549.1.1.8);

/// How a certificate says that it is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scheme {
    padding: Padding,
    hash: Hash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Padding {
    Pkcs1,
    Pss {
        salt: usize,
    },
    /// No padding: ECDSA.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// Signatures that prove nothing any more: collisions are for sale.
const BROKEN: [(Oid<'static>, &str); 6] = [
    (oid!(1.2.840.113549.1.1.2), "MD2 and RSA"),
    (oid!(1.2.840.113549.1.1.4), "MD5 and RSA"),
    (oid!(1.2.840.113549.1.1.5), "SHA-1 and RSA"),
    (oid!(1.3.14.3.2.29), "SHA-1 and RSA"),
    (oid!(1.2.840.10045.4.1), "SHA-1 and ECDSA"),
    (oid!(1.2.840.10040.4.3), "SHA-1 and DSA"),
];

const SCHEMES: [(Oid<'static>, Padding, Hash); 6] = [
    (oid!(1.2.840.113549.1.1.11), Padding::Pkcs1, Hash::Sha256),
    (oid!(1.2.840.113549.1.1.12), Padding::Pkcs1, Hash::Sha384),
    (oid!(1.2.840.113549.1.1.13), Padding::Pkcs1, Hash::Sha512),
    (oid!(1.2.840.10045.4.3.2), Padding::None, Hash::Sha256),
    (oid!(1.2.840.10045.4.3.3), Padding::None, Hash::Sha384),
    (oid!(1.2.840.10045.4.3.4), Padding::None, Hash::Sha512),
];

const HASHES: [(Oid<'static>, Hash); 3] = [
    (oid!(2.16.840.1.101.3.4.2.1), Hash::Sha256),
    (oid!(2.16.840.1.101.3.4.2.2), Hash::Sha384),
    (oid!(2.16.840.1.101.3.4.2.3), Hash::Sha512),
];

impl Scheme {
    /// The scheme that a certificate names, outside of its signed part and inside alike.
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Result<Self, CertificateRefused> {
        let named = &certificate.signature_algorithm;
        let refused =
            |algorithm: String| CertificateRefused::SignatureAlgorithm { subject: shown(certificate), algorithm };
        if *named != certificate.tbs_certificate.signature {
            return Err(refused("one algorithm, as it says inside, and with another, as it says outside".to_owned()));
        }
        if let Some((_, algorithm)) = BROKEN.iter().find(|(broken, _)| *broken == named.algorithm) {
            return Err(CertificateRefused::BrokenHash { subject: shown(certificate), algorithm });
        }
        if named.algorithm == RSASSA_PSS {
            let parameters = pss_parameters(named).ok_or_else(|| refused("PSS of malformed parameters".to_owned()))?;
            if *parameters.hash_algorithm_oid() == SHA1 {
                return Err(CertificateRefused::BrokenHash { subject: shown(certificate), algorithm: "SHA-1 and PSS" });
            }
            return pss(&parameters).ok_or_else(|| refused("PSS of an odd kind".to_owned()));
        }
        SCHEMES
            .iter()
            .find(|(scheme, ..)| *scheme == named.algorithm)
            .map(|(_, padding, hash)| Self { padding: *padding, hash: *hash })
            .ok_or_else(|| refused(named.algorithm.to_id_string()))
    }

    /// Whether `key` has signed `certificate` in this way.
    pub(super) fn verify(self, key: &IssuerKey, certificate: &X509Certificate<'_>) -> bool {
        if certificate.signature_value.unused_bits != 0 {
            return false;
        }
        let message = certificate.tbs_certificate.as_ref();
        let signature = certificate.signature_value.as_ref();
        let digest = match self.hash {
            Hash::Sha256 => Sha256::digest(message).to_vec(),
            Hash::Sha384 => Sha384::digest(message).to_vec(),
            Hash::Sha512 => Sha512::digest(message).to_vec(),
        };
        match (key, self.padding) {
            (IssuerKey::Rsa { key, pss_only: false }, Padding::Pkcs1) => match self.hash {
                Hash::Sha256 => Pkcs1v15Sign::new::<rsa::sha2::Sha256>().verify(key, &digest, signature),
                Hash::Sha384 => Pkcs1v15Sign::new::<rsa::sha2::Sha384>().verify(key, &digest, signature),
                Hash::Sha512 => Pkcs1v15Sign::new::<rsa::sha2::Sha512>().verify(key, &digest, signature),
            }
            .is_ok(),
            (IssuerKey::Rsa { key, .. }, Padding::Pss { salt }) => match self.hash {
                Hash::Sha256 => Pss::new_with_salt::<rsa::sha2::Sha256>(salt).verify(key, &digest, signature),
                Hash::Sha384 => Pss::new_with_salt::<rsa::sha2::Sha384>(salt).verify(key, &digest, signature),
                Hash::Sha512 => Pss::new_with_salt::<rsa::sha2::Sha512>(salt).verify(key, &digest, signature),
            }
            .is_ok(),
            (IssuerKey::P256(key), Padding::None) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()),
            (IssuerKey::P384(key), Padding::None) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()),
            (IssuerKey::P521(key), Padding::None) => p521::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()),
            _ => false,
        }
    }
}

fn pss_parameters<'a>(algorithm: &'a AlgorithmIdentifier<'_>) -> Option<RsaSsaPssParams<'a>> {
    RsaSsaPssParams::try_from(algorithm.parameters.as_ref()?).ok()
}

/// PSS with one hash function for the message and for the mask, as RFC 4055 §3.1 recommends and everybody does.
fn pss(parameters: &RsaSsaPssParams<'_>) -> Option<Scheme> {
    let mask = parameters.mask_gen_algorithm().ok()?;
    let (_, hash) = HASHES.into_iter().find(|(hash, _)| hash == parameters.hash_algorithm_oid())?;
    let same = mask.mgf == MGF1 && mask.hash == *parameters.hash_algorithm_oid() && parameters.trailer_field() == 1;
    let salt = usize::try_from(parameters.salt_length()).ok()?;
    same.then_some(Scheme { padding: Padding::Pss { salt }, hash })
}
