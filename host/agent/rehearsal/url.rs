//! URLs of canned servers, and of requests that came to them.

use attest_evidence::exchange::{BadDestination, Host, Origin};
use serde::Deserialize;
use std::fmt;
use std::str::FromStr;

/// `SCHEME://HOST[:PORT][/PATH][?QUERY]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Url {
    pub(super) origin: Origin,
    pub(super) path: String,
    pub(super) query: Option<String>,
}

/// Text that is no such URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadUrl {
    #[error(transparent)]
    Origin(#[from] BadDestination),
    #[error(
        "`{0}` has what no request's target has: it is plain ASCII, with what else there is encoded, and without `#`"
    )]
    Target(String),
    #[error("`{0}` names no one host")]
    Wildcard(Origin),
}

impl Url {
    /// Whether a request for `other` is one for this: where this has no query, `other` may have any.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.origin == other.origin && self.path == other.path && (self.query.is_none() || self.query == other.query)
    }
}

impl FromStr for Url {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let host = text.find("://").map_or(0, |at| at + 3);
        let end = text.get(host..).and_then(|rest| rest.find(['/', '?'])).map_or(text.len(), |at| host + at);
        let (origin, target) = text.split_at(end);
        if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(BadUrl::Target(text.to_owned()));
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let path = if path.is_empty() { "/" } else { path }.to_owned();
        let origin: Origin = origin.parse()?;
        if let Host::Below(_) = origin.host() {
            return Err(BadUrl::Wildcard(origin));
        }
        Ok(Self { origin, path, query })
    }
}

impl TryFrom<String> for Url {
    type Error = BadUrl;

    fn try_from(text: String) -> Result<Self, BadUrl> {
        text.parse()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", self.origin, self.path)?;
        match &self.query {
            Some(query) => write!(out, "?{query}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn a_url_without_a_query_is_one_for_every_query() {
        assert_eq!(url("https://e.org").to_string(), "https://e.org/");
        assert_eq!(url("https://e.org?a=b").to_string(), "https://e.org/?a=b");
        assert!(url("https://e.org/x").covers(&url("https://e.org/x?a=b")));
        assert!(url("https://e.org/x?a=b").covers(&url("https://e.org/x?a=b")));
        for other in ["https://e.org/x?a=c", "https://e.org/x", "https://e.org/x/?a=b", "https://f.org/x?a=b"] {
            assert!(!url("https://e.org/x?a=b").covers(&url(other)), "{other}");
        }
        for bad in
            ["e.org", "https://e.org/a b", "https://e.org/#a", "https://u@e.org/", "http://e.org/", "https://*.e.org/"]
        {
            assert!(bad.parse::<Url>().is_err(), "{bad}");
        }
    }
}
