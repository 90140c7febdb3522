//! What each error code means, and what to do about it.
//!
//! There is one source: `docs/reference/errors.md`, which people read as a page, and the programs as [`entries`].
//! [`Question::of`] finds `help CODE` on a command line, before clap looks at it: all other help is clap's.

mod question;

pub use question::Question;

use attest_evidence::report::Code;
use serde::Serialize;

/// The page.
const PAGE: &str = include_str!("../../docs/reference/errors.md");

/// What the page says of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The code.
    pub code: &'static str,
    /// The part of the programs that it is of.
    pub title: &'static str,
    /// What has happened.
    pub means: &'static str,
    /// Why it comes about, and what to do.
    #[serde(rename = "do")]
    pub remedy: &'static str,
}

/// Everything that the page has, in its order. What lacks a column is left out: a test holds the page against the code.
pub fn entries() -> impl Iterator<Item = Entry> {
    let mut title = "";
    PAGE.lines().filter_map(move |line| {
        if let Some(heading) = line.strip_prefix("## ") {
            title = heading.split_once(": ").map_or(heading, |(_, title)| title);
            return None;
        }
        let mut columns = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
        let code = columns.next().filter(|code| code.starts_with("AR-"))?;
        let (means, remedy) = (columns.next()?, columns.next()?);
        let whole = columns.next().is_none() && !means.is_empty() && !remedy.is_empty();
        whole.then_some(Entry { code, title, means, remedy })
    })
}

/// The line that points from an error to its explanation. None for a code that this version has not: a broker may be newer.
pub fn pointer(program: &str, code: &Code) -> Option<String> {
    entries().any(|entry| entry.code == code.as_str()).then(|| format!("more: {program} help {code}"))
}
