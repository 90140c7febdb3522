//! As much of JSON Schema (draft 2020-12) as the schema of manifests has. A word that is not known here fails.

use super::manifest_schema;
use serde_json::Value;

/// Whether a document has the form of the schema.
pub(super) fn conforms(document: &Value) -> Result<(), String> {
    let root: Value = serde_json::from_str(&manifest_schema()).unwrap();
    valid(&root, &root, document, "step.toml")
}

fn valid(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let fail = |what: &str| Err(format!("{at}: {what}: {value}"));
    let length = || value.as_str().map_or(0, |text| text.chars().count() as u64);
    for (word, rule) in schema.as_object().unwrap() {
        match (word.as_str(), value) {
            ("$schema" | "title" | "description" | "default" | "format" | "$defs", _) => {}
            ("$ref", _) => {
                let target = root.pointer(rule.as_str().unwrap().trim_start_matches('#')).unwrap();
                valid(root, target, value, at)?;
            }
            ("type", value) => {
                let is = match rule.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_i64() || value.is_u64(),
                    other => panic!("type {other}"),
                };
                if !is {
                    return fail("another type is wanted");
                }
            }
            ("enum", value) if rule.as_array().unwrap().contains(value) => {}
            ("enum", _) => return fail("another value is wanted"),
            ("minLength", Value::String(_)) if length() < rule.as_u64().unwrap() => return fail("too short"),
            ("maxLength", Value::String(_)) if length() > rule.as_u64().unwrap() => return fail("too long"),
            ("pattern", Value::String(text)) if !regex::Regex::new(rule.as_str().unwrap()).unwrap().is_match(text) => {
                return fail(&format!("does not match {rule}"));
            }
            ("minimum", Value::Number(number)) if number.as_f64() < rule.as_f64() => return fail("too small"),
            ("maximum", Value::Number(number)) if number.as_f64() > rule.as_f64() => return fail("too large"),
            ("items", Value::Array(items)) => {
                for item in items {
                    valid(root, rule, item, &format!("{at}[]"))?;
                }
            }
            ("maxItems", Value::Array(items)) if items.len() as u64 > rule.as_u64().unwrap() => {
                return fail("too many");
            }
            ("uniqueItems", Value::Array(items)) => {
                if items.iter().enumerate().any(|(index, item)| items[..index].contains(item)) {
                    return fail("one stands there twice");
                }
            }
            ("properties", Value::Object(members)) => {
                for (name, member) in members {
                    if let Some(rule) = rule.get(name) {
                        valid(root, rule, member, &format!("{at}.{name}"))?;
                    }
                }
            }
            ("required", Value::Object(members)) => {
                if !rule.as_array().unwrap().iter().all(|name| members.contains_key(name.as_str().unwrap())) {
                    return fail(&format!("of {rule} one is missing"));
                }
            }
            ("propertyNames", Value::Object(members)) => {
                for name in members.keys() {
                    valid(root, rule, &Value::String(name.clone()), at)?;
                }
            }
            ("maxProperties", Value::Object(members)) if members.len() as u64 > rule.as_u64().unwrap() => {
                return fail("too many");
            }
            ("additionalProperties", Value::Object(members)) => {
                let known = schema.get("properties").and_then(Value::as_object);
                for (name, member) in
                    members.iter().filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)))
                {
                    match rule {
                        Value::Bool(false) => return fail(&format!("`{name}` is unknown")),
                        rule => valid(root, rule, member, &format!("{at}.{name}"))?,
                    }
                }
            }
            (
                "minLength"
                | "maxLength"
                | "pattern"
                | "minimum"
                | "maximum"
                | "items"
                | "maxItems"
                | "uniqueItems"
                | "properties"
                | "required"
                | "propertyNames"
                | "maxProperties"
                | "additionalProperties",
                _,
            ) => {}
            (other, _) => panic!("the schema has `{other}`, which is not held here"),
        }
    }
    Ok(())
}
