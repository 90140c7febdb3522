//! How a registry asks who is there: `WWW-Authenticate` (RFC 9110 §11.6.1), and bearer tokens as registries give them out.

use attest_sdk::http::Url;
use attest_sdk::{Error, Result};
use serde::Deserialize;

/// What a registry asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    /// A token, which is to be had there.
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

/// The answer of the place that gives out tokens.
#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

impl Challenge {
    /// Reads all headers of that name. A token is better than a password in every request.
    pub(crate) fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let challenges: Vec<_> = headers.flat_map(challenges).collect();
        let of = |wanted: &str| challenges.iter().find(|(scheme, _)| scheme.eq_ignore_ascii_case(wanted));
        let parameter = |parameters: &[(String, String)], wanted: &str| {
            parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.clone())
        };
        if let Some((_, parameters)) = of("Bearer")
            && let Some(realm) = parameter(parameters, "realm")
        {
            return Some(Self::Bearer { realm, service: parameter(parameters, "service") });
        }
        of("Basic").map(|_| Self::Basic)
    }
}

/// Where a token for pushing to a repository is to be had.
pub(crate) fn token_url(realm: &str, service: Option<&str>, repository: &str) -> Result<Url> {
    let mut url: Url = realm.parse()?;
    if let Some(service) = service {
        url = url.with_parameter("service", service);
    }
    Ok(url.with_parameter("scope", &format!("repository:{repository}:pull,push")))
}

/// The token in an answer.
pub(crate) fn token(answer: &[u8]) -> Result<String> {
    let answer: Option<TokenAnswer> = serde_json::from_slice(answer).ok();
    let token = answer.and_then(|answer| answer.token.or(answer.access_token));
    // It becomes a header: visible characters, as RFC 6750 §2.1 has them.
    token
        .filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()))
        .ok_or_else(|| Error::new("the registry gave no token"))
}

/// Scheme and parameters of each challenge in a header.
fn challenges(header: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut challenges: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for part in split(header) {
        let part = part.trim();
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (part, None),
        };
        // A new scheme stands in front of its first parameter, or alone.
        let (scheme, name) = match (name.split_once(' '), value) {
            (Some((scheme, name)), _) => (Some(scheme), name.trim()),
            (None, None) => (Some(name), ""),
            (None, Some(_)) => (None, name),
        };
        if let Some(scheme) = scheme.filter(|scheme| !scheme.is_empty()) {
            challenges.push((scheme.to_owned(), Vec::new()));
        }
        if let (Some((_, parameters)), Some(value)) = (challenges.last_mut(), value) {
            parameters.push((name.to_owned(), unquote(value)));
        }
    }
    challenges
}

/// Splits at commas outside quotes.
fn split(header: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let (mut quoted, mut escaped) = (false, false);
    for c in header.chars() {
        match c {
            ',' if !quoted => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = quoted && c == '\\' && !escaped;
        part.push(c);
    }
    parts.push(part);
    parts
}

fn unquote(value: &str) -> String {
    let Some(inside) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return value.to_owned();
    };
    let (mut text, mut escaped) = (String::new(), false);
    for c in inside.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            escaped = false;
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.into(), service: service.map(str::to_owned) })
    }

    #[test]
    fn registries_ask_in_many_ways() {
        let parse = |headers: &[&str]| Challenge::parse(headers.iter().copied());
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:o/w:pull,push""#;
        assert_eq!(parse(&[hub]), bearer("https://auth.docker.io/token", Some("registry.docker.io")));
        let error = r#"bearer  realm="https://a.example/t", error="invalid_token""#;
        assert_eq!(parse(&[error]), bearer("https://a.example/t", None));
        assert_eq!(parse(&[r#"Basic realm="Registry Realm""#]), Some(Challenge::Basic));
        assert_eq!(parse(&["Basic"]), Some(Challenge::Basic));
        assert_eq!(parse(&[r#"Basic realm="a, Bearer realm=b""#]), Some(Challenge::Basic));
        assert_eq!(parse(&[r#"Basic realm="x", Bearer realm="https://b/""#]), bearer("https://b/", None));
        assert_eq!(parse(&["Basic realm=x", r#"Bearer realm="https://b/\"q\"""#]), bearer("https://b/\"q\"", None));
        assert_eq!(parse(&["Bearer"]), None);
        assert_eq!(parse(&["Negotiate abc=="]), None);
        assert_eq!(parse(&[]), None);
    }

    #[test]
    fn a_token_is_asked_for_one_repository() {
        let url = token_url("https://auth.docker.io/token?a=b", Some("registry.docker.io"), "o/w").unwrap().to_string();
        let parameters = "a=b&service=registry.docker.io&scope=repository%3Ao%2Fw%3Apull%2Cpush";
        assert_eq!(url, format!("https://auth.docker.io/token?{parameters}"));
        assert!(token_url("/token", None, "o/w").is_err());
    }

    #[test]
    fn tokens_come_under_two_names() {
        assert_eq!(token(br#"{"token":"a","expires_in":300}"#).unwrap(), "a");
        assert_eq!(token(br#"{"access_token":"b"}"#).unwrap(), "b");
        for bad in [&b"{}"[..], b"", br#"{"token":""}"#, br#"{"token":"a\r\nx: y"}"#] {
            assert!(token(bad).is_err());
        }
    }
}
