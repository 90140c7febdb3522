//! Where on a server a request leads.

use super::{BadDestination, LONGEST_PART};
use crate::report::excerpt;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

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
        let bad = |why| BadDestination::Path { path: excerpt(text), why };
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
