//! Names and identifiers, each a type of its own, checked where they enter.
//!
//! A name has one spelling: lower-case ASCII letters, digits, `-`, `_` and `.`, at most 64 characters, each
//! segment starting and ending with a letter or digit. Secrets may have segments, separated by `/`. So no
//! name holds a wildcard, a path step, a control or bidirectional mark, and no two differ in case alone
//! (row P03 of the threat list).

use data_encoding::{BASE32_NOPAD, Encoding};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::LazyLock;

/// The longest name, in bytes: fits a file name, a line and a database index with room to spare.
pub const LONGEST_NAME: usize = 64;

/// Text that can't be the name it was offered as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// No character at all, or too many.
    #[error("a {kind} has 1 to {LONGEST_NAME} characters, this has {length}")]
    Length {
        /// What it should name.
        kind: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// A character outside the alphabet. It is shown escaped.
    #[error("a {kind} is made of a-z, 0-9, `-`, `_` and `.`{}: `{}` is not allowed{}",
        if *slashes { ", in segments separated by `/`" } else { "" }, character.escape_unicode(),
        if character.is_ascii_uppercase() { " (lower case only)" } else { "" })]
    Character {
        /// What it should name.
        kind: &'static str,
        /// The first character that is not allowed.
        character: char,
        /// Whether this kind of name has segments.
        slashes: bool,
    },
    /// A segment that is empty or starts or ends with punctuation.
    #[error("a {kind} starts and ends with a letter or digit, and so does each of its segments")]
    Edge {
        /// What it should name.
        kind: &'static str,
    },
    /// Not of the form that the broker gives out.
    #[error("not a {kind}: `{prefix}` and 26 characters of base32")]
    Identifier {
        /// What it should identify.
        kind: &'static str,
        /// How such an identifier starts.
        prefix: &'static str,
    },
    /// Not a stage.
    #[error("a stage is `dev`, `staging` or `prod`")]
    Stage,
}

fn check(kind: &'static str, text: &str, slashes: bool) -> Result<(), BadName> {
    if text.is_empty() || text.len() > LONGEST_NAME {
        return Err(BadName::Length { kind, length: text.len() });
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c) || (slashes && c == '/');
    if let Some(character) = text.chars().find(|c| !allowed(*c)) {
        return Err(BadName::Character { kind, character, slashes });
    }
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if text.split('/').all(|segment| edge(segment.chars().next()) && edge(segment.chars().next_back())) {
        Ok(())
    } else {
        Err(BadName::Edge { kind })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, slashes: $slashes:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                check($kind, &text, $slashes).map(|()| Self(text))
            }
        }

        impl std::str::FromStr for $type {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A runner as its broker knows it: one AK, one approved isolation.
    RunnerName, "runner name", slashes: false
);
name!(
    /// A step as its manifest calls it.
    StepName, "step name", slashes: false
);
name!(
    /// A secret within a stage, such as `release/npm-token`.
    SecretName, "secret name", slashes: true
);
name!(
    /// A signing or derivation key within a stage.
    KeyName, "key name", slashes: false
);
name!(
    /// A directory that a step was given.
    DirectoryName, "directory name", slashes: false
);
name!(
    /// A value that a step hands to the pipeline.
    OutputName, "output name", slashes: false
);

/// How far from production a secret, a key or a step is. Never called environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Development.
    Dev,
    /// What comes before production and looks like it.
    Staging,
    /// Production.
    Prod,
}

impl Stage {
    /// All stages.
    pub const ALL: [Self; 3] = [Self::Dev, Self::Staging, Self::Prod];

    /// The stage as text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Staging => "staging",
            Self::Prod => "prod",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl std::str::FromStr for Stage {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == text).ok_or(BadName::Stage)
    }
}

/// Lower-case base32 without padding, made once.
fn base32() -> Option<&'static Encoding> {
    static LOWER_CASE: LazyLock<Option<Encoding>> = LazyLock::new(|| {
        let mut specification = BASE32_NOPAD.specification();
        specification.symbols.make_ascii_lowercase();
        specification.encoding().ok()
    });
    LOWER_CASE.as_ref()
}

macro_rules! identifier {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// How every one of them starts.
            pub const PREFIX: &'static str = $prefix;

            /// A fresh identifier of 128 random bits.
            pub fn random() -> Result<Self, getrandom::Error> {
                let mut bytes = [0; 16];
                getrandom::fill(&mut bytes)?;
                Ok(Self::from_bytes(bytes))
            }

            /// The identifier that holds these 128 bits.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                let text = base32().map(|encoding| encoding.encode(&bytes)).unwrap_or_default();
                Self(format!("{}{text}", $prefix))
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                text.strip_prefix($prefix)
                    .zip(base32())
                    .and_then(|(rest, encoding)| encoding.decode(rest.as_bytes()).ok())
                    .filter(|bytes| bytes.len() == 16)
                    .map(|_| Self(text.clone()))
                    .ok_or(BadName::Identifier { kind: $kind, prefix: $prefix })
            }
        }

        impl std::str::FromStr for $type {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$type> for String {
            fn from(identifier: $type) -> Self {
                identifier.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
    };
}

identifier!(
    /// A broker. Given once, at `init`; a change of its keys doesn't change it.
    BrokerId, "broker id", "brk_"
);
identifier!(
    /// What one step holds, from its grant to its end.
    LeaseId, "lease id", "lse_"
);
identifier!(
    /// An entry of the broker's audit log. Safe to show to anyone: it opens nothing.
    AuditId, "audit id", "aud_"
);
identifier!(
    /// A redeemed CI token: one job.
    JobSessionId, "job session id", "job_"
);
identifier!(
    /// An enrolment that has been begun and not yet ended.
    EnrolmentId, "enrolment id", "enr_"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p03_names_that_could_be_read_as_something_else_are_refused() {
        for text in ["release/npm-token", "a", "a.b-c_d", "9"] {
            assert_eq!(text.parse::<SecretName>().map(String::from).as_deref(), Ok(text));
        }
        let character = |character| Err(BadName::Character { kind: "secret name", character, slashes: true });
        assert_eq!("npm*".parse::<SecretName>(), character('*'));
        assert_eq!("npm\0".parse::<SecretName>(), character('\0'));
        assert_eq!("npm\n".parse::<SecretName>(), character('\n'));
        assert_eq!("npm\u{202e}".parse::<SecretName>(), character('\u{202e}'));
        assert_eq!("Npm".parse::<SecretName>(), character('N'));
        assert_eq!("ſ".parse::<SecretName>(), character('ſ'));
        for text in ["a/../b", "/a", "a/", "a//b", ".", "..", "-a", "a-"] {
            assert_eq!(text.parse::<SecretName>(), Err(BadName::Edge { kind: "secret name" }), "{text}");
        }
        assert_eq!("".parse::<SecretName>(), Err(BadName::Length { kind: "secret name", length: 0 }));
        assert_eq!("a".repeat(65).parse::<SecretName>(), Err(BadName::Length { kind: "secret name", length: 65 }));
        assert_eq!(
            "a/b".parse::<KeyName>(),
            Err(BadName::Character { kind: "key name", character: '/', slashes: false })
        );
    }

    #[test]
    fn the_message_says_what_is_wrong_without_printing_it_raw() {
        let text = "npm\u{202e}".parse::<SecretName>().unwrap_err().to_string();
        assert!(text.contains("\\u{202e}") && !text.contains('\u{202e}'), "{text}");
    }

    #[test]
    fn identifiers_have_one_spelling() {
        let id = LeaseId::from_bytes([7; 16]);
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        let refused = Err(BadName::Identifier { kind: "lease id", prefix: "lse_" });
        assert_eq!(id.as_str().to_uppercase().parse::<LeaseId>(), refused);
        assert_eq!(id.as_str().replace("lse_", "brk_").parse::<LeaseId>(), refused);
        assert_eq!(format!("{id}a").parse::<LeaseId>(), refused);
    }
}
