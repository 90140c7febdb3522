//! `test.toml`: the cases in which a step is rehearsed.

use super::expect::Expect;
use super::refused::{LONGEST_FIXTURE, RehearsalError};
use super::url::Url;
use attest_evidence::SecretBytes;
use attest_evidence::exchange::{Destination, Method, Place};
use attest_evidence::name::{DirectoryName, KeyName, SecretName};
use attest_step::parse_toml;
use attest_wire::client::KeyAlgorithm;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A fixture: what is there for the step, and what is expected of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fixture {
    /// Keys are made of this and of their names.
    #[serde(default)]
    pub(super) seed: String,
    #[serde(default, rename = "case")]
    pub(super) cases: Vec<Case>,
}

/// One run of the step.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(default)]
    pub(super) secrets: BTreeMap<SecretName, GivenSecret>,
    /// What stands in for the tokens that a broker makes.
    #[serde(default)]
    pub(super) tokens: BTreeMap<SecretName, GivenSecret>,
    /// Kinds of keys to sign with; those that are not named are P-256.
    #[serde(default)]
    pub(super) keys: BTreeMap<KeyName, KeyAlgorithm>,
    /// What directories begin with; those that are not named are empty.
    #[serde(default)]
    pub(super) dirs: BTreeMap<DirectoryName, PathBuf>,
    #[serde(default)]
    pub(super) http: Vec<CannedAnswer>,
    #[serde(default)]
    pub(super) expect: Expect,
}

/// A secret: its value, or a table with that and with where it may go in requests.
#[derive(Debug)]
pub(super) struct GivenSecret {
    pub(super) value: SecretBytes,
    /// Empty: wherever the step may send.
    pub(super) to: Vec<Destination>,
    /// Empty: all.
    pub(super) methods: Vec<Method>,
    /// Empty: all.
    pub(super) places: Vec<Place>,
}

/// What a canned server answers to what.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CannedAnswer {
    pub(super) method: Method,
    pub(super) url: Url,
    #[serde(default = "ok")]
    pub(super) status: u16,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) body: Option<String>,
    #[serde(default)]
    pub(super) body_file: Option<PathBuf>,
    /// How often at most; none: as often as it is asked.
    #[serde(default)]
    pub(super) times: Option<u32>,
}

const fn ok() -> u16 {
    200
}

impl Case {
    /// All that a step opens as a secret.
    pub(super) fn values(&self) -> impl Iterator<Item = (&SecretName, &GivenSecret)> {
        self.secrets.iter().chain(&self.tokens)
    }
}

impl Fixture {
    /// Reads one. Whether it goes with a step is not looked at yet.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, RehearsalError> {
        if bytes.len() > LONGEST_FIXTURE {
            return Err(RehearsalError::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| RehearsalError::NotText)?;
        let fixture: Self = parse_toml(text).map_err(RehearsalError::Toml)?;
        if fixture.cases.is_empty() {
            return Err(RehearsalError::NoCase);
        }
        let mut names = BTreeSet::new();
        match fixture.cases.iter().find(|case| !names.insert(&case.name)) {
            Some(twice) => Err(RehearsalError::NameTwice(twice.name.clone())),
            None => Ok(fixture),
        }
    }
}

impl<'de> Deserialize<'de> for GivenSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            value: String,
            #[serde(default, deserialize_with = "parsed")]
            to: Vec<Destination>,
            #[serde(default)]
            methods: Vec<Method>,
            #[serde(default, rename = "in")]
            places: Vec<Place>,
        }

        struct ValueOrTable;

        impl<'de> Visitor<'de> for ValueOrTable {
            type Value = GivenSecret;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a secret's value, or a table with `value`")
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<GivenSecret, E> {
                let value = SecretBytes::new(value.as_bytes().to_vec());
                Ok(GivenSecret { value, to: Vec::new(), methods: Vec::new(), places: Vec::new() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<GivenSecret, A::Error> {
                let Table { value, to, methods, places } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(GivenSecret { value: SecretBytes::new(value.into_bytes()), to, methods, places })
            }
        }

        deserializer.deserialize_any(ValueOrTable)
    }
}

fn parsed<'de, T: FromStr<Err: fmt::Display>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
}

/// Texts, or one.
pub(super) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct OneOrMore;

    impl<'de> Visitor<'de> for OneOrMore {
        type Value = Vec<String>;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a text, or a list of texts")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, list: A) -> Result<Vec<String>, A::Error> {
            Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(list))
        }
    }

    deserializer.deserialize_any(OneOrMore)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixture_says_what_is_there_and_what_is_expected() {
        let fixture = Fixture::parse(
            br#"
            [[case]]
            name = "uploads"
            args = ["https://files.example.org/", "a"]
            dirs.dist = "fixtures/dist"
            keys.release = "ed25519"
            [case.secrets]
            token = "tok_0123456789"
            other = { value = "oth_0123456789", to = ["https://files.example.org/a"], methods = ["PUT"], in = ["basic"] }
            [case.tokens]
            registry = "rgt_0123456789"
            [[case.http]]
            method = "PUT"
            url = "https://files.example.org/a"
            status = 201
            times = 1
            [case.expect]
            log.contains = "a"
            summary.contains = ["b", "c"]
            files."dist/a" = { absent = true }
            "#,
        )
        .unwrap();
        let case = &fixture.cases[0];
        assert_eq!(case.secrets[&"other".parse().unwrap()].methods, [Method::Put]);
        assert!(case.secrets[&"token".parse().unwrap()].to.is_empty());
        assert_eq!(case.values().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["other", "token", "registry"]);
        assert_eq!(case.keys[&"release".parse().unwrap()], KeyAlgorithm::Ed25519);
        assert_eq!((case.http[0].status, case.http[0].times), (201, Some(1)));
        // No value of a secret is shown.
        assert!(!format!("{fixture:?}").contains("0123456789"));
    }

    #[test]
    fn what_is_unknown_is_an_error_with_what_was_meant() {
        for (text, line, meant) in [
            ("[[case]]\nname = \"a\"\nargz = []\n", 3, "args"),
            ("[[case]]\nname = \"a\"\n[case.expect]\nlog.contain = \"a\"\n", 4, "contains"),
            ("[[case]]\nname = \"a\"\n[case.keys]\nrelease = \"p265\"\n", 4, "p256"),
            ("[[case]]\nname = \"a\"\n[case.secrets]\ntoken = { valu = \"a\" }\n", 4, "value"),
        ] {
            match Fixture::parse(text.as_bytes()).unwrap_err() {
                RehearsalError::Toml(error) => assert_eq!(error.meant.as_deref(), Some(meant), "{error}, line {line}"),
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn a_fixture_has_cases_that_can_be_told_apart() {
        assert_eq!(Fixture::parse(b"").unwrap_err(), RehearsalError::NoCase);
        let twice = "[[case]]\nname = \"a\"\n[[case]]\nname = \"a\"\n";
        assert_eq!(Fixture::parse(twice.as_bytes()).unwrap_err(), RehearsalError::NameTwice("a".to_owned()));
        assert_eq!(Fixture::parse(b"\xff").unwrap_err(), RehearsalError::NotText);
        let long = vec![b'\n'; LONGEST_FIXTURE + 1];
        assert_eq!(Fixture::parse(&long).unwrap_err(), RehearsalError::TooLong(long.len()));
    }
}
