//! `TPM2_MakeCredential` without a TPM (Part 1 §24, Part 3 §12.6).
//!
//! The broker encrypts a secret to the endorsement key over the Name of an attestation key. A TPM gives the
//! secret back only if it holds both, so that whoever returns it has an AK in the TPM of that EK.

use crate::bytes::put_sized_u16;
use crate::hash::HashAlgorithm;
use crate::secret::SecretBytes;
use crate::tpm::{Attributes, Protection, Public, PublicKey, TpmName};
use aes::Aes128;
use cfb_mode::Encryptor;
use cfb_mode::cipher::KeyIvInit as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use p256::ecdh::EphemeralSecret;
use p256::elliptic_curve::Generate as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use rsa::{BigUint, Oaep, RsaPublicKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// What goes to the TPM, whose `TPM2_ActivateCredential` takes it as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The contents of `TPM2B_ID_OBJECT`, without its size.
    pub id_object: Vec<u8>,
    /// The contents of `TPM2B_ENCRYPTED_SECRET`, without its size.
    pub encrypted_secret: Vec<u8>,
}

/// Why no credential could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The key is no endorsement key: not restricted, not for decryption, or without AES-128-CFB.
    #[error("not an endorsement key: it has {0}, and needs restricted decrypt fixedTPM fixedParent")]
    NotAnEndorsementKey(Attributes),
    /// The public key itself is wrong: a point off the curve, a modulus that is no RSA-2048 one.
    #[error("the endorsement key is not a valid {0} key")]
    Key(&'static str),
    /// The secret is longer than the EK's hash, 32 bytes.
    #[error("a credential holds at most 32 bytes, not {0}")]
    TooLong(usize),
    /// No randomness, or an algorithm refused its input.
    #[error("the operating system gave no randomness")]
    Entropy,
}

/// Encrypts `secret` so that only the TPM with both `ek` and the key named `ak` can read it.
///
/// `ek` is an RSA-2048 or P-256 key of the default templates, L-1 or L-2 (TCG EK Credential Profile §B.3).
///
/// # Errors
/// See [`CredentialError`].
pub fn make_credential(ek: &Public, ak: &TpmName, secret: &SecretBytes) -> Result<Credential, CredentialError> {
    let wanted =
        Attributes::RESTRICTED.and(Attributes::DECRYPT).and(Attributes::FIXED_TPM).and(Attributes::FIXED_PARENT);
    if !ek.attributes.contains(wanted)
        || ek.attributes.contains(Attributes::SIGN)
        || ek.protection != Protection::Aes128
    {
        return Err(CredentialError::NotAnEndorsementKey(ek.attributes));
    }
    if ek.name.algorithm() != HashAlgorithm::Sha256 {
        return Err(CredentialError::Key("SHA-256 named"));
    }
    if secret.len() > 32 {
        return Err(CredentialError::TooLong(secret.len()));
    }
    let (seed, encrypted_secret) = match &ek.key {
        PublicKey::P256 { x, y } => share_seed_ecc(x, y)?,
        PublicKey::Rsa { bits: 2048, exponent, modulus } => share_seed_rsa(modulus, *exponent)?,
        PublicKey::P384 { .. } | PublicKey::Rsa { .. } => return Err(CredentialError::Key("P-256 or RSA-2048")),
    };

    let mut encrypted = Vec::with_capacity(34);
    secret.expose(|bytes| put_sized_u16(&mut encrypted, bytes)).ok_or(CredentialError::TooLong(secret.len()))?;
    let storage = kdf_a(&seed, "STORAGE", ak.as_bytes());
    let key = storage.first_chunk::<16>().ok_or(CredentialError::Entropy)?;
    Encryptor::<Aes128>::new(key.into(), &[0; 16].into()).encrypt(&mut encrypted);

    let mut mac = hmac(&*kdf_a(&seed, "INTEGRITY", &[]));
    mac.update(&encrypted);
    mac.update(ak.as_bytes());
    let mut id_object = Vec::with_capacity(2 + 32 + encrypted.len());
    put_sized_u16(&mut id_object, &mac.finalize().into_bytes()).ok_or(CredentialError::Entropy)?;
    id_object.extend(encrypted);
    Ok(Credential { id_object, encrypted_secret })
}

type Seed = Zeroizing<[u8; 32]>;

/// One-pass Diffie-Hellman to a P-256 EK (Part 1 §C.6.4). The second value is a `TPMS_ECC_POINT`.
fn share_seed_ecc(x: &[u8; 32], y: &[u8; 32]) -> Result<(Seed, Vec<u8>), CredentialError> {
    let point = p256::Sec1Point::from_affine_coordinates(x.into(), y.into(), false);
    let ek = p256::PublicKey::from_sec1_bytes(point.as_bytes()).map_err(|_| CredentialError::Key("P-256"))?;
    let ephemeral = EphemeralSecret::try_generate().map_err(|_| CredentialError::Entropy)?;
    let public = ephemeral.public_key().to_sec1_point(false);
    let (ephemeral_x, ephemeral_y) = public.x().zip(public.y()).ok_or(CredentialError::Entropy)?;
    let shared = ephemeral.diffie_hellman(&ek);

    // KDFe (Part 1 §11.4.10.3): one round gives the 32 bytes of a SHA-256 EK.
    let seed = Sha256::new()
        .chain_update(1u32.to_be_bytes())
        .chain_update(shared.raw_secret_bytes())
        .chain_update(b"IDENTITY\0")
        .chain_update(ephemeral_x)
        .chain_update(x)
        .finalize();
    let mut encrypted = Vec::with_capacity(68);
    for coordinate in [ephemeral_x, ephemeral_y] {
        put_sized_u16(&mut encrypted, coordinate).ok_or(CredentialError::Entropy)?;
    }
    Ok((Zeroizing::new(seed.into()), encrypted))
}

/// A random seed under RSAES-OAEP with the label `IDENTITY` and its terminating zero (Part 1 §B.10.3).
fn share_seed_rsa(modulus: &[u8], exponent: u32) -> Result<(Seed, Vec<u8>), CredentialError> {
    let key = RsaPublicKey::new(BigUint::from_bytes_be(modulus), exponent.into())
        .map_err(|_| CredentialError::Key("RSA-2048"))?;
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(|_| CredentialError::Entropy)?;
    let padding = Oaep::new_with_label::<rsa::sha2::Sha256, _>("IDENTITY\0");
    let encrypted =
        key.encrypt(&mut rsa::rand_core::OsRng, padding, seed.as_slice()).map_err(|_| CredentialError::Entropy)?;
    Ok((seed, encrypted))
}

/// KDFa with SHA-256 and an empty context V (Part 1 §11.4.10.2): 32 bytes, one round. Asking for fewer bits
/// would change them all, and `STORAGE` asks for 128.
fn kdf_a(seed: &Seed, label: &str, context: &[u8]) -> Seed {
    let bits: u32 = if label == "STORAGE" { 128 } else { 256 };
    let mut mac = hmac(seed.as_slice());
    mac.update(&1u32.to_be_bytes());
    mac.update(label.as_bytes());
    mac.update(&[0]);
    mac.update(context);
    mac.update(&bits.to_be_bytes());
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of every length (RFC 2104 §3)")]
fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of every length")
}
