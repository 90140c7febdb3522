//! Whoever believes the tokens of a broker: fetches what its issuer shows to everybody, and verifies with that alone.

use super::Broker;
use super::process::run;
use data_encoding::BASE64URL_NOPAD;
use p256::ecdsa::signature::Verifier as _;
use serde_json::Value;
use std::process::Command;

/// A relying party of this broker, without any credential.
pub(crate) struct RelyingParty<'a>(pub(crate) &'a Broker);

/// A document that it was given.
pub(crate) struct Document {
    pub(crate) status: u16,
    /// The head, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Document {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl RelyingParty<'_> {
    pub(crate) fn fetch(&self, path: &str) -> Document {
        let url = format!("{}{path}", self.0.url());
        let curl = ["--silent", "--insecure", "--include", "--max-time", "20", &url];
        let answer = run(Command::new("curl").args(curl)).ok().stdout;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Document { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// The key set.
    pub(crate) fn keys(&self) -> Value {
        self.fetch("/.well-known/jwks.json").json()
    }

    /// The ids of its keys.
    pub(crate) fn key_ids(&self) -> Vec<String> {
        let keys = self.keys();
        keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    /// The claims of a token, if a key of the set has signed it.
    pub(crate) fn verify(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let header = header(token);
        assert_eq!((&header["alg"], &header["typ"]), (&"ES256".into(), &"JWT".into()));
        let keys = self.keys();
        let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"])?;
        assert_eq!((&key["kty"], &key["crv"], &key["use"]), (&"EC".into(), &"P-256".into(), &"sig".into()));
        assert!(key.get("d").is_none());
        let coordinate = |name: &str| <[u8; 32]>::try_from(decode(key[name].as_str().unwrap())).unwrap().into();
        let point = p256::Sec1Point::from_affine_coordinates(&coordinate("x"), &coordinate("y"), false);
        let key = p256::ecdsa::VerifyingKey::from_sec1_point(&point).unwrap();
        let signature = p256::ecdsa::Signature::from_slice(&decode(signature)).unwrap();
        key.verify(signed.as_bytes(), &signature).ok()?;
        Some(serde_json::from_slice(&decode(signed.split_once('.').unwrap().1)).unwrap())
    }
}

/// The header of a token.
pub(crate) fn header(token: &str) -> Value {
    serde_json::from_slice(&decode(token.split('.').next().unwrap())).unwrap()
}

fn decode(text: &str) -> Vec<u8> {
    BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()
}
