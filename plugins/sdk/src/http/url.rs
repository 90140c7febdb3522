//! URLs of requests (RFC 3986), in the form in which the host takes them apart.

use crate::error::{Error, Result};
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// `https://HOST[:PORT][/PATH][?QUERY]`, or `http://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    scheme: Scheme,
    /// In lower case.
    authority: String,
    /// Begins with `/`.
    path: String,
    /// Without `?`.
    query: Option<String>,
}

/// How a request travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn port(self) -> &'static str {
        match self {
            Self::Http => ":80",
            Self::Https => ":443",
        }
    }
}

/// Text for one name or value of a query or form: everything but unreserved characters (RFC 3986 §2.3) is
/// percent-encoded.
pub fn encode(text: &str) -> String {
    encode_but(text, b"-._~")
}

/// For one segment of a path: `:` and `@` may stand there (RFC 3986 §3.3), and registries want digests as they are.
fn encode_segment(text: &str) -> String {
    encode_but(text, b"-._~:@")
}

fn encode_but(text: &str, plain: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}

impl Url {
    pub(super) const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// `HOST[:PORT]`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// `SCHEME://HOST[:PORT]`, as `[http]` lists it.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme.as_str(), self.authority)
    }

    /// The path. Begins with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query, without `?`.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    pub(super) fn path_with_query(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// The same without its query, which may hold what nobody else should see.
    #[must_use]
    pub fn without_query(&self) -> Self {
        Self { query: None, ..self.clone() }
    }

    /// What is called so below it. The name is one segment, and is encoded.
    pub fn child(&self, name: &str) -> Result<Self> {
        if matches!(name, "" | "." | "..") {
            return Err(Error::new(format!("`{name}` can't be a segment of a path")));
        }
        let mut url = self.without_query();
        if !url.path.ends_with('/') {
            url.path.push('/');
        }
        url.path += &encode_segment(name);
        Ok(url)
    }

    /// The same with another parameter in its query.
    #[must_use]
    pub fn with_parameter(&self, name: &str, value: &str) -> Self {
        let parameter = format!("{}={}", encode(name), encode(value));
        let query = match self.query.as_deref() {
            None | Some("") => parameter,
            Some(query) => format!("{query}&{parameter}"),
        };
        Self { query: Some(query), ..self.clone() }
    }

    /// What an answer's `Location` means (RFC 3986 §5.2), if this was asked: a URL, or a path from the host's root.
    pub fn resolve(&self, reference: &str) -> Result<Self> {
        if reference.starts_with("//") {
            format!("{}:{reference}", self.scheme.as_str()).parse()
        } else if reference.starts_with('/') {
            format!("{}{reference}", self.origin()).parse()
        } else if reference.contains("://") {
            reference.parse()
        } else {
            Err(bad(reference, "as a reference it is a URL, or begins with `/`"))
        }
    }
}

fn bad(text: &str, why: &str) -> Error {
    let text: String = text.chars().take(200).flat_map(char::escape_debug).collect();
    Error::new(format!("`{text}` is no URL of a request: {why}"))
}

impl FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (scheme, rest) = [Scheme::Https, Scheme::Http]
            .into_iter()
            .find_map(|scheme| Some((scheme, text.strip_prefix(scheme.as_str())?.strip_prefix("://")?)))
            .ok_or_else(|| bad(text, "it begins neither with `https://` nor with `http://`"))?;
        if let Some(c) = rest.chars().find(|c| !c.is_ascii_graphic() || "\"<>\\^`{|}".contains(*c)) {
            return Err(bad(text, &format!("`{}` has to be percent-encoded", c.escape_debug())));
        }
        if rest.contains('#') {
            return Err(bad(text, "what stands behind `#` is never sent"));
        }
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(bad(text, "a user stands in it: use a secret, with `secret_basic`"));
        }
        if authority.is_empty() || authority.starts_with(':') {
            return Err(bad(text, "it names no host"));
        }
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (rest, None),
        };
        // `..` is taken out by some servers and not by others: nothing may depend on which.
        if path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(bad(text, "`.` and `..` can't be segments of its path"));
        }
        let authority = authority.to_ascii_lowercase();
        let authority = authority.strip_suffix(scheme.port()).unwrap_or(&authority).to_owned();
        let path = if path.is_empty() { "/" } else { path }.to_owned();
        Ok(Self { scheme, authority, path, query })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", self.origin(), self.path_with_query())
    }
}

impl TryFrom<&str> for Url {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        text.parse()
    }
}

impl TryFrom<String> for Url {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<&Self> for Url {
    fn from(url: &Self) -> Self {
        url.clone()
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn urls_are_taken_apart_and_put_together() {
        for (text, origin, path, query) in [
            ("https://example.org", "https://example.org", "/", None),
            ("https://Example.org:443/A/b?c=d&e", "https://example.org", "/A/b", Some("c=d&e")),
            ("http://127.0.0.1:8080?x", "http://127.0.0.1:8080", "/", Some("x")),
            ("http://[::1]:80/a%20b", "http://[::1]", "/a%20b", None),
            ("https://example.org/?", "https://example.org", "/", Some("")),
        ] {
            let parsed = url(text);
            assert_eq!((parsed.origin().as_str(), parsed.path(), parsed.query()), (origin, path, query), "{text}");
            assert_eq!(url(&parsed.to_string()), parsed);
        }
    }

    #[test]
    fn what_is_no_url_is_told_why() {
        for (text, why) in [
            ("ftp://example.org", "neither with"),
            ("HTTPS://example.org", "neither with"),
            ("https:///x", "no host"),
            ("https://:443/x", "no host"),
            ("https://user:password@example.org/", "`secret_basic`"),
            ("https://example.org/a b", "percent-encoded"),
            ("https://example.org/a\r\nhost: b", "percent-encoded"),
            ("https://example.org/ä", "percent-encoded"),
            ("https://example.org/a#b", "never sent"),
            ("https://example.org/a/../b", "segments"),
            ("https://example.org/.", "segments"),
        ] {
            let error = text.parse::<Url>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn children_and_parameters_are_encoded() {
        let base = url("https://example.org/files?signature=x");
        assert_eq!(base.child("a b/ä").unwrap().to_string(), "https://example.org/files/a%20b%2F%C3%A4");
        assert_eq!(base.child("sha256:ab@1").unwrap().path(), "/files/sha256:ab@1");
        assert!(base.child("..").is_err() && base.child("").is_err());
        assert_eq!(base.with_parameter("name", "a&b").query(), Some("signature=x&name=a%26b"));
        assert_eq!(url("https://example.org/?").with_parameter("a", "b").query(), Some("a=b"));
        assert_eq!(base.without_query().to_string(), "https://example.org/files");
    }

    #[test]
    fn locations_are_resolved() {
        let base = url("https://example.org/v2/x/blobs/uploads/");
        for (location, is) in [
            ("/v2/x/blobs/uploads/1?state=s", "https://example.org/v2/x/blobs/uploads/1?state=s"),
            ("https://other.example.org/1", "https://other.example.org/1"),
            ("//other.example.org/1", "https://other.example.org/1"),
        ] {
            assert_eq!(base.resolve(location).unwrap().to_string(), is);
        }
        for location in ["", "1", "javascript:x", "ftp://example.org/"] {
            assert!(base.resolve(location).is_err(), "{location}");
        }
    }
}
