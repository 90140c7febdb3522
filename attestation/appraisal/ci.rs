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

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// A JSON object whose members come once each.
#[derive(Debug, Clone, PartialEq)]
struct Members(BTreeMap<String, Value>);

/// Most members of an object: tokens have some forty.
const MOST_MEMBERS: usize = 256;

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;
        impl<'de> Visitor<'de> for Once {
            type Value = Members;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.len() >= MOST_MEMBERS {
                        return Err(A::Error::custom(format_args!("more than {MOST_MEMBERS} members")));
                    }
                    if members.contains_key(&name) {
                        return Err(A::Error::custom(format_args!("member `{name}` twice")));
                    }
                    members.insert(name, value);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Once)
    }
}

impl Members {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }
}
