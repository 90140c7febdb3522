//! Where requests may go, and where a secret may go in them.
//!
//! Each has one spelling, so that what was granted and what is compared are the same bytes: host names in lower case and
//! without a dot at the end, addresses as RFC 5952 and dotted decimals write them, ports only where they are not the
//! scheme's own, paths without a step back and without anything encoded.

mod origin;
mod path;
mod place;

pub use origin::{Host, Origin, Scheme};
pub use path::PathPrefix;
pub use place::{Method, Place};

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The longest path prefix, and name of a header, parameter or field.
const LONGEST_PART: usize = 256;

/// Text that is no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDestination {
    /// Neither `https://` nor `http://` in front.
    #[error("`{0}` does not begin with `https://` or `http://`")]
    Scheme(String),
    /// In the clear, and not to this machine.
    #[error("`{0}` is in the clear: `http://` is for addresses of this machine (127.0.0.0/8, [::1]) and `localhost`")]
    Clear(String),
    /// A user or password in front of the host.
    #[error("a destination names no user: leave out what stands before `@`")]
    User,
    /// No host name in its one spelling.
    #[error("`{host}` is no host: {why}")]
    Host {
        /// What stands in its place.
        host: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No port.
    #[error("`{0}` is no port (1 to 65535)")]
    Port(String),
    /// Something behind the port where nothing may stand.
    #[error("`{0}` has something behind its host: this takes `SCHEME://HOST[:PORT]`")]
    Behind(String),
    /// More than one way to write it, and this is not the one.
    #[error("`{text}` is written `{one}`")]
    Spelling {
        /// As it came.
        text: String,
        /// As it is written.
        one: Origin,
    },
    /// A wildcard that many strangers are below.
    #[error("`*.{0}` is everybody's: a wildcard stands below a domain of one owner")]
    Public(String),
    /// No path that a prefix can be.
    #[error("`{path}` is no path: {why}")]
    Path {
        /// What stands in its place.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No method that may carry a secret.
    #[error("`{0}` is no method that may be granted: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS are")]
    Method(String),
    /// No place that a secret can stand in.
    #[error("`{0}` is no place: `header:NAME`, `basic`, `query:NAME`, `form:NAME` and `json:NAME` are")]
    Place(String),
    /// A header that is the host's to write.
    #[error("a secret can't stand in header `{0}`: the host writes that one")]
    HostHeader(String),
}

/// Where a secret may go: a property of the secret, kept by the broker, signed in every grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// To whom.
    pub origin: Origin,
    /// Below which path.
    pub path: PathPrefix,
    /// With which methods.
    pub methods: Vec<Method>,
    /// Where in the request.
    pub places: Vec<Place>,
    /// Whether it may lie in a private network.
    pub private: bool,
}

/// Where a step may send requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantedOrigin {
    /// To whom.
    pub origin: Origin,
    /// Whether it may lie in a private network.
    pub private: bool,
}

impl FromStr for Destination {
    type Err = BadDestination;

    /// `SCHEME://HOST[:PORT][/PATH]`: with the methods of [`Destination::METHODS`], in a header or as a password.
    fn from_str(text: &str) -> Result<Self, BadDestination> {
        let start = text.find("://").map_or(0, |at| at + 3);
        let (before, behind) = text.split_at(start);
        let (origin, path) = match behind.find('/') {
            Some(at) => (format!("{before}{}", behind.get(..at).unwrap_or_default()), behind.get(at..).unwrap_or("/")),
            None => (text.to_owned(), "/"),
        };
        Ok(Self {
            origin: origin.parse()?,
            path: path.parse()?,
            methods: Self::METHODS.to_vec(),
            places: vec![Place::Header("authorization".to_owned()), Place::Basic],
            private: false,
        })
    }
}

impl Destination {
    /// The methods of a destination for which none are named.
    pub const METHODS: [Method; 6] =
        [Method::Get, Method::Head, Method::Post, Method::Put, Method::Patch, Method::Delete];

    /// Whether the secret may stand at `place` of a request with this method, to this origin and path.
    pub fn allows(&self, origin: &Origin, method: Method, path: &str, place: &Place) -> bool {
        self.origin.covers(origin)
            && self.path.covers(path)
            && self.methods.contains(&method)
            && self.places.contains(place)
    }

    /// The part of this that lies below `other`, of which origin and path count. None if no part does.
    #[must_use]
    pub fn narrowed(&self, other: &Self) -> Option<Self> {
        let origin = [(&self.origin, &other.origin), (&other.origin, &self.origin)]
            .into_iter()
            .find_map(|(wide, narrow)| wide.covers(narrow).then_some(narrow))?;
        let path = [(&self.path, &other.path), (&other.path, &self.path)]
            .into_iter()
            .find_map(|(wide, narrow)| wide.covers(narrow.as_str()).then_some(narrow))?;
        Some(Self { origin: origin.clone(), path: path.clone(), ..self.clone() })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods: Vec<_> = self.methods.iter().map(|method| method.as_str()).collect();
        let places: Vec<_> = self.places.iter().map(Place::to_string).collect();
        write!(out, "{}{} {}", self.origin, self.path.as_str(), methods.join(","))?;
        if !places.is_empty() {
            write!(out, " in {}", places.join(", "))?;
        }
        if self.private { out.write_str(", also in a private network") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_narrows_and_never_widens() {
        let granted: Destination = "https://*.example.com/api".parse().unwrap();
        let narrowed = |to: &str| Some(granted.narrowed(&to.parse().unwrap())?.to_string());
        let rest = "GET,HEAD,POST,PUT,PATCH,DELETE in header:authorization, basic";
        assert_eq!(narrowed("https://a.example.com"), Some(format!("https://a.example.com/api {rest}")));
        assert_eq!(narrowed("https://a.example.com/api/v1"), Some(format!("https://a.example.com/api/v1 {rest}")));
        assert_eq!(narrowed("https://*.example.com/"), Some(format!("https://*.example.com/api {rest}")));
        assert_eq!(narrowed("https://a.example.com/apis"), None);
        assert_eq!(narrowed("https://example.com/api"), None);
        assert_eq!(narrowed("https://a.example.com:444/api"), None);
    }

    #[test]
    fn a_secret_stands_only_in_its_places() {
        let destination: Destination = "https://example.com/upload".parse().unwrap();
        let here: Origin = "https://example.com".parse().unwrap();
        let place: Place = "header:authorization".parse().unwrap();
        assert!(destination.allows(&here, Method::Put, "/upload/x", &place));
        assert!(!destination.allows(&here, Method::Options, "/upload/x", &place));
        assert!(!destination.allows(&here, Method::Put, "/other", &place));
        assert!(!destination.allows(&here, Method::Put, "/upload/x", &"query:token".parse().unwrap()));
    }
}
