//! The manifest's form for editors and other programs: JSON Schema.
//!
//! Types of other crates are described here; a test holds both against the same texts.

use super::{DirectoryDeclaration, HttpDeclaration, KeyDeclaration, LONGEST_WHY, MOST_DECLARATIONS, Manifest, Reason};
use super::{SecretDeclaration, TokenDeclaration};
use attest_evidence::exchange::KeyFormat;
use attest_evidence::name::LONGEST_NAME;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;
use std::collections::BTreeMap;

/// A segment of a name.
const SEGMENT: &str = "[a-z0-9]([a-z0-9._-]*[a-z0-9])?";

/// The JSON Schema (draft 2020-12) of `step.toml`, as text.
pub fn manifest_schema() -> String {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Manifest>();
    schema.insert("title".to_owned(), "step.toml of attest-run".into());
    let text = serde_json::to_string_pretty(&sorted(schema.to_value())).unwrap_or_default();
    format!("{text}\n")
}

/// With the members of each object in the order of their names, however the JSON library keeps them.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<String, Value> =
                members.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            Value::Object(members.into_iter().collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
        plain => plain,
    }
}

fn names(pattern: &str) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": LONGEST_NAME, "pattern": pattern })
}

fn by_name<T: JsonSchema>(generator: &mut SchemaGenerator, pattern: &str) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": names(pattern),
        "additionalProperties": generator.subschema_for::<T>(),
        "maxProperties": MOST_DECLARATIONS,
    })
}

pub(super) fn name(_: &mut SchemaGenerator) -> Schema {
    names(&format!("^{SEGMENT}$"))
}

pub(super) fn secrets(generator: &mut SchemaGenerator) -> Schema {
    by_name::<SecretDeclaration>(generator, &format!("^{SEGMENT}(/{SEGMENT})*$"))
}

pub(super) fn tokens(generator: &mut SchemaGenerator) -> Schema {
    by_name::<TokenDeclaration>(generator, &format!("^{SEGMENT}(/{SEGMENT})*$"))
}

pub(super) fn audience(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[!#-\\[\\]-~]+$" })
}

pub(super) fn keys(generator: &mut SchemaGenerator) -> Schema {
    by_name::<KeyDeclaration>(generator, &format!("^{SEGMENT}$"))
}

pub(super) fn dirs(generator: &mut SchemaGenerator) -> Schema {
    by_name::<DirectoryDeclaration>(generator, &format!("^{SEGMENT}$"))
}

pub(super) fn outputs(generator: &mut SchemaGenerator) -> Schema {
    by_name::<Reason>(generator, &format!("^{SEGMENT}$"))
}

pub(super) fn http(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<HttpDeclaration>()
}

pub(super) fn reason(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Reason>()
}

pub(super) fn why(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": LONGEST_WHY, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*[^\\s][^\\u0000-\\u001f\\u007f-\\u009f]*$" })
}

pub(super) fn description(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": LONGEST_WHY, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$" })
}

pub(super) fn secret_use(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["http", "reveal", "env"], "default": "http" })
}

pub(super) fn key_use(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["sign", "derive"] })
}

pub(super) fn formats(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": { "enum": KeyFormat::ALL.map(KeyFormat::as_str) }, "uniqueItems": true })
}

pub(super) fn directory_mode(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["read", "write"] })
}

pub(super) fn variable(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[A-Z][A-Z0-9_]*$", "maxLength": 128 })
}

pub(super) fn guest_path(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^(\\.|/|(/[!-.0-\\[\\]-~]+)+)$", "maxLength": 256 })
}

/// `SCHEME://HOST[:PORT]`, so far as a pattern can say it.
const ORIGIN: &str = "(https://(\\*\\.)?[a-z0-9.:\\[\\]-]+|http://(localhost|127\\.[0-9.]+|\\[::1\\])(:[0-9]+)?)";

pub(super) fn origins(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": { "type": "string", "pattern": format!("^{ORIGIN}$") },
        "uniqueItems": true,
        "maxItems": MOST_DECLARATIONS,
    })
}

pub(super) fn destinations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": { "type": "string", "pattern": format!("^{ORIGIN}(/[^?#%\\\\\\s]*)?$") },
        "uniqueItems": true,
        "maxItems": MOST_DECLARATIONS,
    })
}
