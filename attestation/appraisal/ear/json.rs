//! Claims out of JSON objects.

use super::refused::{EarRefused, Problem};
use attest_evidence::json;
use serde_json::{Map, Value};

/// An object out of which claims are taken one by one; what is left are extensions.
#[derive(Debug)]
pub(super) struct Object {
    at: String,
    members: Map<String, Value>,
}

impl Object {
    pub(super) fn parse(what: &str, bytes: &[u8]) -> Result<Self, EarRefused> {
        let value =
            json::parse(bytes).map_err(|error| EarRefused::Malformed(format!("its {what} can't be read: {error}")))?;
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
