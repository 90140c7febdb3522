//! Tokens: the broker as an OpenID Connect issuer (Core 1.0, Discovery 1.0).
//!
//! A token is minted for one lease and one audience, with a key that signs nothing else. It says what was proved of whoever
//! holds the lease. What a step says of itself, its name among it, is not in it: whoever believes a token believes evidence.

mod issuer;
mod keys;
mod minting;
mod registration;

pub use issuer::{BadTokenIssuer, TokenIssuer};
pub(crate) use issuer::{KEYS_PATH, METADATA_PATH};
pub use keys::TokenKeyRow;
pub(crate) use keys::{CACHED_SECONDS, SHOWN_BEFORE, TokenKey, TokenKeys};
pub(crate) use minting::{Holder, LONGEST_SUBJECT, Minted, MintedToken, Minting, Wanted, subject};
pub use registration::Registration;

use crate::broker::Broker;
use crate::store::{AddTokenKey, Rotation, StoreError};

/// Seconds for which a token is good, unless its lease ends before: it can't be called back, so that it is short; and long
/// enough to be exchanged for what a service gives in its place, which is what it is for.
pub(crate) const LONGEST_TOKEN: u64 = 10 * 60;
/// Seconds by which clocks may differ.
pub(crate) const LEEWAY: u64 = 60;

impl Broker {
    /// Makes the first key of tokens where there is an issuer and no key.
    pub(crate) async fn begin_tokens(&self) -> Result<(), StoreError> {
        if self.settings.token_issuer.is_none() || !self.store.token_keys().await?.is_empty() {
            return Ok(());
        }
        let now = self.wall();
        let key = TokenKey::generate(self.keys.root(), self.keys.id(), now)?;
        let body = serde_json::json!({ "what": "first token key", "by": "attest-broker serve", "about": key.id });
        let audit = crate::audit::Entry::new(now, crate::audit::Kind::Admin, &body)?;
        self.store.commit(AddTokenKey { key, rotation: Rotation::First, audit }).await
    }

    /// The keys of tokens, opened.
    pub(crate) async fn token_keys(&self) -> Result<TokenKeys, StoreError> {
        let rows = self.store.token_keys().await?;
        Ok(TokenKeys::open(self.keys.root(), self.keys.id(), &rows)?)
    }
}
