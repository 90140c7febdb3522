//! An attestation key in software, to sign what no TPM would. The broker is made to know it by writing to its
//! database, which is more than any attacker without root on the broker can do.

use super::Broker;
use attest_evidence::Sha256Digest;
use attest_evidence::bytes::put_sized_u16;
use attest_evidence::tpm::TpmName;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;
use p256::elliptic_curve::Generate as _;
use rsa::pkcs1v15::SigningKey as RsaSsa;
use rsa::pss::SigningKey as RsaPss;
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _, Signer as _};
use rsa::traits::PublicKeyParts as _;

/// `restricted sign fixedTPM fixedParent sensitiveDataOrigin userWithAuth`.
const ATTRIBUTES: u32 = 1 << 16 | 1 << 18 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6;

pub(crate) enum SoftAk {
    P256(SigningKey),
    /// With the scheme that its public area names: 0x14 RSASSA, 0x16 RSAPSS.
    Rsa(Box<rsa::RsaPrivateKey>, u16),
}

impl SoftAk {
    pub(crate) fn p256() -> Self {
        Self::P256(SigningKey::generate())
    }

    pub(crate) fn rsa(bits: usize, scheme: u16) -> Self {
        Self::Rsa(Box::new(rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, bits).unwrap()), scheme)
    }

    /// `TPMT_PUBLIC`.
    pub(crate) fn public(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::P256(key) => {
                out.extend([0x00, 0x23, 0x00, 0x0b]);
                out.extend(ATTRIBUTES.to_be_bytes());
                out.extend([0, 0, 0x00, 0x10, 0x00, 0x18, 0x00, 0x0b, 0x00, 0x03, 0x00, 0x10]);
                let point = key.verifying_key().to_sec1_point(false);
                put_sized_u16(&mut out, point.x().unwrap()).unwrap();
                put_sized_u16(&mut out, point.y().unwrap()).unwrap();
            }
            Self::Rsa(key, scheme) => {
                out.extend([0x00, 0x01, 0x00, 0x0b]);
                out.extend(ATTRIBUTES.to_be_bytes());
                out.extend([0, 0, 0x00, 0x10]);
                out.extend(scheme.to_be_bytes());
                out.extend([0x00, 0x0b]);
                out.extend(u16::try_from(key.size() * 8).unwrap().to_be_bytes());
                out.extend([0, 0, 0, 0]);
                put_sized_u16(&mut out, &key.n().to_bytes_be()).unwrap();
            }
        }
        out
    }

    pub(crate) fn name(&self) -> TpmName {
        TpmName::of(&self.public())
    }

    /// `TPMT_SIGNATURE` over `message`, honest.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                let (r, s) = signature.split_bytes();
                let mut out = vec![0x00, 0x18, 0x00, 0x0b];
                put_sized_u16(&mut out, &r).unwrap();
                put_sized_u16(&mut out, &s).unwrap();
                out
            }
            Self::Rsa(key, scheme) => {
                let signature = if *scheme == 0x14 {
                    RsaSsa::<rsa::sha2::Sha256>::new((**key).clone()).sign(message).to_vec()
                } else {
                    RsaPss::<rsa::sha2::Sha256>::new((**key).clone())
                        .sign_with_rng(&mut rsa::rand_core::OsRng, message)
                        .to_vec()
                };
                let mut out = scheme.to_be_bytes().to_vec();
                out.extend([0x00, 0x0b]);
                put_sized_u16(&mut out, &signature).unwrap();
                out
            }
        }
    }

    /// Writes it into the broker's database as an approved runner.
    pub(crate) async fn insert(&self, broker: &Broker, name: &str) {
        broker
            .execute(
                sqlx::query(
                    "INSERT INTO runners (name, endorsed, certified, ak_name, ak, class, isolation, state, enrolled)
                     VALUES (?, ?, 0, ?, ?, 'software', 'direct', 'approved', 0)",
                )
                .bind(name.to_owned())
                .bind(Sha256Digest::of(name.as_bytes()).as_bytes().to_vec())
                .bind(self.name().to_string())
                .bind(self.public()),
            )
            .await;
    }
}

/// The parts of a `TPMS_ATTEST`, each of which a test may spoil.
#[derive(Clone)]
pub(crate) struct Forged {
    pub(crate) magic: u32,
    pub(crate) kind: u16,
    pub(crate) extra_data: Vec<u8>,
    /// `TPML_PCR_SELECTION`.
    pub(crate) selection: Vec<u8>,
    pub(crate) pcr_digest: Vec<u8>,
}

impl Forged {
    pub(crate) fn quote(qualifying: &Sha256Digest, selection: &[u8], pcr_digest: &Sha256Digest) -> Self {
        Self {
            magic: 0xff54_4347,
            kind: 0x8018,
            extra_data: qualifying.as_bytes().to_vec(),
            selection: selection.to_vec(),
            pcr_digest: pcr_digest.as_bytes().to_vec(),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_be_bytes().to_vec();
        out.extend(self.kind.to_be_bytes());
        put_sized_u16(&mut out, &[0; 34]).unwrap();
        put_sized_u16(&mut out, &self.extra_data).unwrap();
        out.extend(1000u64.to_be_bytes());
        out.extend([0; 8]);
        out.push(1);
        out.extend([0; 8]);
        out.extend(&self.selection);
        put_sized_u16(&mut out, &self.pcr_digest).unwrap();
        out
    }
}
