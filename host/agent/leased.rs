//! Keys that obey their lease: the TPM uses one only while the broker has signed for it.
//!
//! For each such key that a step asks for, a session is begun in the TPM before the exchange, and its nonce goes along. The grant
//! brings the broker's signature over it, for which the TPM gives a ticket; with that, and until its time is up, the key signs.

use crate::agent::{Agent, AgentError, Link};
use crate::keys::{KeyError, KeySecret, NewKey, UsableKey};
use crate::worker::Served;
use attest_evidence::Sha256Digest;
use attest_evidence::digest::{base64, hex};
use attest_evidence::exchange::{GrantedKey, KeyOpening, LeasedKey, key_certification_data};
use attest_evidence::key_attestation::{AttestedLease, KeyAttestation};
use attest_evidence::name::{KeyName, Stage};
use attest_evidence::tpm::{KeyPolicy, PcrState, TpmName, authority_public};
use attest_tpm::{AwaitingSession, Device, KeyTicket, Opening, SessionProtection, SigningKey, Tpm, TpmError};
use attest_wire::client::{Key, KeyKind};
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::pkcs8::DecodePublicKey as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// What the file of a key says of its lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredLease {
    /// Name of the broker's key, as the TPM knows it.
    pub(crate) authority: TpmName,
    /// What tells the key from others of its name.
    #[serde(with = "hex")]
    pub(crate) id: [u8; 16],
    /// The boot state that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) boot_state: Option<PcrState>,
    /// The attestation key's word for it.
    pub(crate) certification: Certification,
}

/// `TPM2_Certify` of a key, by an attestation key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Certification {
    /// The attestation key. Another one certifies anew.
    pub(crate) ak: TpmName,
    /// `TPMS_ATTEST`.
    #[serde(with = "base64")]
    pub(crate) message: Vec<u8>,
    /// `TPMT_SIGNATURE`.
    #[serde(with = "base64")]
    pub(crate) signature: Vec<u8>,
}

impl Certification {
    /// Has the attestation key certify a key.
    pub(crate) async fn of(
        tpm: &Tpm,
        key: &SigningKey,
        (stage, name): (Stage, &KeyName),
        ak: &TpmName,
    ) -> Result<Self, KeyError> {
        let (key, data) = (key.clone(), key_certification_data(stage, name));
        let certified = tpm.run(move |device| device.certify(key.stored(), &data)).await.map_err(KeyError::Tpm)?;
        let (message, signature) = certified;
        Ok(Self { ak: ak.clone(), message, signature })
    }
}

impl StoredLease {
    /// What the TPM asks for before it uses the key.
    pub(crate) fn policy(&self, stage: Stage, name: &KeyName) -> KeyPolicy {
        KeyPolicy {
            authority: self.authority.clone(),
            reference: KeyPolicy::reference(stage, name, &self.id),
            boot_state: self.boot_state,
        }
    }
}

/// A key that obeys its lease.
#[derive(Clone)]
pub(crate) struct ObedientKey {
    pub(crate) tpm: Tpm,
    pub(crate) key: SigningKey,
    pub(crate) lease: StoredLease,
    pub(crate) policy: KeyPolicy,
    /// There once a broker has signed.
    ticket: Arc<OnceLock<KeyTicket>>,
}

/// Who is asked to open keys.
pub(crate) struct Authority {
    /// As the TPM loads it.
    public: Vec<u8>,
    pub(crate) name: TpmName,
}

impl Authority {
    /// The key with which a broker signs its grants (DER `SubjectPublicKeyInfo`); `None` if it is none of P-256.
    pub(crate) fn of(grant_key: &[u8]) -> Option<Self> {
        let point = p256::PublicKey::from_public_key_der(grant_key).ok()?.to_sec1_point(false);
        let public = authority_public(&(*point.x()?).into(), &(*point.y()?).into());
        Some(Self { name: TpmName::of(&public), public })
    }
}

/// A session that waits for the broker's answer. It does not stay in the TPM if none comes, or a refusal, or if the step goes.
pub(crate) struct Waiting {
    tpm: Tpm,
    session: Option<AwaitingSession>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            // Whatever becomes of this, the device sees that nobody has it any more.
            drop(session);
            self.tpm.later(Device::flush_abandoned);
        }
    }
}

impl ObedientKey {
    pub(crate) fn new(tpm: Tpm, key: SigningKey, lease: StoredLease, policy: KeyPolicy) -> Self {
        Self { tpm, key, lease, policy, ticket: Arc::default() }
    }

    /// What the broker has to know to open it, and the session that waits for that.
    async fn ask(&self, link: &Link, name: &KeyName, stage: Stage) -> Result<(LeasedKey, Waiting), KeyError> {
        if link.authority.name != self.lease.authority {
            return Err(KeyError::OtherBroker { stage, name: name.clone() });
        }
        let certification = if self.lease.certification.ak == link.ak_name {
            self.lease.certification.clone()
        } else {
            Certification::of(&self.tpm, &self.key, (stage, name), &link.ak_name).await?
        };
        let session = self.tpm.run(Device::begin_lease).await.map_err(KeyError::Tpm)?;
        let asked = LeasedKey {
            public: self.key.stored().public().to_vec(),
            id: self.lease.id,
            boot_state: self.lease.boot_state,
            certification: certification.message,
            signature: certification.signature,
            nonce: *session.nonce(),
        };
        Ok((asked, Waiting { tpm: self.tpm.clone(), session: Some(session) }))
    }

    /// Shows the TPM the broker's signature.
    pub(crate) async fn open(&self, link: &Link, mut waiting: Waiting, opening: &KeyOpening) -> Result<(), KeyError> {
        let Some(session) = waiting.session.take() else { return Ok(()) };
        let (authority, reference) = (link.authority.public.clone(), self.policy.reference);
        let opening = Opening { seconds: opening.seconds, signature: opening.signature };
        let ticket = self
            .tpm
            .run(move |device| device.open_lease(session, &authority, &reference, &opening))
            .await
            .map_err(KeyError::Tpm)?;
        let _ = self.ticket.set(ticket);
        Ok(())
    }

    fn has_signed(&self, digest: &Sha256Digest, r_s: &[u8; 64]) -> bool {
        let verify = || {
            let (x, y) = self.key.point()?;
            let point = p256::Sec1Point::from_affine_coordinates(&x.into(), &y.into(), false);
            let key = p256::ecdsa::VerifyingKey::from_sec1_point(&point).ok()?;
            key.verify_prehash(digest.as_bytes(), &p256::ecdsa::Signature::from_slice(r_s).ok()?).ok()
        };
        verify().is_some()
    }

    /// Signs a digest: r then s. Whoever calls has hashed and framed what is signed.
    pub(crate) async fn sign(&self, digest: Sha256Digest, name: &KeyName, stage: Stage) -> Result<[u8; 64], KeyError> {
        let Some(ticket) = self.ticket.get().cloned() else {
            return Err(KeyError::NoLease { stage, name: name.clone() });
        };
        let (key, policy) = (self.key.clone(), self.policy.clone());
        let signed = self.tpm.run(move |device| device.sign_leased(&key, &policy, &ticket, &digest)).await;
        let signed = signed.map_err(KeyError::Tpm)?;
        // Nothing protects these commands on a bus. Where there is one, what came over it is checked.
        if self.tpm.protection() == SessionProtection::Salted && !self.has_signed(&digest, &signed) {
            return Err(KeyError::Tpm(TpmError::AnotherSigned));
        }
        Ok(signed)
    }
}

impl Agent {
    /// Begins a session for a key that obeys its lease.
    pub(crate) async fn await_lease(&self, key: &UsableKey) -> Result<Option<(LeasedKey, Waiting)>, AgentError> {
        let KeySecret::Obedient(obedient) = &key.secret else { return Ok(None) };
        let link = self.link().await?;
        Ok(Some(obedient.ask(&link, &key.public.name, key.public.stage).await.map_err(AgentError::Key)?))
    }

    /// Opens the keys that were granted, and lets go of all sessions.
    pub(crate) async fn open_keys(
        &self,
        granted: &[GrantedKey],
        served: &Served,
        mut waiting: BTreeMap<KeyName, Waiting>,
    ) -> Result<(), AgentError> {
        for key in granted {
            let (Some(opening), Some(waiting)) = (&key.opening, waiting.remove(&key.name)) else { continue };
            let Some((UsableKey { secret: KeySecret::Obedient(obedient), .. }, _)) = served.signing.get(&key.name)
            else {
                continue;
            };
            let link = self.link().await?;
            obedient.open(&link, waiting, opening).await.map_err(AgentError::Key)?;
        }
        Ok(())
    }

    /// Makes a key. One that obeys its lease obeys the broker that this runner has enrolled with.
    ///
    /// # Errors
    /// There is one of that name; the runner is not enrolled; the TPM says no.
    pub(crate) async fn create_key(&self, stage: Stage, name: &KeyName, kind: KeyKind) -> Result<Key, AgentError> {
        let kind = self.new_key(kind).await?;
        self.keys().create(stage, name, kind).await.map_err(AgentError::Key)
    }

    /// Puts another key of the same kind into the place of one.
    ///
    /// # Errors
    /// There is none; the TPM says no.
    pub(crate) async fn rotate_key(&self, stage: Stage, name: &KeyName) -> Result<Key, AgentError> {
        let kind = self.new_key(self.keys().public(stage, name).map_err(AgentError::Key)?.kind()).await?;
        self.keys().rotate(stage, name, kind).await.map_err(AgentError::Key)
    }

    /// What others may hold a key to: that it was made in this TPM, for whose attestation key the broker has vouched. JSON.
    ///
    /// # Errors
    /// There is no such key, or it is in no TPM; the runner is not enrolled; the TPM says no.
    pub(crate) async fn attest_key(&self, stage: Stage, name: &KeyName) -> Result<String, AgentError> {
        let link = self.link().await?;
        let (key, lease) = match self.keys().usable(stage, name).await.map_err(AgentError::Key)?.secret {
            KeySecret::P256 { key, .. } => (key, None),
            KeySecret::Obedient(obedient) => (obedient.key, Some(obedient.lease)),
            KeySecret::Ed25519 { .. } | KeySecret::Rehearsed(_) => {
                return Err(AgentError::Key(KeyError::NotInTpm { stage, name: name.clone() }));
            }
        };
        let certification = match lease.as_ref().map(|lease| &lease.certification) {
            Some(certification) if certification.ak == link.ak_name => certification.clone(),
            _ => Certification::of(self.tpm(), &key, (stage, name), &link.ak_name).await.map_err(AgentError::Key)?,
        };
        let attestation = KeyAttestation {
            schema: KeyAttestation::SCHEMA.to_owned(),
            stage,
            name: name.clone(),
            public: key.stored().public().to_vec(),
            lease: lease.map(|lease| AttestedLease {
                authority: lease.authority,
                id: lease.id,
                boot_state: lease.boot_state,
            }),
            certification: certification.message,
            signature: certification.signature,
            ak: link.ak.clone(),
            ak_certificate: link.ak_certificate.clone(),
        };
        serde_json::to_string(&attestation)
            .map_err(|_| AgentError::Key(KeyError::Damaged { stage, name: name.clone() }))
    }

    /// Has the TPM's thread do what is left to be done: sessions that nobody waits for any more are the TPM's until somebody ends
    /// them, also when this process has ended.
    pub async fn settle(&self) {
        let flush = |device: &mut Device| {
            device.flush_abandoned();
            Ok(())
        };
        let _ = self.tpm().run(flush).await;
    }

    async fn new_key(&self, kind: KeyKind) -> Result<NewKey, AgentError> {
        Ok(match kind {
            KeyKind::Leased { pcrs } => {
                let link = self.link().await?;
                NewKey::Leased { authority: link.authority.name.clone(), ak: link.ak_name.clone(), pcrs }
            }
            KeyKind::ByHand => NewKey::ByHand,
            KeyKind::Ed25519 => NewKey::Ed25519,
        })
    }
}
