//! Where a step sends requests, and secrets in them.

use attest_evidence::exchange::{Destination, Origin};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Where a step sends requests. Nothing is declared where both lists are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpDeclaration {
    /// To whom: `https://HOST[:PORT]`, with `*.` in front of the host for each name one label below it; `http://` to
    /// this machine alone.
    #[serde(default, deserialize_with = "origins")]
    #[schemars(schema_with = "super::schema::origins")]
    pub allow: Vec<Origin>,
    /// To whom else, that may lie in a private network.
    #[serde(default, deserialize_with = "origins")]
    #[schemars(schema_with = "super::schema::origins")]
    pub private: Vec<Origin>,
    /// Why, in a sentence for admins and auditors.
    #[schemars(schema_with = "super::schema::why")]
    pub why: String,
}

impl HttpDeclaration {
    /// Whether it declares nothing.
    pub const fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.private.is_empty()
    }

    /// Each origin, and whether it may lie in a private network.
    pub fn origins(&self) -> impl Iterator<Item = (&Origin, bool)> {
        let allow = self.allow.iter().map(|origin| (origin, false));
        allow.chain(self.private.iter().map(|origin| (origin, true)))
    }

    /// Whether requests to `origin` are among those declared.
    pub fn covers(&self, origin: &Origin) -> bool {
        self.origins().any(|(declared, _)| declared.covers(origin) || declared == origin)
    }
}

/// An origin in its one spelling.
struct Spelled(Origin);

impl<'de> Deserialize<'de> for Spelled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let origin: Origin = text.parse().map_err(D::Error::custom)?;
        // What is granted is what is shown.
        let spelled = origin.to_string();
        if spelled == text {
            Ok(Self(origin))
        } else {
            Err(D::Error::custom(format!("`{text}` is written `{spelled}`")))
        }
    }
}

fn origins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Origin>, D::Error> {
    Ok(Vec::<Spelled>::deserialize(deserializer)?.into_iter().map(|Spelled(origin)| origin).collect())
}

struct Written(Destination);

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

pub(super) fn destinations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Destination>, D::Error> {
    Ok(Vec::<Written>::deserialize(deserializer)?.into_iter().map(|Written(destination)| destination).collect())
}
