//! Bytes that the TPM gives back in this boot state alone.

use super::{Device, StoredKey};
use crate::error::TpmError;
use attest_evidence::SecretBytes;
use attest_evidence::tpm::PcrSelection;
use serde::{Deserialize, Serialize};
use tss_esapi::constants::SessionType;
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::structures::{Digest, KeyedHashScheme, PublicBuilder, PublicKeyedHashParameters, SensitiveData};

/// Sealed bytes, and the PCRs that have to be as they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    object: StoredKey,
    pcrs: [u8; 3],
}

impl Device {
    /// Seals at most 128 bytes to the present values of the selected PCRs.
    ///
    /// # Errors
    /// Whatever the TPM reports.
    pub fn seal(&mut self, secret: &SecretBytes, selection: PcrSelection) -> Result<Sealed, TpmError> {
        let list = self.selection_list(selection)?;
        let policy = self.with_policy_session(SessionType::Trial, |device, _, policy| {
            device.plain("TPM2_PolicyPCR", |context| context.policy_pcr(policy, Digest::default(), list))?;
            device.plain("TPM2_PolicyGetDigest", |context| context.policy_get_digest(policy))
        })?;
        // Only the policy opens it, and the bytes are ours, not the TPM's.
        let attributes =
            self.key_attributes(|builder| builder.with_user_with_auth(false).with_sensitive_data_origin(false))?;
        let public = PublicBuilder::new()
            .with_public_algorithm(PublicAlgorithm::KeyedHash)
            .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
            .with_object_attributes(attributes)
            .with_auth_policy(policy)
            .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
            .with_keyed_hash_unique_identifier(Digest::default())
            .build()
            .map_err(|error| self.error("sealed object template", error))?;
        let data = secret
            .expose(|bytes| SensitiveData::try_from(bytes))
            .map_err(|error| self.error("TPM2B_SENSITIVE_DATA", error))?;
        let object = self.create_with(public, Some(data))?;
        Ok(Sealed { object, pcrs: selection.bits() })
    }

    /// Gives sealed bytes back.
    ///
    /// # Errors
    /// [`TpmError::PolicyFailed`] in another boot state; [`TpmError::ForeignKey`] on another TPM.
    pub fn unseal(&mut self, sealed: &Sealed) -> Result<SecretBytes, TpmError> {
        let list = self.selection_list(PcrSelection::from_bits(sealed.pcrs))?;
        let handle = self.load_transient(&sealed.object)?;
        let data = self.with_transient(handle, |device, handle| {
            device.with_policy_session(SessionType::Policy, |device, session, policy| {
                device.plain("TPM2_PolicyPCR", |context| context.policy_pcr(policy, Digest::default(), list))?;
                let result =
                    device.context.execute_with_session(Some(session), |context| context.unseal(handle.into()));
                result.map_err(|error| device.error("TPM2_Unseal", error))
            })
        })?;
        Ok(SecretBytes::new(data.value().to_vec()))
    }
}
