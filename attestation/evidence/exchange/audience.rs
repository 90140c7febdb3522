//! Whom a token is for.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The longest audience: resource names of clouds have some 150 characters.
const LONGEST: usize = 256;

/// What a token says in `aud` (RFC 7519 §4.1.3): `https://sts.example`, `sts.amazonaws.com`. Relying parties compare it byte by
/// byte, so that it has one spelling: graphic ASCII.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Audience(String);

/// Text that is no audience.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAudience {
    /// No character at all, or too many.
    #[error("an audience has 1 to {LONGEST} characters, this has {0}")]
    Length(usize),
    /// A character that not everybody would read as the same. It is shown escaped.
    #[error("an audience is graphic ASCII without `\"` and `\\`: `{}` is not allowed", .0.escape_unicode())]
    Character(char),
}

impl Audience {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Audience {
    type Error = BadAudience;

    fn try_from(text: String) -> Result<Self, BadAudience> {
        let allowed = |c: &char| c.is_ascii_graphic() && !matches!(c, '"' | '\\');
        if let Some(character) = text.chars().find(|c| !allowed(c)) {
            return Err(BadAudience::Character(character));
        }
        if text.is_empty() || text.len() > LONGEST { Err(BadAudience::Length(text.len())) } else { Ok(Self(text)) }
    }
}

impl FromStr for Audience {
    type Err = BadAudience;

    fn from_str(text: &str) -> Result<Self, BadAudience> {
        text.to_owned().try_into()
    }
}

impl From<Audience> for String {
    fn from(audience: Audience) -> Self {
        audience.0
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_can_not_be_read_as_another() {
        for text in ["sts.amazonaws.com", "https://sts.example/x?y#z", "api://AzureADTokenExchange", "a"] {
            assert_eq!(text.parse::<Audience>().map(String::from).as_deref(), Ok(text));
        }
        for character in [' ', '\n', '\0', '"', '\\', 'ä', '\u{202e}'] {
            assert_eq!(format!("a{character}").parse::<Audience>(), Err(BadAudience::Character(character)));
        }
        assert_eq!("".parse::<Audience>(), Err(BadAudience::Length(0)));
        assert_eq!("a".repeat(257).parse::<Audience>(), Err(BadAudience::Length(257)));
        let message = "a\u{202e}".parse::<Audience>().unwrap_err().to_string();
        assert!(message.contains("\\u{202e}") && !message.contains('\u{202e}'), "{message}");
    }
}
