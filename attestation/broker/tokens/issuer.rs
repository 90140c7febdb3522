//! What tokens say in `iss`, and what whoever believes them finds there.

use attest_evidence::exchange::{Destination, Host, Scheme};
use serde_json::{Value, json};
use std::fmt;
use std::str::FromStr;

/// Where the metadata of an issuer lie, below its URL (Discovery 1.0 §4).
pub(crate) const METADATA_PATH: &str = "/.well-known/openid-configuration";
/// Where its keys lie: below its URL, too, so that one rule of a proxy serves both.
pub(crate) const KEYS_PATH: &str = "/.well-known/jwks.json";

/// The issuer's URL: `https://HOST[:PORT][/PATH]`, without a `/` at the end. Relying parties compare it byte by byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenIssuer(String);

/// A URL that can't be an issuer's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` can't be an issuer: {reason}")]
pub struct BadTokenIssuer {
    /// What was given.
    pub url: String,
    /// What is wrong with it.
    pub reason: String,
}

impl TokenIssuer {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its metadata (Discovery 1.0 §3), as far as it has any: nobody signs in here, so that there is no endpoint for that.
    pub(crate) fn metadata(&self) -> Value {
        json!({
            "issuer": self.0,
            "jwks_uri": format!("{}{KEYS_PATH}", self.0),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "scopes_supported": ["openid"],
            "claims_supported": ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "attest"],
        })
    }
}

impl fmt::Display for TokenIssuer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl FromStr for TokenIssuer {
    type Err = BadTokenIssuer;

    fn from_str(url: &str) -> Result<Self, BadTokenIssuer> {
        let bad = |reason: String| BadTokenIssuer { url: url.to_owned(), reason };
        let Destination { origin, path, .. } = url.parse::<Destination>().map_err(|error| bad(error.to_string()))?;
        if origin.scheme() != Scheme::Https || matches!(origin.host(), Host::Below(_)) {
            return Err(bad("`https://HOST[:PORT][/PATH]` is wanted".to_owned()));
        }
        let written = format!("{origin}{}", path.as_str().trim_end_matches('/'));
        if written == url { Ok(Self(written)) } else { Err(bad(format!("it is written `{written}`"))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_has_one_spelling() {
        for url in ["https://broker.example", "https://broker.example:8443", "https://broker.example/attest/run"] {
            assert_eq!(url.parse::<TokenIssuer>().unwrap().as_str(), url);
        }
        for (url, reason) in [
            ("http://broker.example", "is in the clear"),
            ("http://localhost", "is wanted"),
            ("https://broker.example/", "it is written `https://broker.example`"),
            ("https://broker.example:443", "it is written `https://broker.example`"),
            ("https://Broker.example", "is no host"),
            ("https://*.broker.example", "is wanted"),
            ("https://broker.example/?a", "it has no query"),
            ("https://broker.example#a", "something behind its host"),
            ("https://user@broker.example", "names no user"),
            ("https://broker.example/../x", "no `..`"),
            ("broker.example", "does not begin with"),
            ("", "does not begin with"),
        ] {
            let error = url.parse::<TokenIssuer>().unwrap_err();
            assert!(error.reason.contains(reason), "{error}");
        }
    }
}
