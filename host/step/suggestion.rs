//! TOML whose errors say where, and what was probably meant.

use serde::de::DeserializeOwned;

/// Text that is not the TOML it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct TomlError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
    /// The known key nearest to an unknown one.
    pub meant: Option<String>,
}

/// Reads strict TOML: unknown keys are errors, with the nearest known one.
///
/// # Errors
/// Where and what; only the first.
pub fn parse_toml<T: DeserializeOwned>(text: &str) -> Result<T, TomlError> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
        let message = error.message().to_owned();
        let meant = nearest(&message);
        TomlError { line, what: message, meant }
    })
}

/// From serde's "unknown field `a`, expected one of `b`, `c`": the one most like it, if any is.
fn nearest(message: &str) -> Option<String> {
    let mut names =
        message.strip_prefix("unknown field ").or_else(|| message.strip_prefix("unknown variant "))?.split('`');
    let unknown = names.nth(1)?;
    names
        .skip(1)
        .step_by(2)
        .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
        .filter(|(distance, known)| *distance <= known.len().max(unknown.len()) / 2)
        .min()
        .map(|(_, known)| known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        broker: String,
        state: String,
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line_and_the_nearest_known_one() {
        let error = parse_toml::<Sample>("state = \"a\"\nbroekr = \"b\"\n").unwrap_err();
        assert_eq!((error.line, error.meant.as_deref()), (2, Some("broker")));
        assert_eq!(parse_toml::<Sample>("zzzzzzzzzz = 1").unwrap_err().meant, None);
    }
}
