//! JSON whose members come once, at every depth.

use super::refused::{EarRefused, Problem};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Longest name of a member. Refusals repeat names.
pub(super) const LONGEST_NAME: usize = 256;

/// A value as [`Value`] is, but that a member which stands there twice is refused: of two readers one might take the
/// first, the other the last. How deep values nest, `serde_json` bounds.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;
        impl<'de> Visitor<'de> for Once {
            type Value = Strict;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a JSON value")
            }

            fn visit_unit<E>(self) -> Result<Strict, E> {
                Ok(Strict(Value::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Strict, E> {
                let number = Number::from_f64(value).ok_or_else(|| E::custom("a number out of range"))?;
                Ok(Strict(Value::Number(number)))
            }

            fn visit_str<E>(self, value: &str) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }

            fn visit_string<E>(self, value: String) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Strict, A::Error> {
                let mut list = Vec::new();
                while let Some(Strict(value)) = items.next_element()? {
                    list.push(value);
                }
                Ok(Strict(list.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Strict, A::Error> {
                let mut members = Map::new();
                while let Some(name) = entries.next_key::<String>()? {
                    if name.len() > LONGEST_NAME {
                        return Err(A::Error::custom("the name of a member is too long"));
                    }
                    if members.contains_key(&name) {
                        return Err(A::Error::custom(format_args!("member `{name}` twice")));
                    }
                    let Strict(value) = entries.next_value()?;
                    members.insert(name, value);
                }
                Ok(Strict(members.into()))
            }
        }
        deserializer.deserialize_any(Once)
    }
}

/// An object out of which claims are taken one by one; what is left are extensions.
#[derive(Debug)]
pub(super) struct Object {
    at: String,
    members: Map<String, Value>,
}

impl Object {
    pub(super) fn parse(what: &str, bytes: &[u8]) -> Result<Self, EarRefused> {
        let Strict(value) = serde_json::from_slice(bytes)
            .map_err(|error| EarRefused::Malformed(format!("its {what} can't be read: {error}")))?;
        let Value::Object(members) = value else {
            return Err(EarRefused::Malformed(format!("its {what} are no JSON object")));
        };
        Ok(Self { at: String::new(), members })
    }

    /// The object that is the value of the claim at `at`.
    pub(super) fn of(at: &str, value: Value) -> Result<Self, EarRefused> {
        let Value::Object(members) = value else { return Err(EarRefused::claim(at, Problem::WrongType("an object"))) };
        Ok(Self { at: at.to_owned(), members })
    }

    /// Where the claim of this name is, for errors.
    pub(super) fn path(&self, name: &str) -> String {
        path(&self.at, name)
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name)
    }

    pub(super) fn require(&mut self, name: &str) -> Result<Value, EarRefused> {
        self.take(name).ok_or_else(|| EarRefused::claim(self.path(name), Problem::Missing))
    }

    pub(super) fn require_text(&mut self, name: &str) -> Result<String, EarRefused> {
        let value = self.require(name)?;
        text(&self.path(name), value)
    }

    pub(super) fn take_text(&mut self, name: &str) -> Result<Option<String>, EarRefused> {
        self.take(name).map(|value| text(&self.path(name), value)).transpose()
    }

    /// The members that nobody took: where each is, its name, its value.
    pub(super) fn rest(self) -> impl Iterator<Item = (String, String, Value)> {
        let Self { at, members } = self;
        members.into_iter().map(move |(name, value)| (path(&at, &name), name, value))
    }

    /// Refuses an object that has members which nobody took.
    pub(super) fn finish(self) -> Result<(), EarRefused> {
        let Some(name) = self.members.keys().next() else { return Ok(()) };
        Err(EarRefused::claim(self.path(name), Problem::Undefined))
    }
}

fn path(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

pub(super) fn text(at: &str, value: Value) -> Result<String, EarRefused> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(EarRefused::claim(at, Problem::WrongType("text"))),
    }
}
