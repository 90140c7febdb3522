//! A lease in the hands of a test: what an agent does with it, and what it should not.

use super::Rig;
use attest_agent::BrokerError;
use attest_evidence::SecretBytes;
use attest_evidence::exchange::{
    EndedLease, GrantBody, HPKE_INFO, LEASE_EXPORT, LeaseMessage, LeaseSignal, LeaseWatch, Request, SealedSecret, seal,
};
use attest_evidence::name::LeaseId;
use hpke::aead::{AeadCtxR, AesGcm256};
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, Kem, OpModeR, setup_receiver};

/// A lease with its key.
pub(crate) struct Held {
    pub(crate) grant: GrantBody,
    pub(crate) key: SecretBytes,
}

impl Held {
    /// Asks for what `request` says, and takes up what is granted.
    pub(crate) async fn ask(rig: &Rig, request: &Request) -> Result<Self, BrokerError> {
        Ok(Self::of(rig, rig.send(rig.exchange(request).await).await?))
    }

    /// Takes up a grant whose request had the key of `rig`.
    pub(crate) fn of(rig: &Rig, grant: GrantBody) -> Self {
        Self { key: key_of(rig, &grant), grant }
    }

    pub(crate) fn id(&self) -> &LeaseId {
        &self.grant.lease
    }

    pub(crate) fn heartbeat(&self, counter: u64) -> Vec<u8> {
        self.sealed(counter, LeaseSignal::Heartbeat)
    }

    pub(crate) fn sealed(&self, counter: u64, signal: LeaseSignal) -> Vec<u8> {
        let message = LeaseMessage { lease: self.id().clone(), counter, signal };
        self.key.expose(|key| seal(&message, key))
    }

    /// Sends a heartbeat: the reason why it is not held any more, or none.
    pub(crate) async fn beat(&self, rig: &Rig, counter: u64) -> Option<String> {
        let said = rig.client.heartbeats(self.heartbeat(counter)).await.unwrap();
        said.ended.into_iter().next().map(|EndedLease { lease, how }| {
            assert_eq!(lease, *self.id());
            how
        })
    }

    pub(crate) async fn release(&self, rig: &Rig, counter: u64, signal: LeaseSignal) -> Result<(), BrokerError> {
        rig.client.release(self.sealed(counter, signal)).await
    }

    /// The first token of a grant that has no secrets, opened as the agent opens it.
    pub(crate) fn token(&self, rig: &Rig) -> String {
        assert!(self.grant.secrets.is_empty(), "they were sealed before");
        let token = &self.grant.tokens[0];
        let data = SealedSecret::token_data(self.id(), &token.name, &token.audience);
        String::from_utf8(receiver(rig, &self.grant).open(&token.sealed.0, &data).unwrap()).unwrap()
    }

    /// Waits for the broker to take one of these.
    pub(crate) async fn watch(&self, rig: &Rig, held: &[&Held]) -> Result<Vec<EndedLease>, BrokerError> {
        let held = held.iter().map(|held| held.id().clone()).collect();
        let wish = LeaseWatch { lease: self.id().clone(), held };
        rig.client.watch(self.key.expose(|key| seal(&wish, key))).await.map(|said| said.ended)
    }
}

/// The key of a lease, as the agent derives it.
fn key_of(rig: &Rig, grant: &GrantBody) -> SecretBytes {
    SecretBytes::fill(32, |key| receiver(rig, grant).export(LEASE_EXPORT, key)).unwrap()
}

/// What opens the values of a grant, one after the other.
fn receiver(rig: &Rig, grant: &GrantBody) -> AeadCtxR<AesGcm256, HkdfSha256, X25519HkdfSha256> {
    let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&grant.encapsulated_key).unwrap();
    let info = [HPKE_INFO, grant.bound.as_bytes()].concat();
    setup_receiver::<AesGcm256, HkdfSha256, X25519HkdfSha256>(&OpModeR::Base, &rig.private, &encapsulated, &info)
        .unwrap()
}
