//! Whom a request is for, and whom it may be for.

use super::BadDestination;
use crate::report::excerpt;
use core::net::{IpAddr, Ipv6Addr};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The longest host name (RFC 1035 §2.3.4, as text).
const LONGEST_HOST: usize = 253;

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

impl Origin {
    /// What a request's scheme and authority (RFC 3986 §3.2) say. Upper case is lowered; nothing else is forgiven.
    ///
    /// # Errors
    /// See [`BadDestination`]. `*` is no host here.
    pub fn of_request(scheme: &str, authority: &str) -> Result<Self, BadDestination> {
        let scheme = match scheme {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            other => return Err(BadDestination::Scheme(excerpt(other))),
        };
        if authority.contains('@') {
            return Err(BadDestination::User);
        }
        let (host, port) = Self::authority(&authority.to_ascii_lowercase(), scheme)?;
        match host {
            Host::Below(_) => Err(bad_host(authority, "a request names one host")),
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
                .ok_or_else(|| BadDestination::Port(excerpt(digits)))?,
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
    BadDestination::Host { host: excerpt(host), why }
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
            .ok_or_else(|| BadDestination::Scheme(excerpt(text)))?;
        if rest.contains('@') {
            return Err(BadDestination::User);
        }
        if rest.contains(['/', '?', '#', '\\']) {
            return Err(BadDestination::Behind(excerpt(text)));
        }
        let (host, port) = Self::authority(rest, scheme)?;
        let origin = Self { scheme, host, port };
        let here = match &origin.host {
            Host::Name(name) => name == "localhost",
            Host::Below(_) => false,
            Host::Address(address) => address.is_loopback(),
        };
        if scheme == Scheme::Http && !here {
            return Err(BadDestination::Clear(excerpt(text)));
        }
        Ok(origin)
    }
}

impl TryFrom<String> for Origin {
    type Error = BadDestination;

    fn try_from(text: String) -> Result<Self, BadDestination> {
        let origin: Self = text.parse()?;
        // What is granted is what is shown.
        if origin.to_string() == text { Ok(origin) } else { Err(BadDestination::Spelling { text, one: origin }) }
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
        let another = Origin::try_from("https://example.com:443".to_owned()).unwrap_err();
        assert_eq!(another.to_string(), "`https://example.com:443` is written `https://example.com`");
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
}
