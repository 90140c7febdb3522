//! Header fields that end here: those between worker and egress, and those that are of one connection (RFC 9110 §7.6.1).

use attest_wire::egress::OWN_FIELDS;
use hyper::header::{HeaderMap, HeaderName};

/// The most bytes of a head, in either direction: names and values.
pub(crate) const LONGEST_HEAD: u32 = 64 * 1024;

/// What is of one connection. Proxies have fields of their own, which all begin alike.
const OF_CONNECTION: [&str; 7] =
    ["connection", "expect", "http2-settings", "keep-alive", "te", "transfer-encoding", "upgrade"];
const OF_PROXIES: &str = "proxy-";

/// By these some servers take a request for one with another method, or to another path, than it has.
const OVERRIDES: [&str; 5] =
    ["x-http-method", "x-http-method-override", "x-method-override", "x-original-url", "x-rewrite-url"];

/// A field that says another method or path than the request's.
pub(crate) fn overriding(headers: &HeaderMap) -> Option<&'static str> {
    OVERRIDES.into_iter().find(|name| headers.contains_key(*name))
}

/// The charsets that a `content-type` in lower case names (RFC 9110 §8.3.2): by right it is at most one.
pub(crate) fn charsets(text: &str) -> impl Iterator<Item = &str> {
    let parameters = text.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    parameters.filter(|(name, _)| name.trim() == "charset").map(|(_, value)| value.trim().trim_matches(['"', ' ']))
}

/// Removes every field that ends here.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all("connection")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let ends = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with(OWN_FIELDS)
            || name.starts_with(OF_PROXIES)
            || OF_CONNECTION.contains(&name)
            || named.iter().any(|other| other == name)
    };
    let gone: Vec<HeaderName> = headers.keys().filter(|name| ends(name)).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

/// Bytes of a head.
pub(crate) fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_one_connection_ends_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("attest-failure", "denied"),
            ("attest-anything", "x"),
            ("connection", "keep-alive, X-Mine"),
            ("x-mine", "y"),
            ("proxy-authorization", "z"),
            ("proxy-connection", "z"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("x-kept", "kept"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        strip(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
        assert_eq!(size(&headers), 10);
    }
}
