//! Which CI job a token speaks for: OpenID Connect tokens of GitHub and GitLab (RFC 7515, RFC 7519).
//!
//! A token is read three times as strictly as it is written: members come once, the algorithm is the key's and one of
//! the issuer's, no extension is critical. What a job is, is said by its numeric ids. Names can be given to others, and
//! `sub` is made of names, so that nobody here looks into it.

mod claims;
mod keys;
mod token;

pub use claims::{IssuerKind, JobClaims, JobKey};
pub use keys::{KeySet, KeySetRefused};
pub use token::{Algorithm, Issuer, TokenRefused, UnverifiedToken, VerifiedToken};

use attest_evidence::json;
use serde_json::{Map, Value};

/// A JSON object whose members come once each, as do those of objects in it.
#[derive(Debug, Clone, PartialEq)]
struct Members(Map<String, Value>);

/// Most members of an object: tokens have some forty.
const MOST_MEMBERS: usize = 256;

impl Members {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        match json::parse(bytes).map_err(|error| error.to_string())? {
            Value::Object(members) if members.len() > MOST_MEMBERS => Err(format!("more than {MOST_MEMBERS} members")),
            Value::Object(members) => Ok(Self(members)),
            _ => Err("an object is wanted".to_owned()),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::Members;

    #[test]
    fn members_come_once_at_every_depth() {
        assert!(Members::parse(br#"{"a":{"b":1},"c":[{"b":2}]}"#).is_ok());
        for twice in [r#"{"a":1,"a":2}"#, r#"{"a":{"b":1,"b":1}}"#, r#"{"a":[{"b":1,"b":1}]}"#, "[]"] {
            assert!(Members::parse(twice.as_bytes()).is_err(), "{twice}");
        }
    }
}
