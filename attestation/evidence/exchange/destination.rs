//! Where requests may go, and where a secret may go in them.
//!
//! Each has one spelling, so that what was granted and what is compared are the same bytes: host names in lower case and
//! without a dot at the end, addresses as RFC 5952 and dotted decimals write them, ports only where they are not the
//! scheme's own, paths without a step back and without anything encoded.

use core::net::{IpAddr, Ipv6Addr};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The longest host name (RFC 1035 §2.3.4, as text).
const LONGEST_HOST: usize = 253;
/// The longest path prefix, and name of a header, parameter or field.
const LONGEST_PART: usize = 256;

/// How a request travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Over TLS.
    Https,
    /// In the clear.
    Http,
}

impl Scheme {
    /// As text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }

    /// The port that need not be said (RFC 9110 §4.2).
    pub const fn port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
        }
    }
}

/// Whom a request is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A host, by its name.
    Name(String),
    /// Every host whose name is one label and then this: `*.NAME`.
    Below(String),
    /// A host, by its address.
    Address(IpAddr),
}

/// `SCHEME://HOST[:PORT]`: where requests go (RFC 6454 §4), or may go: there a host can be `*.NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin {
    scheme: Scheme,
    host: Host,
    port: u16,
}

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

impl Origin {
    /// What a request's scheme and authority (RFC 3986 §3.2) say. Upper case is lowered; nothing else is forgiven.
    ///
    /// # Errors
    /// See [`BadDestination`]. `*` is no host here.
    pub fn of_request(scheme: &str, authority: &str) -> Result<Self, BadDestination> {
        let scheme = match scheme {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            other => return Err(BadDestination::Scheme(other.to_owned())),
        };
        if authority.contains('@') {
            return Err(BadDestination::User);
        }
        let (host, port) = Self::authority(&authority.to_ascii_lowercase(), scheme)?;
        match host {
            Host::Below(_) => Err(BadDestination::Host { host: authority.to_owned(), why: "a request names one host" }),
            host => Ok(Self { scheme, host, port }),
        }
    }

    fn authority(text: &str, scheme: Scheme) -> Result<(Host, u16), BadDestination> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']').ok_or_else(|| bad_host(text, "`]` is missing"))?;
                let address: Ipv6Addr = address.parse().map_err(|_| bad_host(text, "it is no IPv6 address"))?;
                (Host::Address(IpAddr::V6(address)), rest.strip_prefix(':').or((!rest.is_empty()).then_some(rest)))
            }
            None => match text.split_once(':') {
                Some((host, port)) => (name_or_address(host)?, Some(port)),
                None => (name_or_address(text)?, None),
            },
        };
        let port = match port {
            None => scheme.port(),
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|port| *port != 0 && !digits.starts_with(['+', '0']))
                .ok_or_else(|| BadDestination::Port(digits.to_owned()))?,
        };
        Ok((host, port))
    }

    /// How.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// To whom.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// On which port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// `HOST[:PORT]`, as it stands in a request.
    pub fn authority_text(&self) -> String {
        let host = match &self.host {
            Host::Name(name) => name.clone(),
            Host::Below(name) => format!("*.{name}"),
            Host::Address(IpAddr::V4(address)) => address.to_string(),
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
        };
        if self.port == self.scheme.port() { host } else { format!("{host}:{}", self.port) }
    }

    /// Whether requests to `other` are requests to this.
    pub fn covers(&self, other: &Self) -> bool {
        let host = match (&self.host, &other.host) {
            (Host::Below(domain), Host::Name(name)) => {
                // One label, as in certificates (RFC 6125 §6.4.3).
                let label = name.strip_suffix(domain.as_str()).and_then(|before| before.strip_suffix('.'));
                label.is_some_and(|label| !label.is_empty() && !label.contains('.'))
            }
            (one, another) => one == another,
        };
        host && self.scheme == other.scheme && self.port == other.port
    }
}

fn bad_host(host: &str, why: &'static str) -> BadDestination {
    BadDestination::Host { host: host.chars().take(80).flat_map(char::escape_default).collect(), why }
}

fn name_or_address(text: &str) -> Result<Host, BadDestination> {
    if let Ok(address) = text.parse() {
        return Ok(Host::Address(IpAddr::V4(address)));
    }
    let (below, name) = match text.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, text),
    };
    if name.is_empty() || name.len() > LONGEST_HOST {
        return Err(bad_host(text, "a name has 1 to 253 characters"));
    }
    for label in name.split('.') {
        let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if label.is_empty() || label.len() > 63 {
            return Err(bad_host(text, "each of its labels has 1 to 63 characters"));
        }
        if !label.chars().all(inside) {
            return Err(bad_host(text, "a name is made of a-z, 0-9, `-` and `.` (others in their `xn--` form)"));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(bad_host(text, "a label neither begins nor ends with `-`"));
        }
    }
    // What ends in a number is an address in one of its many spellings, and not in the one (URL standard §3.5).
    let last = name.rsplit('.').next().unwrap_or_default();
    let numeric = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if numeric(last) || last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|c| c.is_ascii_hexdigit())) {
        return Err(bad_host(text, "an address is written as four decimal numbers"));
    }
    if !below {
        return Ok(Host::Name(name.to_owned()));
    }
    // A whole top-level domain, or one below which anybody registers (publicsuffix.org).
    if psl::domain_str(name).is_none() {
        return Err(BadDestination::Public(name.to_owned()));
    }
    Ok(Host::Below(name.to_owned()))
}

impl FromStr for Origin {
    type Err = BadDestination;

    fn from_str(text: &str) -> Result<Self, BadDestination> {
        let (scheme, rest) = [Scheme::Https, Scheme::Http]
            .into_iter()
            .find_map(|scheme| Some((scheme, text.strip_prefix(scheme.as_str())?.strip_prefix("://")?)))
            .ok_or_else(|| BadDestination::Scheme(text.to_owned()))?;
        if rest.contains('@') {
            return Err(BadDestination::User);
        }
        if rest.contains(['/', '?', '#', '\\']) {
            return Err(BadDestination::Behind(text.to_owned()));
        }
        let (host, port) = Self::authority(rest, scheme)?;
        let origin = Self { scheme, host, port };
        let here = match &origin.host {
            Host::Name(name) => name == "localhost",
            Host::Below(_) => false,
            Host::Address(address) => address.is_loopback(),
        };
        if scheme == Scheme::Http && !here {
            return Err(BadDestination::Clear(text.to_owned()));
        }
        Ok(origin)
    }
}

impl TryFrom<String> for Origin {
    type Error = BadDestination;

    fn try_from(text: String) -> Result<Self, BadDestination> {
        let origin: Self = text.parse()?;
        // One spelling: what is granted is what is shown.
        if origin.to_string() == text { Ok(origin) } else { Err(BadDestination::Port(text)) }
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.to_string()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://{}", self.scheme.as_str(), self.authority_text())
    }
}

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
            .ok_or_else(|| BadDestination::Method(text.to_owned()))
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
        let bad = || BadDestination::Place(text.chars().take(80).flat_map(char::escape_default).collect());
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

/// The start of a path: `/`, or whole segments of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPrefix(String);

impl PathPrefix {
    /// Every path.
    pub fn all() -> Self {
        Self("/".to_owned())
    }

    /// Whether a request's path (without its query) lies below. A path with a step back, an empty segment, or one that a
    /// server might read as such lies nowhere but below `/`.
    pub fn covers(&self, path: &str) -> bool {
        if self.0 == "/" {
            return true;
        }
        if check_path(&without_harmless_encoding(path)).is_err() {
            return false;
        }
        match path.strip_prefix(&self.0) {
            Some(rest) => rest.is_empty() || rest.starts_with('/') || self.0.ends_with('/'),
            None => false,
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A path in which the encoded characters are replaced that mean nothing for where it leads: letters of file names, as
/// `%20`. Encoded dots, slashes, semicolons, backslashes, percent signs and controls stay, and are refused.
fn without_harmless_encoding(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let code = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code {
            Some(b'.' | b'/' | b';' | b'\\' | b'%' | 0..0x20 | 0x7f) | None => {
                out.push('%');
                rest = after;
            }
            Some(_) => {
                out.push('_');
                rest = after.get(2..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("it begins with `/`");
    }
    if path.chars().any(|c| !c.is_ascii_graphic() || "?#%\\".contains(c)) {
        return Err("nothing in it is encoded, and it has no query");
    }
    let inside = path.strip_suffix('/').unwrap_or(path);
    // Servers take what stands behind a semicolon for a parameter, and leave it out: `..;x` is a step back.
    let names = inside.split('/').skip(1).map(|segment| segment.split(';').next().unwrap_or_default());
    if names.into_iter().any(|name| name.is_empty() || name == "." || name == "..") {
        return Err("it has no empty segment, no `.` and no `..`");
    }
    Ok(())
}

impl FromStr for PathPrefix {
    type Err = BadDestination;

    fn from_str(text: &str) -> Result<Self, BadDestination> {
        let bad =
            |why| BadDestination::Path { path: text.chars().take(80).flat_map(char::escape_default).collect(), why };
        if text.len() > LONGEST_PART {
            return Err(bad("it is longer than 256 characters"));
        }
        check_path(text).map_err(bad)?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for PathPrefix {
    type Error = BadDestination;

    fn try_from(text: String) -> Result<Self, BadDestination> {
        text.parse()
    }
}

impl From<PathPrefix> for String {
    fn from(path: PathPrefix) -> Self {
        path.0
    }
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
        write!(out, "{}{} {} in {}", self.origin, self.path.as_str(), methods.join(","), places.join(", "))?;
        if self.private { out.write_str(", also in a private network") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse().unwrap()
    }

    #[test]
    fn a_destination_has_one_spelling() {
        for text in [
            "https://example.com",
            "https://example.com:8443",
            "https://*.example.com",
            "https://xn--bcher-kva.example",
            "https://192.0.2.1",
            "https://[2001:db8::1]:8443",
            "http://127.0.0.1:8080",
            "http://[::1]",
            "http://localhost:3000",
        ] {
            assert_eq!(origin(text).to_string(), text);
            assert_eq!(Origin::try_from(text.to_owned()), Ok(origin(text)));
        }
        assert!(Origin::try_from("https://example.com:443".to_owned()).is_err());
        assert_eq!(origin("https://example.com:443"), origin("https://example.com"));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_none() {
        for text in [
            "example.com",
            "ftp://example.com",
            "HTTPS://example.com",
            "https://",
            "https://user@example.com",
            "https://example.com@evil.example",
            "https://example.com/path",
            "https://example.com\\@evil.example",
            "https://example.com.",
            "https://exa mple.com",
            "https://ex\u{e4}mple.com",
            "https://EXAMPLE.com",
            "https://-a.com",
            "https://a..com",
            "https://example.com:0",
            "https://example.com:080",
            "https://example.com:65536",
            "https://example.com:+1",
            "https://127.1",
            "https://0x7f.0.0.1",
            "https://2130706433",
            "https://127.0.0.0x1",
            "https://[::1",
            "https://[::1%25eth0]",
            "https://[::1]x",
            "https://*",
            "https://*.com",
            "https://*.co.uk",
            "https://*.github.io",
            "https://a.*.example.com",
            "https://**.example.com",
            "http://example.com",
            "http://10.0.0.1",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_request_is_covered_by_what_names_it() {
        let request = |authority: &str| Origin::of_request("https", authority).unwrap();
        assert!(origin("https://example.com").covers(&request("EXAMPLE.com")));
        assert!(origin("https://example.com").covers(&request("example.com:443")));
        assert!(!origin("https://example.com").covers(&request("example.com:444")));
        assert!(!origin("https://example.com").covers(&request("a.example.com")));
        assert!(!origin("https://example.com").covers(&Origin::of_request("http", "example.com").unwrap()));
        let below = origin("https://*.example.com");
        assert!(below.covers(&request("a.example.com")));
        for other in ["example.com", "a.b.example.com", "aexample.com", "a.example.com.evil.test"] {
            assert!(!below.covers(&request(other)), "{other}");
        }
        for authority in ["*.example.com", "u@example.com", "u:p@example.com", "example.com.", "", "127.1"] {
            assert!(Origin::of_request("https", authority).is_err(), "{authority}");
        }
    }

    #[test]
    fn a_path_leads_where_it_says_or_nowhere() {
        let prefix: PathPrefix = "/api/v1".parse().unwrap();
        for path in ["/api/v1", "/api/v1/", "/api/v1/x", "/api/v1/a%20b"] {
            assert!(prefix.covers(path), "{path}");
        }
        for path in [
            "/api/v10",
            "/api",
            "/",
            "/api/v1/../admin",
            "/api/v1/%2e%2e/admin",
            "/api/v1/%2E./admin",
            "/api/v1//x",
            "/api/v1/.%2e/x",
            "/api/v1/x%2f..",
            "/api/v1/%5c..",
            "/api/v1/%252e%252e",
            "/api/v1/%",
            "/api/v1/%zz",
            "/api/v1/..;/admin",
            "/api/v1/..;a=b/admin",
            "/api/v1/;/x",
            "/api/v1/..%3b/admin",
            "/API/v1/x",
            "/api/v1\\..",
        ] {
            assert!(!prefix.covers(path), "{path}");
        }
        assert!(PathPrefix::all().covers("/a/../b"));
        for bad in ["", "api", "/a/../b", "/a//b", "/a?b", "/a%2fb", "/./a"] {
            assert!(bad.parse::<PathPrefix>().is_err(), "{bad}");
        }
    }

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
        let here = origin("https://example.com");
        let place: Place = "header:authorization".parse().unwrap();
        assert!(destination.allows(&here, Method::Put, "/upload/x", &place));
        assert!(!destination.allows(&here, Method::Options, "/upload/x", &place));
        assert!(!destination.allows(&here, Method::Put, "/other", &place));
        assert!(!destination.allows(&here, Method::Put, "/upload/x", &"query:token".parse().unwrap()));
        for bad in
            ["header:host", "header:Range", "header:range", "header:attest-x", "header:", "cookie:a", "query:a b"]
        {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
        assert!("TRACE".parse::<Method>().is_err() && "get".parse::<Method>().is_err());
    }
}
