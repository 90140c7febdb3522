//! The keys that tokens are signed with: P-256, one that signs, others that have signed or will.
//!
//! Relying parties keep the key set for as long as its answer says, so that a key is shown before it signs and for as long as
//! a token of it lives. Which key does what is a matter of the time alone: replicas need not agree on anything.

use super::{LEEWAY, LONGEST_TOKEN};
use crate::keys::{KeyError, Purpose, RootKey};
use attest_evidence::name::BrokerId;
use attest_evidence::{SecretBytes, Sha256Digest, UnixSeconds};
use data_encoding::BASE64URL_NOPAD;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;
use p256::elliptic_curve::Generate as _;
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use serde_json::{Value, json};

/// Seconds for which relying parties may keep metadata and keys.
pub(crate) const CACHED_SECONDS: u64 = 5 * 60;
/// Seconds from when a key is shown to when it signs.
pub(crate) const SHOWN_BEFORE: u64 = CACHED_SECONDS + LEEWAY;

/// A key as it is kept: sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenKeyRow {
    /// `kid`: the thumbprint of the key (RFC 7638), so that no key is taken for another.
    pub id: String,
    /// From when on it signs, by the wall clock.
    pub signs_from: UnixSeconds,
    /// The private key, PKCS #8, sealed.
    pub sealed: Vec<u8>,
}

/// A key, opened.
pub(crate) struct TokenKey {
    id: String,
    signs_from: UnixSeconds,
    key: SigningKey,
}

impl TokenKey {
    /// Makes a key that signs from then on.
    pub(crate) fn generate(
        root: &RootKey,
        broker: &BrokerId,
        signs_from: UnixSeconds,
    ) -> Result<TokenKeyRow, KeyError> {
        let failed = |reason: String| KeyError::Making { what: "token key", reason };
        let key = SigningKey::try_generate().map_err(|_| failed("no randomness".to_owned()))?;
        let id = thumbprint(&key).ok_or_else(|| failed("it is no point".to_owned()))?;
        let der = key.to_pkcs8_der().map_err(|error| failed(error.to_string()))?;
        let sealed = root.seal(Purpose::TokenKeys, der.as_bytes(), &associated_data(broker, &id, signs_from))?;
        Ok(TokenKeyRow { id, signs_from, sealed })
    }

    fn open(root: &RootKey, broker: &BrokerId, row: &TokenKeyRow) -> Result<Self, KeyError> {
        let refused = || KeyError::DoesNotOpen("token key");
        let data = associated_data(broker, &row.id, row.signs_from);
        let der: SecretBytes = root.open(Purpose::TokenKeys, &row.sealed, &data)?;
        let key = der.expose(SigningKey::from_pkcs8_der).map_err(|_| refused())?;
        if thumbprint(&key).as_ref() != Some(&row.id) {
            return Err(refused());
        }
        Ok(Self { id: row.id.clone(), signs_from: row.signs_from, key })
    }

    /// `kid`.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// ES256 (RFC 7518 §3.4): r, then s.
    pub(super) fn sign(&self, signed: &[u8]) -> [u8; 64] {
        let signature: p256::ecdsa::Signature = self.key.sign(signed);
        signature.to_bytes().into()
    }

    /// Its public half (RFC 7517).
    fn jwk(&self) -> Option<Value> {
        let (x, y) = coordinates(&self.key)?;
        Some(json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.id, "x": x, "y": y }))
    }
}

/// A key is this broker's, and signs from then on, whatever somebody writes into the database.
fn associated_data(broker: &BrokerId, id: &str, signs_from: UnixSeconds) -> Vec<u8> {
    format!("{broker}\n{id}\n{signs_from}").into_bytes()
}

fn coordinates(key: &SigningKey) -> Option<(String, String)> {
    let point = key.verifying_key().to_sec1_point(false);
    Some((BASE64URL_NOPAD.encode(point.x()?), BASE64URL_NOPAD.encode(point.y()?)))
}

fn thumbprint(key: &SigningKey) -> Option<String> {
    let (x, y) = coordinates(key)?;
    Some(thumbprint_of(&x, &y))
}

/// SHA-256 over the required members in the order of their names (RFC 7638 §3).
fn thumbprint_of(x: &str, y: &str) -> String {
    let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    BASE64URL_NOPAD.encode(Sha256Digest::of(members.as_bytes()).as_bytes())
}

/// All keys, by when they sign.
pub(crate) struct TokenKeys(Vec<TokenKey>);

impl TokenKeys {
    /// Opens them.
    pub(crate) fn open(root: &RootKey, broker: &BrokerId, rows: &[TokenKeyRow]) -> Result<Self, KeyError> {
        let mut keys = rows.iter().map(|row| TokenKey::open(root, broker, row)).collect::<Result<Vec<_>, _>>()?;
        keys.sort_by(|one, other| (one.signs_from, &one.id).cmp(&(other.signs_from, &other.id)));
        Ok(Self(keys))
    }

    /// The one that signs. Before its time the first does: the clock was set back, and there is no other.
    pub(crate) fn signing(mut self, now: UnixSeconds) -> Option<TokenKey> {
        let at = self.0.iter().rposition(|key| key.signs_from <= now).unwrap_or(0);
        (at < self.0.len()).then(|| self.0.swap_remove(at))
    }

    /// Those that are shown: all but those of which no token lives any more.
    fn shown(&self, now: UnixSeconds) -> impl Iterator<Item = &TokenKey> {
        let successors = self.0.iter().skip(1).map(Some).chain([None]);
        let lives = move |successor: Option<&TokenKey>| {
            successor.is_none_or(|successor| now < successor.signs_from.plus(LONGEST_TOKEN + LEEWAY))
        };
        self.0.iter().zip(successors).filter(move |(_, successor)| lives(*successor)).map(|(key, _)| key)
    }

    /// The ids of those that are not shown any more: there is no use for them.
    pub(crate) fn gone(&self, now: UnixSeconds) -> Vec<String> {
        let shown: Vec<&str> = self.shown(now).map(TokenKey::id).collect();
        self.0.iter().map(|key| key.id.clone()).filter(|id| !shown.contains(&id.as_str())).collect()
    }

    /// The key set (RFC 7517 §5).
    pub(crate) fn key_set(&self, now: UnixSeconds) -> Value {
        json!({ "keys": self.shown(now).filter_map(TokenKey::jwk).collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> UnixSeconds {
        UnixSeconds(1_800_000_000 + seconds)
    }

    #[test]
    fn a_key_is_shown_before_it_signs_and_for_as_long_as_a_token_of_it_lives() {
        let (root, broker) = (RootKey::generate().unwrap(), BrokerId::from_bytes([1; 16]));
        let rows = [0, 1000].map(|seconds| TokenKey::generate(&root, &broker, at(seconds)).unwrap());
        let signing = |rows: &[TokenKeyRow], seconds| {
            let keys = TokenKeys::open(&root, &broker, rows).unwrap();
            keys.signing(at(seconds)).map(|key| key.id)
        };
        let shown = |seconds| {
            let set = TokenKeys::open(&root, &broker, &rows).unwrap().key_set(at(seconds));
            let ids = set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned());
            ids.collect::<Vec<_>>()
        };
        let (first, second) = (rows[0].id.clone(), rows[1].id.clone());
        assert_eq!(signing(&rows, 0), Some(first.clone()));
        assert_eq!(signing(&rows, 999), Some(first.clone()));
        assert_eq!(signing(&rows, 1000), Some(second.clone()));
        assert_eq!(signing(&rows[..1], 5000), Some(first.clone()));
        assert_eq!(signing(&rows[1..], 0), Some(second.clone()));
        assert_eq!(signing(&[], 0), None);
        for seconds in [0, 999, 1000, 1000 + LONGEST_TOKEN + LEEWAY - 1] {
            assert_eq!(shown(seconds), [first.clone(), second.clone()], "{seconds}");
        }
        assert_eq!(shown(1000 + LONGEST_TOKEN + LEEWAY), [second]);
        let keys = TokenKeys::open(&root, &broker, &rows).unwrap();
        assert_eq!(keys.gone(at(1000 + LONGEST_TOKEN + LEEWAY)), [first]);
    }

    #[test]
    fn a_key_opens_as_itself_alone() {
        let (root, broker) = (RootKey::generate().unwrap(), BrokerId::from_bytes([1; 16]));
        let row = TokenKey::generate(&root, &broker, at(0)).unwrap();
        let opens = |broker: &BrokerId, row: &TokenKeyRow| TokenKey::open(&root, broker, row).map(drop);
        assert_eq!(opens(&broker, &row), Ok(()));
        let other = TokenKey::generate(&root, &broker, at(0)).unwrap();
        let not = Err(KeyError::DoesNotOpen("token key"));
        assert_eq!(opens(&broker, &TokenKeyRow { id: other.id, ..row.clone() }), not);
        assert_eq!(opens(&broker, &TokenKeyRow { sealed: other.sealed, ..row.clone() }), not);
        assert_eq!(opens(&broker, &TokenKeyRow { signs_from: at(1), ..row.clone() }), not);
        assert_eq!(opens(&BrokerId::from_bytes([2; 16]), &row), not);
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        // Key and thumbprint of RFC 9449 §4.1 and §6.1.
        let (x, y) = ("l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs", "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA");
        assert_eq!(thumbprint_of(x, y), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    }
}
