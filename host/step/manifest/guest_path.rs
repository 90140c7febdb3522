//! Where a program finds a directory.

use attest_evidence::name::DirectoryName;
use attest_evidence::report::excerpt;
use serde::Deserialize;
use std::fmt;

/// The longest path: as a file system has them at least (POSIX `_POSIX_PATH_MAX`).
const LONGEST: usize = 256;

/// A place in a program's view of files: an absolute path in its one spelling, or `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct GuestPath(String);

/// Text that is no such place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is no place for a directory: {why}")]
pub struct BadGuestPath {
    path: String,
    why: &'static str,
}

impl GuestPath {
    /// `/NAME`.
    pub fn of(name: &DirectoryName) -> Self {
        Self(format!("/{name}"))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for GuestPath {
    type Error = BadGuestPath;

    fn try_from(path: String) -> Result<Self, BadGuestPath> {
        let bad = |why| Err(BadGuestPath { path: excerpt(&path), why });
        if path == "." || path == "/" {
            return Ok(Self(path));
        }
        let Some(inside) = path.strip_prefix('/') else { return bad("it is an absolute path, or `.`") };
        if path.len() > LONGEST {
            return bad("it is longer than 256 characters");
        }
        if path.chars().any(|c| !c.is_ascii_graphic() || c == '\\') {
            return bad("it is made of printable ASCII without spaces and `\\`");
        }
        if inside.split('/').any(|segment| segment.is_empty() || segment == "." || segment == "..") {
            return bad("it has no empty segment, no `.` and no `..`");
        }
        Ok(Self(path))
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}
