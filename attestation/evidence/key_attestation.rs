//! What a key is, for people who were not there: a document that stands beside its public key.

use crate::bytes::{Malformed, read_json};
use crate::digest::{base64, hex};
use crate::name::{KeyName, Stage};
use crate::tpm::{KeyPolicy, PcrState, TpmName};
use serde::{Deserialize, Serialize};

/// That a key was made in a TPM and can't leave it: the attestation key's word for the key, and the broker's for the attestation
/// key. Nothing in it is secret, and nothing in it is believed before it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyAttestation {
    /// [`KeyAttestation::SCHEMA`].
    pub schema: String,
    /// Its stage.
    pub stage: Stage,
    /// Its name.
    pub name: KeyName,
    /// `TPMT_PUBLIC`.
    #[serde(with = "base64")]
    pub public: Vec<u8>,
    /// For a key that obeys its lease, whom it obeys.
    pub lease: Option<AttestedLease>,
    /// `TPMS_ATTEST` of `TPM2_Certify`.
    #[serde(with = "base64")]
    pub certification: Vec<u8>,
    /// `TPMT_SIGNATURE` over it, by the attestation key.
    #[serde(with = "base64")]
    pub signature: Vec<u8>,
    /// `TPMT_PUBLIC` of the attestation key.
    #[serde(with = "base64")]
    pub ak: Vec<u8>,
    /// The broker's certificate for the attestation key, then its authority's, PEM.
    pub ak_certificate: String,
}

/// Whom a key obeys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestedLease {
    /// Name of the broker's grant key, as TPMs have it.
    pub authority: TpmName,
    /// What tells the key from others of its name.
    #[serde(with = "hex")]
    pub id: [u8; 16],
    /// The boot state that it is bound to.
    pub boot_state: Option<PcrState>,
}

impl KeyAttestation {
    /// Which form it is of.
    pub const SCHEMA: &'static str = "attest-run/key-attestation/v1";

    /// Reads one whole document.
    ///
    /// # Errors
    /// Refuses what is not exactly this structure.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        read_json("key attestation", bytes, "not the JSON of a key attestation")
    }

    /// The policy that it says the key has.
    pub fn policy(&self) -> Option<KeyPolicy> {
        self.lease.as_ref().map(|lease| KeyPolicy {
            authority: lease.authority.clone(),
            reference: KeyPolicy::reference(self.stage, &self.name, &lease.id),
            boot_state: lease.boot_state,
        })
    }
}
