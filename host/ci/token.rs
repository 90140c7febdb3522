//! The token of a job.
//!
//! Everything in a job's environment can be forged by any of its steps. It is read here to find the job's token; what the
//! job is, is said by the token, to the broker.

use serde::Deserialize;
use std::fmt;
use zeroize::Zeroizing;

/// The variable in which a GitLab job gets its token: `id_tokens: { ATTEST_RUN_ID_TOKEN: { aud: attest-run } }`.
pub const GITLAB_TOKEN: &str = "ATTEST_RUN_ID_TOKEN";
/// Where a GitHub job gets its tokens, and by what authority (GitHub, "OpenID Connect reference").
pub const GITHUB_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
/// See [`GITHUB_URL`].
pub const GITHUB_BEARER: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
/// Longest answer with a token.
pub const LONGEST_ANSWER: usize = 64 * 1024;

/// Where this job's token comes from.
pub enum TokenSource {
    /// It is here.
    Given(Zeroizing<String>),
    /// It has to be fetched.
    Fetch(TokenRequest),
}

/// A request for a token, to be sent as it is.
pub struct TokenRequest {
    /// `https://…`, the audience included.
    pub url: String,
    /// The value of the `authorization` header.
    pub authorization: Zeroizing<String>,
}

/// What is secret is not shown.
impl fmt::Debug for TokenSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(token) => write!(out, "Given({} bytes)", token.len()),
            Self::Fetch(request) => write!(out, "Fetch({:?})", request.url.split('?').next()),
        }
    }
}

/// Why a job's token can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The variable holds no https URL.
    #[error("{GITHUB_URL} is not an https URL")]
    Url,
    /// There is a URL, and no authority to use it.
    #[error("{GITHUB_URL} is set, and {GITHUB_BEARER} is not")]
    NoBearer,
    /// The answer is not what GitHub answers.
    #[error("the answer holds no token")]
    Answer,
}

/// Finds the token of the job whose variables `variable` tells. `None` in no CI job, or in one that has none.
///
/// # Errors
/// See [`TokenError`].
pub fn token_source(
    audience: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<TokenSource>, TokenError> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(token) = set(GITLAB_TOKEN) {
        return Ok(Some(TokenSource::Given(Zeroizing::new(token))));
    }
    let Some(url) = set(GITHUB_URL) else { return Ok(None) };
    if !url.starts_with("https://") || url.chars().any(|character| character.is_control() || character == ' ') {
        return Err(TokenError::Url);
    }
    let bearer = Zeroizing::new(set(GITHUB_BEARER).ok_or(TokenError::NoBearer)?);
    // The URL has a query already; everything but letters and digits of the audience is escaped (RFC 3986 §2.1).
    let separator = if url.contains('?') { '&' } else { '?' };
    let mut escaped = String::new();
    for byte in audience.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped += &format!("%{byte:02X}");
        }
    }
    let url = format!("{url}{separator}audience={escaped}");
    let authorization = Zeroizing::new(format!("bearer {}", bearer.as_str()));
    Ok(Some(TokenSource::Fetch(TokenRequest { url, authorization })))
}

/// The token in GitHub's answer.
///
/// # Errors
/// [`TokenError::Answer`].
pub fn token_of_answer(body: &[u8]) -> Result<Zeroizing<String>, TokenError> {
    #[derive(Deserialize)]
    struct Answer {
        value: String,
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|_| TokenError::Answer)?;
    if answer.value.is_empty() { Err(TokenError::Answer) } else { Ok(Zeroizing::new(answer.value)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<TokenSource>, TokenError> {
        token_source("a b&c", |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
        })
    }

    #[test]
    fn a_token_is_found_where_each_system_puts_it() {
        assert!(of(&[]).unwrap().is_none());
        let Some(TokenSource::Given(token)) = of(&[(GITLAB_TOKEN, "x.y.z")]).unwrap() else { panic!() };
        assert_eq!(token.as_str(), "x.y.z");
        let github = [(GITHUB_URL, "https://pipelines.example/token?api-version=2.0"), (GITHUB_BEARER, "secret")];
        let source = of(&github).unwrap().unwrap();
        assert!(!format!("{source:?}").contains("secret"));
        let TokenSource::Fetch(request) = source else { panic!() };
        assert_eq!(request.url, "https://pipelines.example/token?api-version=2.0&audience=a%20b%26c");
        assert_eq!(request.authorization.as_str(), "bearer secret");
        assert_eq!(of(&github[..1]).unwrap_err(), TokenError::NoBearer);
        assert_eq!(of(&[(GITHUB_URL, "http://pipelines.example"), github[1]]).unwrap_err(), TokenError::Url);
        assert_eq!(of(&[(GITHUB_URL, "https://x/\r\nhost: y"), github[1]]).unwrap_err(), TokenError::Url);
    }

    #[test]
    fn an_answer_holds_one_token() {
        assert_eq!(token_of_answer(br#"{"count":1,"value":"x.y.z"}"#).unwrap().as_str(), "x.y.z");
        for wrong in [&b"{}"[..], b"", b"x", br#"{"value":1}"#, br#"{"value":""}"#] {
            assert_eq!(token_of_answer(wrong).unwrap_err(), TokenError::Answer);
        }
    }
}
