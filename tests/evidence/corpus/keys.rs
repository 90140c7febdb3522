//! Attestation keys in software, to sign what no TPM would. Their private halves are published with the corpus.
//!
//! Every signature comes out the same each time: ECDSA by RFC 6979, RSASSA as it is, RSAPSS with one salt for all.

use super::stored;
use attest_evidence::HashAlgorithm;
use attest_evidence::bytes::put_sized_u16;
use attest_evidence::tpm::{CURVE_P256, CURVE_P384, algorithm};
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::pkcs8::DecodePrivateKey as _;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use rsa::{BigUint, Pss, RsaPrivateKey};

/// `fixedTPM fixedParent sensitiveDataOrigin userWithAuth restricted sign`.
pub(crate) const ATTRIBUTES: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 16 | 1 << 18;
const SHA256: HashAlgorithm = HashAlgorithm::Sha256;

/// A key whose private half the test has.
pub(crate) enum TestKey {
    P256(Box<p256::ecdsa::SigningKey>),
    P384(Box<p384::ecdsa::SigningKey>),
    /// With the scheme of its public area.
    Rsa(Box<RsaPrivateKey>, u16),
}

/// A `TPMT_SIGNATURE`, in parts.
#[derive(Clone)]
pub(crate) struct SignatureParts {
    pub(crate) scheme: u16,
    pub(crate) hash: u16,
    /// r and s, or the one of RSA.
    pub(crate) values: Vec<Vec<u8>>,
}

/// A `TPMT_PUBLIC`, in parts.
#[derive(Debug, Clone)]
pub(crate) struct Area {
    pub(crate) kind: u16,
    pub(crate) name_alg: u16,
    pub(crate) attributes: u32,
    pub(crate) policy: Vec<u8>,
    /// `TPMT_SYM_DEF_OBJECT`.
    pub(crate) symmetric: Vec<u16>,
    /// `TPMT_ECC_SCHEME` or `TPMT_RSA_SCHEME`.
    pub(crate) scheme: Vec<u16>,
    /// Curve and key derivation, or bits and exponent.
    pub(crate) details: Vec<u16>,
    /// Coordinates, or the modulus.
    pub(crate) unique: Vec<Vec<u8>>,
}

impl TestKey {
    pub(crate) fn p256(name: &str) -> Self {
        let pem = stored::key(name);
        Self::P256(Box::new(p256::ecdsa::SigningKey::from_pkcs8_pem(&pem).unwrap()))
    }

    pub(crate) fn p384(name: &str) -> Self {
        Self::P384(Box::new(p384::ecdsa::SigningKey::from_pkcs8_pem(&stored::key(name)).unwrap()))
    }

    pub(crate) fn rsa(name: &str, scheme: u16) -> Self {
        Self::Rsa(Box::new(RsaPrivateKey::from_pkcs8_pem(&stored::key(name)).unwrap()), scheme)
    }

    pub(crate) const fn scheme(&self) -> u16 {
        match self {
            Self::P256(_) | Self::P384(_) => algorithm::ECDSA,
            Self::Rsa(_, scheme) => *scheme,
        }
    }

    /// The public area of a good attestation key.
    pub(crate) fn area(&self) -> Area {
        let (kind, details, unique) = match self {
            Self::P256(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                let unique = vec![point.x().unwrap().to_vec(), point.y().unwrap().to_vec()];
                (algorithm::ECC, vec![CURVE_P256, algorithm::NULL], unique)
            }
            Self::P384(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                let unique = vec![point.x().unwrap().to_vec(), point.y().unwrap().to_vec()];
                (algorithm::ECC, vec![CURVE_P384, algorithm::NULL], unique)
            }
            Self::Rsa(key, _) => {
                let bits = u16::try_from(key.size() * 8).unwrap();
                (algorithm::RSA, vec![bits, 0, 0], vec![key.n().to_bytes_be()])
            }
        };
        Area {
            kind,
            name_alg: algorithm::SHA256,
            attributes: ATTRIBUTES,
            policy: Vec::new(),
            symmetric: vec![algorithm::NULL],
            scheme: vec![self.scheme(), algorithm::SHA256],
            details,
            unique,
        }
    }

    /// The key alone (RFC 7468 §13).
    pub(crate) fn pem(&self) -> Vec<u8> {
        let public = attest_evidence::tpm::Public::parse(&self.area().bytes()).unwrap();
        public.key.to_pem().unwrap().into_bytes()
    }

    /// An honest signature.
    pub(crate) fn sign(&self, message: &[u8]) -> SignatureParts {
        self.sign_by(SHA256, message)
    }

    /// A signature by another hash, which says so.
    pub(crate) fn sign_by(&self, hash: HashAlgorithm, message: &[u8]) -> SignatureParts {
        let digest = hash.hash(message);
        let values = match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign_prehash(digest.as_bytes()).unwrap();
                let (r, s) = signature.split_bytes();
                vec![r.to_vec(), s.to_vec()]
            }
            Self::P384(key) => {
                let signature: p384::ecdsa::Signature = key.sign_prehash(digest.as_bytes()).unwrap();
                let (r, s) = signature.split_bytes();
                vec![r.to_vec(), s.to_vec()]
            }
            Self::Rsa(_, algorithm::RSASSA) => {
                vec![self.sign_encoded(&emsa_pkcs1(&digest_info(hash), digest.as_bytes(), self.size()))]
            }
            Self::Rsa(..) => vec![self.sign_pss(message, SHA256.size())],
        };
        SignatureParts { scheme: self.scheme(), hash: hash.id(), values }
    }

    /// RSAPSS with SHA-256 and a salt of this length.
    pub(crate) fn sign_pss(&self, message: &[u8], salt: usize) -> Vec<u8> {
        let Self::Rsa(key, _) = self else { panic!("not an RSA key") };
        let pss = Pss::new_with_salt::<rsa::sha2::Sha256>(salt);
        key.sign_with_rng(&mut OneSalt, pss, SHA256.hash(message).as_bytes()).unwrap()
    }

    /// RSASP1 (RFC 8017 §5.2.1) over any encoded message.
    pub(crate) fn sign_encoded(&self, encoded: &[u8]) -> Vec<u8> {
        let Self::Rsa(key, _) = self else { panic!("not an RSA key") };
        let signature = BigUint::from_bytes_be(encoded).modpow(key.d(), key.n()).to_bytes_be();
        [vec![0; key.size() - signature.len()], signature].concat()
    }

    /// Bytes of the modulus.
    pub(crate) fn size(&self) -> usize {
        let Self::Rsa(key, _) = self else { panic!("not an RSA key") };
        key.size()
    }
}

/// The salt of every RSAPSS signature: bytes of 0x5a.
struct OneSalt;

impl rsa::rand_core::RngCore for OneSalt {
    fn next_u32(&mut self) -> u32 {
        0x5a5a_5a5a
    }

    fn next_u64(&mut self) -> u64 {
        0x5a5a_5a5a_5a5a_5a5a
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        out.fill(0x5a);
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rsa::rand_core::Error> {
        out.fill(0x5a);
        Ok(())
    }
}

impl rsa::rand_core::CryptoRng for OneSalt {}

/// DER of a `DigestInfo` up to the digest (RFC 8017 §9.2, note 1).
pub(crate) fn digest_info(hash: HashAlgorithm) -> Vec<u8> {
    let of_sha2 = |last, size: u8| {
        let oid = [0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last, 0x05, 0x00];
        [&[0x30, 17 + size, 0x30, 0x0d], oid.as_slice(), &[0x04, size]].concat()
    };
    match hash {
        HashAlgorithm::Sha1 => {
            vec![0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14]
        }
        HashAlgorithm::Sha256 => of_sha2(1, 32),
        HashAlgorithm::Sha384 => of_sha2(2, 48),
        HashAlgorithm::Sha512 => of_sha2(3, 64),
    }
}

/// EMSA-PKCS1-v1_5 (RFC 8017 §9.2).
pub(crate) fn emsa_pkcs1(info: &[u8], digest: &[u8], size: usize) -> Vec<u8> {
    let padding = vec![0xff; size - 3 - info.len() - digest.len()];
    [&[0x00, 0x01], padding.as_slice(), &[0x00], info, digest].concat()
}

impl SignatureParts {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = [self.scheme.to_be_bytes(), self.hash.to_be_bytes()].concat();
        self.values.iter().for_each(|value| put_sized_u16(&mut out, value).unwrap());
        out
    }

    /// With something changed.
    pub(crate) fn but(&self, change: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut parts = self.clone();
        change(&mut parts);
        parts.bytes()
    }
}

impl Area {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = [self.kind.to_be_bytes(), self.name_alg.to_be_bytes()].concat();
        out.extend(self.attributes.to_be_bytes());
        put_sized_u16(&mut out, &self.policy).unwrap();
        let parameters = self.symmetric.iter().chain(&self.scheme).chain(&self.details);
        out.extend(parameters.flat_map(|number| number.to_be_bytes()));
        self.unique.iter().for_each(|part| put_sized_u16(&mut out, part).unwrap());
        out
    }

    /// With something changed.
    pub(crate) fn but(&self, change: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut area = self.clone();
        change(&mut area);
        area.bytes()
    }
}
