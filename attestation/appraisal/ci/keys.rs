//! Keys of an issuer (RFC 7517).

use super::Members;
use crate::signature::SMALLEST_RSA;
use data_encoding::BASE64URL_NOPAD;
use std::collections::BTreeMap;

/// Most bytes of a key set: issuers publish a handful of keys.
pub(super) const LONGEST: usize = 256 * 1024;
const MOST_KEYS: usize = 64;

/// The keys by which an issuer signs, by their id.
#[derive(Debug, Clone, PartialEq)]
pub struct KeySet(BTreeMap<String, Key>);

/// One key, and the algorithm that it says it is for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub(super) algorithm: Option<String>,
    pub(super) kind: KeyKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum KeyKind {
    Rsa(Box<rsa::RsaPublicKey>),
    P256(p256::ecdsa::VerifyingKey),
}

/// Why a document is no key set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetRefused {
    /// Too long, or with too many keys.
    #[error("the key set has more than {MOST_KEYS} keys or {LONGEST} bytes")]
    TooLong,
    /// Not of its form.
    #[error("the key set can't be read: {0}")]
    Malformed(String),
    /// Two keys have one id: nobody could tell which is meant.
    #[error("the key set has two keys of id `{0}`")]
    Ambiguous(String),
}

impl KeySet {
    /// Reads a key set. Keys of other kinds, for other uses, or without an id are left out: no token can be theirs.
    ///
    /// # Errors
    /// See [`KeySetRefused`].
    pub fn parse(bytes: &[u8]) -> Result<Self, KeySetRefused> {
        if bytes.len() > LONGEST {
            return Err(KeySetRefused::TooLong);
        }
        let malformed = |reason: &str| KeySetRefused::Malformed(reason.to_owned());
        let document = Members::parse(bytes).map_err(KeySetRefused::Malformed)?;
        let keys = document.0.get("keys").and_then(|keys| keys.as_array()).ok_or_else(|| malformed("no `keys`"))?;
        if keys.len() > MOST_KEYS {
            return Err(KeySetRefused::TooLong);
        }
        let mut set = BTreeMap::new();
        for key in keys {
            let text = |name: &str| key.get(name).and_then(|value| value.as_str());
            if text("use").is_some_and(|usage| usage != "sig") {
                continue;
            }
            let (Some(id), Some(kind)) = (text("kid"), kind(&text)) else { continue };
            let key = Key { algorithm: text("alg").map(str::to_owned), kind };
            if set.insert(id.to_owned(), key).is_some() {
                return Err(KeySetRefused::Ambiguous(id.to_owned()));
            }
        }
        Ok(Self(set))
    }

    /// Whether there is a key of this id.
    pub fn contains(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Key> {
        self.0.get(id)
    }
}

fn kind<'a>(text: &impl Fn(&str) -> Option<&'a str>) -> Option<KeyKind> {
    let bytes = |name: &str| BASE64URL_NOPAD.decode(text(name)?.as_bytes()).ok();
    match text("kty")? {
        "RSA" => {
            let number = |name: &str| Some(rsa::BigUint::from_bytes_be(&bytes(name)?));
            let key = rsa::RsaPublicKey::new(number("n")?, number("e")?).ok()?;
            let bits = rsa::traits::PublicKeyParts::n(&key).bits();
            (bits >= usize::from(SMALLEST_RSA)).then(|| KeyKind::Rsa(Box::new(key)))
        }
        "EC" if text("crv") == Some("P-256") => {
            let coordinate = |name: &str| <[u8; 32]>::try_from(bytes(name)?).ok();
            let point =
                p256::Sec1Point::from_affine_coordinates(&coordinate("x")?.into(), &coordinate("y")?.into(), false);
            p256::ecdsa::VerifyingKey::from_sec1_point(&point).ok().map(KeyKind::P256)
        }
        _ => None,
    }
}
