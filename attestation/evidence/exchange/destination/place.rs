//! With which method a secret goes, and where in the request it stands.

use super::{BadDestination, LONGEST_PART};
use crate::report::excerpt;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A method that may be granted (RFC 9110 §9). Never TRACE, which sends back what it got, nor CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the words are those of RFC 9110")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete, Self::Options];

    /// As text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}

impl FromStr for Method {
    type Err = BadDestination;

    fn from_str(text: &str) -> Result<Self, BadDestination> {
        Self::ALL
            .into_iter()
            .find(|method| method.as_str() == text)
            .ok_or_else(|| BadDestination::Method(excerpt(text)))
    }
}

/// Where in a request a secret stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Place {
    /// In this header, in lower case, behind a prefix that the step chooses: `header:NAME`.
    Header(String),
    /// As the password of basic authentication (RFC 7617), with a user that the step chooses: `basic`.
    Basic,
    /// As this parameter of the query: `query:NAME`. Servers write those into their logs.
    Query(String),
    /// As this field of a form (`application/x-www-form-urlencoded`): `form:NAME`.
    Form(String),
    /// As this member of a JSON object: `json:NAME`.
    Json(String),
}

/// Headers that frame a request, say whom it is for, or decide what comes back.
const HOST_HEADERS: [&str; 16] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "http2-settings",
    "if-range",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "transfer-encoding",
    "upgrade",
];

impl FromStr for Place {
    type Err = BadDestination;

    fn from_str(text: &str) -> Result<Self, BadDestination> {
        let bad = || BadDestination::Place(excerpt(text));
        if text == "basic" {
            return Ok(Self::Basic);
        }
        let (kind, name) = text.split_once(':').ok_or_else(bad)?;
        // A token (RFC 9110 §5.6.2) for headers, and what needs no encoding anywhere for the others.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > LONGEST_PART || !name.chars().all(plain) {
            return Err(bad());
        }
        match kind {
            "header" if name.chars().any(|c| c.is_ascii_uppercase()) => Err(bad()),
            "header" if HOST_HEADERS.contains(&name) || name.starts_with("attest-") => {
                Err(BadDestination::HostHeader(name.to_owned()))
            }
            "header" => Ok(Self::Header(name.to_owned())),
            "query" => Ok(Self::Query(name.to_owned())),
            "form" => Ok(Self::Form(name.to_owned())),
            "json" => Ok(Self::Json(name.to_owned())),
            _ => Err(bad()),
        }
    }
}

impl TryFrom<String> for Place {
    type Error = BadDestination;

    fn try_from(text: String) -> Result<Self, BadDestination> {
        text.parse()
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(out, "header:{name}"),
            Self::Basic => out.write_str("basic"),
            Self::Query(name) => write!(out, "query:{name}"),
            Self::Form(name) => write!(out, "form:{name}"),
            Self::Json(name) => write!(out, "json:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_one_that_is_the_steps_to_fill() {
        for bad in
            ["header:host", "header:Range", "header:range", "header:attest-x", "header:", "cookie:a", "query:a b"]
        {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
        for good in ["header:x-token", "basic", "query:token", "form:token", "json:token"] {
            assert_eq!(good.parse::<Place>().unwrap().to_string(), good);
        }
    }

    #[test]
    fn a_method_is_one_that_may_be_granted() {
        for bad in ["TRACE", "CONNECT", "get", ""] {
            assert!(bad.parse::<Method>().is_err(), "{bad}");
        }
        for method in Method::ALL {
            assert_eq!(method.as_str().parse(), Ok(method));
        }
    }
}
