//! JSON whose members come once, at every depth.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Longest name of a member. Refusals repeat names.
pub const LONGEST_NAME: usize = 256;

/// Reads one document.
///
/// # Errors
/// It is no JSON, or a member stands in an object twice.
pub fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(bytes).map(|Strict(value)| value)
}

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
