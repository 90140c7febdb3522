//! Grants: made from an appraised host, a verified job and policy's decision, and from nothing else.

use super::leased::LeasedKeys;
use super::{GrantedValue, VerifiedJob};
use crate::broker::Broker;
use crate::keys::{BrokerKeys, KeyError, Purpose};
use crate::policy::Decision;
use crate::store::LeaseRow;
use crate::tokens::{Holder, Minted, MintedToken, Minting};
use attest_appraisal::{AppraisedHost, BootCounts};
use attest_evidence::SecretBytes;
use attest_evidence::exchange::{
    GrantBody, GrantedKey, GrantedOrigin, GrantedSecret, GrantedToken, HPKE_INFO, LEASE_EXPORT, Request, SealedSecret,
    SecretUse,
};
use attest_evidence::name::{AuditId, LeaseId};
use attest_evidence::report::{Explain, Fault, Report};
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem, OpModeS, Serializable as _, setup_sender};

/// What a step gets, not yet sent: its secrets are sealed to the key in the quote, its lease has a key.
///
/// Its one constructor is [`Grant::issue`].
#[derive(Debug)]
pub struct Grant {
    body: GrantBody,
    lease: LeaseRow,
    minted: Vec<Minted>,
}

/// Why no grant could be made of a yes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Host, job and decision are about different requests.
    #[error("host, job and decision are about different requests")]
    Mixed,
    /// The key in the request is no X25519 public key.
    #[error("the request's HPKE key is not an X25519 public key")]
    Recipient,
    /// Sealing failed.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Entropy,
}

/// What is behind the handles that are granted.
pub(crate) struct Handles<'a> {
    /// The keys that the runner's TPM uses only by this broker's signature.
    pub(super) leased: &'a LeasedKeys,
    /// The secrets, opened.
    pub(super) values: &'a [GrantedValue],
    /// What tokens are minted with, if there are any.
    pub(super) minting: Option<&'a Minting>,
}

impl Grant {
    /// Grants `request` to `host`, with the secrets and the tokens that it asks for.
    ///
    /// # Errors
    /// See [`GrantError`].
    pub(crate) fn issue(
        broker: &Broker,
        host: &AppraisedHost,
        job: &VerifiedJob,
        decision: &Decision,
        request: &Request,
        handles: &Handles<'_>,
    ) -> Result<Self, GrantError> {
        let Handles { leased, values, minting } = handles;
        let bound = *host.bound();
        if *job.bound() != bound || *decision.bound() != bound {
            return Err(GrantError::Mixed);
        }
        let lease = LeaseId::random().map_err(|_| GrantError::Entropy)?;
        let audit = AuditId::random().map_err(|_| GrantError::Entropy)?;

        let recipient = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&request.hpke_public_key)
            .map_err(|_| GrantError::Recipient)?;
        let info = [HPKE_INFO, bound.as_bytes()].concat();
        let (encapsulated, mut context) =
            setup_sender::<AesGcm256, HkdfSha256, X25519HkdfSha256>(&OpModeS::Base, &recipient, &info)
                .map_err(|_| GrantError::Recipient)?;
        let secrets = values
            .iter()
            .map(|secret| {
                let data = SealedSecret::associated_data(&lease, &secret.name, secret.version);
                let sealed =
                    secret.value.expose(|value| context.seal(value, &data)).map_err(|_| GrantError::Recipient)?;
                let (name, version, usage) = (secret.name.clone(), secret.version, secret.usage);
                let destinations = match usage {
                    SecretUse::Http => secret.destinations.list().to_vec(),
                    SecretUse::Reveal | SecretUse::Env => Vec::new(),
                };
                Ok(GrantedSecret { name, version, usage, destinations, sealed: SealedSecret(sealed) })
            })
            .collect::<Result<_, GrantError>>()?;
        let holder = Holder { lease: &lease, audit: &audit, host, job, request };
        let tokens = minting.map(|minting| minting.mint(&holder)).unwrap_or_default();
        let (tokens, minted): (Vec<_>, Vec<_>) = tokens
            .into_iter()
            .map(|MintedToken { minted, registration, value }| {
                let Minted { name, audience, .. } = &minted;
                let data = SealedSecret::token_data(&lease, name, audience);
                let sealed = value.expose(|value| context.seal(value, &data)).map_err(|_| GrantError::Recipient)?;
                let (name, audience) = (name.clone(), audience.clone());
                let destinations = registration.destinations.list().to_vec();
                Ok((GrantedToken { name, audience, destinations, sealed: SealedSecret(sealed) }, minted))
            })
            .collect::<Result<Vec<_>, GrantError>>()?
            .into_iter()
            .unzip();
        let lease_key =
            SecretBytes::fill(32, |key| context.export(LEASE_EXPORT, key)).map_err(|_| GrantError::Recipient)?;
        let sealed_key =
            lease_key.expose(|key| broker.keys().root().seal(Purpose::LeaseKeys, key, lease.as_str().as_bytes()))?;

        let issued = broker.now();
        let settings = &broker.settings;
        let expires = issued.plus(settings.lease_seconds);
        let openings = leased.open(broker.keys(), u32::try_from(settings.lease_seconds).unwrap_or(u32::MAX));
        let keys = request
            .keys
            .iter()
            .zip(openings)
            .map(|(key, opening)| GrantedKey {
                name: key.name.clone(),
                usage: key.usage,
                public_key: key.public_key,
                formats: key.formats.clone(),
                opening,
            })
            .collect();
        let stage = request.step.stage;
        let secrets_held = request.secrets.iter().map(|secret| ("secret", format!("{stage}/{}", secret.name)));
        let tokens_held = request.tokens.iter().map(|token| ("token", format!("{stage}/{}", token.name)));
        let keys_held = request.keys.iter().map(|key| ("key", format!("{stage}/{}", key.name)));
        let row = LeaseRow {
            id: lease.clone(),
            audit: audit.clone(),
            runner: host.runner().clone(),
            stage: request.step.stage,
            step: request.step.name.clone(),
            component: request.component,
            issued,
            expires,
            heartbeat: settings.heartbeat_seconds,
            sealed_key,
            boot_state: host.quote().boot_pcrs().digest(),
            boot: BootCounts::of(host.quote().clock()),
            handles: secrets_held.chain(tokens_held).chain(keys_held).collect(),
        };
        let body = GrantBody {
            bound,
            broker: broker.keys().id().clone(),
            audit,
            rules: decision.rules().to_vec(),
            policy_version: decision.policy_version(),
            run_url: job.job().map(|job| job.claims.run_url.clone()).unwrap_or_default(),
            lease,
            runner: host.runner().clone(),
            step: request.step.clone(),
            issued,
            expires,
            heartbeat_seconds: settings.heartbeat_seconds,
            encapsulated_key: encapsulated.to_bytes().into(),
            secrets,
            tokens,
            keys,
            http: request
                .http
                .iter()
                .map(|http| GrantedOrigin { origin: http.origin.clone(), private: http.private })
                .collect(),
            undeclared: decision.undeclared(),
        };
        Ok(Self { body, lease: row, minted })
    }

    /// What it says.
    pub const fn body(&self) -> &GrantBody {
        &self.body
    }

    /// What may be said of its tokens.
    pub(crate) fn minted(&self) -> &[Minted] {
        &self.minted
    }

    pub(crate) fn sign(&self, keys: &BrokerKeys) -> Vec<u8> {
        keys.sign_grant(&self.body)
    }

    pub(crate) fn into_lease(self) -> LeaseRow {
        self.lease
    }
}

impl Explain for GrantError {
    fn report(&self) -> Report {
        match self {
            Self::Mixed => Report::new("AR-X301", Fault::Bug, self.to_string()),
            Self::Recipient => Report::new("AR-X302", Fault::Identity, self.to_string()),
            Self::Keys(error) => error.report(),
            Self::Entropy => Report::new("AR-X303", Fault::Unreachable, self.to_string()),
        }
    }
}
