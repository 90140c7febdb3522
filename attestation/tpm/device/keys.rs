//! Keys that sign and keys that derive. They never leave the TPM: their files hold what only it can open.

use super::Device;
use crate::error::TpmError;
use attest_evidence::digest::base64;
use attest_evidence::tpm::{Public as ParsedPublic, PublicKey, SigningScheme, TpmName};
use attest_evidence::{SecretBytes, Sha256Digest};
use serde::{Deserialize, Serialize};
use tss_esapi::attributes::{ObjectAttributes, ObjectAttributesBuilder};
use tss_esapi::constants::tss::{TPM2_RH_NULL, TPM2_ST_HASHCHECK};
use tss_esapi::handles::{KeyHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::{EccSchemeAlgorithm, HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::dynamic_handles::Persistent;
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::{Hierarchy, Provision};
use tss_esapi::structures::{
    Data, Digest, EccPoint, EccScheme, HashScheme, HashcheckTicket, KeyDerivationFunctionScheme, KeyedHashScheme,
    MaxBuffer, Private, Public, PublicBuilder, PublicEccParametersBuilder, PublicKeyedHashParameters, SensitiveData,
    Signature, SignatureScheme, SymmetricDefinitionObject,
};
use tss_esapi::traits::{Marshall as _, UnMarshall as _};
use tss_esapi_sys::TPMT_TK_HASHCHECK;

/// A key outside the TPM: its public area and its private one, encrypted by the storage root key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredKey {
    /// `TPMT_PUBLIC`.
    #[serde(with = "base64")]
    public: Vec<u8>,
    /// Contents of `TPM2B_PRIVATE`.
    #[serde(with = "base64")]
    private: Vec<u8>,
}

impl StoredKey {
    /// The Name of the key.
    pub fn name(&self) -> TpmName {
        TpmName::of(&self.public)
    }

    /// `TPMT_PUBLIC`.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Contents of `TPM2B_PRIVATE`.
    pub(super) fn private(&self) -> &[u8] {
        &self.private
    }
}

/// A P-256 key that signs with ECDSA and SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SigningKey(StoredKey);

impl SigningKey {
    /// The key as it is stored.
    pub const fn stored(&self) -> &StoredKey {
        &self.0
    }

    /// Affine x and y of its public point, 32 bytes each; `None` if the file holds another key.
    pub fn point(&self) -> Option<([u8; 32], [u8; 32])> {
        let public = ParsedPublic::parse(&self.0.public).ok()?;
        match public.key {
            PublicKey::P256 { x, y } if public.scheme == Some(SigningScheme::ECDSA_SHA256) => Some((x, y)),
            _ => None,
        }
    }
}

/// An HMAC key from which other keys are derived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DerivationKey(StoredKey);

impl DerivationKey {
    /// The key as it is stored.
    pub const fn stored(&self) -> &StoredKey {
        &self.0
    }
}

/// The storage root key's place (TCG TPM v2.0 Provisioning Guidance §7.5.1).
pub(super) const STORAGE_ROOT: u32 = 0x8100_0001;

impl Device {
    /// Makes a signing key: P-256, not exportable.
    ///
    /// # Errors
    /// Whatever the TPM reports.
    pub fn create_signing_key(&mut self) -> Result<SigningKey, TpmError> {
        self.create_signing_key_with(None)
    }

    /// Makes a signing key that `policy` opens, where there is one, and nothing else does.
    pub(super) fn create_signing_key_with(&mut self, policy: Option<&Sha256Digest>) -> Result<SigningKey, TpmError> {
        let attributes =
            self.key_attributes(|builder| builder.with_sign_encrypt(true).with_user_with_auth(policy.is_none()))?;
        let policy = policy.map_or(Ok(Digest::default()), |policy| Digest::try_from(policy.as_bytes().as_slice()));
        let policy = policy.map_err(|error| self.error("TPM2B_DIGEST", error))?;
        let scheme = EccScheme::create(EccSchemeAlgorithm::EcDsa, Some(HashingAlgorithm::Sha256), None);
        let public = scheme.and_then(|scheme| {
            PublicBuilder::new()
                .with_public_algorithm(PublicAlgorithm::Ecc)
                .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
                .with_object_attributes(attributes)
                .with_auth_policy(policy)
                .with_ecc_parameters(
                    PublicEccParametersBuilder::new()
                        .with_symmetric(SymmetricDefinitionObject::Null)
                        .with_ecc_scheme(scheme)
                        .with_curve(EccCurve::NistP256)
                        .with_key_derivation_function_scheme(KeyDerivationFunctionScheme::Null)
                        .with_is_signing_key(true)
                        .build()?,
                )
                .with_ecc_unique_identifier(EccPoint::default())
                .build()
        });
        let public = public.map_err(|error| self.error("signing key template", error))?;
        self.create(public).map(SigningKey)
    }

    /// Makes an HMAC key for [`Device::derive`].
    ///
    /// # Errors
    /// Whatever the TPM reports.
    pub fn create_derivation_key(&mut self) -> Result<DerivationKey, TpmError> {
        let attributes = self.key_attributes(|builder| builder.with_sign_encrypt(true))?;
        let scheme = KeyedHashScheme::Hmac { hmac_scheme: HashScheme::new(HashingAlgorithm::Sha256).into() };
        let public = PublicBuilder::new()
            .with_public_algorithm(PublicAlgorithm::KeyedHash)
            .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
            .with_object_attributes(attributes)
            .with_keyed_hash_parameters(PublicKeyedHashParameters::new(scheme))
            .with_keyed_hash_unique_identifier(Digest::default())
            .build()
            .map_err(|error| self.error("derivation key template", error))?;
        self.create(public).map(DerivationKey)
    }

    /// Signs a SHA-256 digest: r then s, 32 bytes each.
    ///
    /// The caller must have hashed and framed what is signed: a digest of unknown origin may be anything.
    ///
    /// # Errors
    /// Whatever the TPM reports; [`TpmError::ForeignKey`] for a key of another TPM.
    pub fn sign(&mut self, key: &SigningKey, digest: &Sha256Digest) -> Result<[u8; 64], TpmError> {
        let handle = self.load(&key.0)?;
        let digest =
            Digest::try_from(digest.as_bytes().as_slice()).map_err(|error| self.error("TPM2B_DIGEST", error))?;
        let ticket = no_ticket().map_err(|error| self.error("TPMT_TK_HASHCHECK", error))?;
        let signature =
            self.guarded("TPM2_Sign", |context| context.sign(handle, digest, SignatureScheme::Null, ticket))?;
        let Signature::EcDsa(signature) = signature else {
            return Err(TpmError::Command { command: "TPM2_Sign", reason: "another scheme came".to_owned() });
        };
        let mut r_s = [0; 64];
        for (place, scalar) in r_s.chunks_exact_mut(32).zip([signature.signature_r(), signature.signature_s()]) {
            let start = place.len().saturating_sub(scalar.value().len());
            if let Some(place) = place.get_mut(start..).filter(|place| place.len() == scalar.value().len()) {
                place.copy_from_slice(scalar.value());
            }
        }
        Ok(r_s)
    }

    /// HMAC-SHA-256 of `label` with a derivation key, computed in the TPM. The same on the same TPM, always.
    ///
    /// # Errors
    /// Whatever the TPM reports; [`TpmError::ForeignKey`] for a key of another TPM.
    pub fn derive(&mut self, key: &DerivationKey, label: &[u8]) -> Result<SecretBytes, TpmError> {
        let handle = self.load(&key.0)?;
        let label = MaxBuffer::try_from(label).map_err(|error| self.error("TPM2B_MAX_BUFFER", error))?;
        let digest =
            self.guarded("TPM2_HMAC", |context| context.hmac(handle.into(), label, HashingAlgorithm::Sha256))?;
        Ok(SecretBytes::new(digest.value().to_vec()))
    }

    /// `TPM2_Certify`: the attestation key's word that `key` is in this TPM. `TPMS_ATTEST` and
    /// `TPMT_SIGNATURE`.
    ///
    /// # Errors
    /// Whatever the TPM reports; [`TpmError::NotEnrolled`] without an attestation key.
    pub fn certify(&mut self, key: &StoredKey, qualifying_data: &Sha256Digest) -> Result<(Vec<u8>, Vec<u8>), TpmError> {
        let ak = self.attestation_key()?;
        let handle = self.load(key)?;
        let data =
            Data::try_from(qualifying_data.as_bytes().as_slice()).map_err(|error| self.error("TPM2B_DATA", error))?;
        let sessions = self.sessions_with_attestation_key_second();
        let (attest, signature) = self.guarded_twice("TPM2_Certify", sessions, |context| {
            context.certify(handle.into(), ak, data, SignatureScheme::Null)
        })?;
        let message = attest.marshall().map_err(|error| self.error("TPMS_ATTEST", error))?;
        let signature = signature.marshall().map_err(|error| self.error("TPMT_SIGNATURE", error))?;
        Ok((message, signature))
    }

    /// Attributes of every key below the storage root: the TPM made it and keeps it, no dictionary attack
    /// protection, an empty authorization value.
    pub(super) fn key_attributes(
        &self,
        more: impl FnOnce(ObjectAttributesBuilder) -> ObjectAttributesBuilder,
    ) -> Result<ObjectAttributes, TpmError> {
        let builder = ObjectAttributesBuilder::new()
            .with_fixed_tpm(true)
            .with_fixed_parent(true)
            .with_sensitive_data_origin(true)
            .with_user_with_auth(true)
            .with_no_da(true);
        more(builder).build().map_err(|error| self.error("TPMA_OBJECT", error))
    }

    fn create(&mut self, public: Public) -> Result<StoredKey, TpmError> {
        self.create_with(public, None)
    }

    /// Creates an object under the storage root, around `data` if there is any.
    pub(super) fn create_with(&mut self, public: Public, data: Option<SensitiveData>) -> Result<StoredKey, TpmError> {
        let parent = self.storage_root()?;
        let created = self.guarded("TPM2_Create", |context| context.create(parent, public, None, data, None, None))?;
        Ok(StoredKey { public: self.marshal(&created.out_public)?, private: created.out_private.value().to_vec() })
    }

    /// Loads a key, or finds that it is the one loaded last.
    fn load(&mut self, key: &StoredKey) -> Result<KeyHandle, TpmError> {
        let name = key.name();
        if let Some((loaded, handle)) = &self.loaded
            && *loaded == name
        {
            return Ok(*handle);
        }
        self.unload();
        let handle = self.load_transient(key)?;
        self.loaded = Some((name, handle));
        Ok(handle)
    }

    /// Loads a key; the caller flushes it.
    pub(super) fn load_transient(&mut self, key: &StoredKey) -> Result<KeyHandle, TpmError> {
        let parent = self.storage_root()?;
        let public = Public::unmarshall(&key.public).map_err(|_| TpmError::ForeignKey)?;
        let private = Private::try_from(key.private.clone()).map_err(|_| TpmError::ForeignKey)?;
        self.guarded("TPM2_Load", |context| context.load(parent, private, public))
    }

    /// The storage root key, made and left in the TPM if nobody has done so yet.
    pub(super) fn storage_root(&mut self) -> Result<KeyHandle, TpmError> {
        if let Some(handle) = self.storage_root {
            return Ok(handle);
        }
        if let Some((handle, _)) = self.persistent(STORAGE_ROOT)? {
            self.storage_root = Some(handle);
            return Ok(handle);
        }
        let attributes = self.key_attributes(|builder| builder.with_decrypt(true).with_restricted(true))?;
        let parameters = PublicEccParametersBuilder::new_restricted_decryption_key(
            SymmetricDefinitionObject::AES_128_CFB,
            EccCurve::NistP256,
        )
        .build();
        let template = parameters.and_then(|parameters| {
            PublicBuilder::new()
                .with_public_algorithm(PublicAlgorithm::Ecc)
                .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
                .with_object_attributes(attributes)
                .with_ecc_parameters(parameters)
                .with_ecc_unique_identifier(EccPoint::default())
                .build()
        });
        let template = template.map_err(|error| self.error("SRK template", error))?;
        let created = self.guarded("TPM2_CreatePrimary", |context| {
            context.create_primary(Hierarchy::Owner, template, None, None, None, None)
        })?;
        let persistent = self.persistent_handle(STORAGE_ROOT)?;
        self.with_transient(created.key_handle, |device, transient| {
            device.guarded("TPM2_EvictControl", |context| {
                context.evict_control(Provision::Owner, transient.into(), Persistent::Persistent(persistent)).map(drop)
            })
        })?;
        let object =
            self.plain("TPM2_ReadPublic", |context| context.tr_from_tpm_public(TpmHandle::Persistent(persistent)))?;
        self.storage_root = Some(object.into());
        Ok(object.into())
    }
}

/// The ticket that says nothing: for digests that the TPM has not computed itself (Part 2 §10.7.6).
fn no_ticket() -> tss_esapi::Result<HashcheckTicket> {
    TPMT_TK_HASHCHECK { tag: TPM2_ST_HASHCHECK, hierarchy: TPM2_RH_NULL, digest: Default::default() }.try_into()
}
