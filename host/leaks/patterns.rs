//! What looks like a secret that nobody declared: tokens and keys in the formats of those who issue them.
//!
//! Each format has words that all of its secrets hold, its anchors. One pass looks for all anchors of all formats; only where one
//! is, and only in a window of bytes around it, a regular expression and the checks of its format are tried. So what is found
//! depends on the bytes around it alone, however they come in, and a text without anchors costs that one pass.

mod checks;
mod finding;
mod formats;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod samples;
mod stream;

pub use finding::{Finding, Fingerprint, NotAFingerprint, Position};
pub use stream::PatternScanner;

use aho_corasick::{AhoCorasick, Input, MatchKind};
use formats::FORMATS;
use regex::bytes::{Regex, RegexBuilder};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

/// A format of secrets.
pub struct Pattern {
    /// Its name, for machines: `github-token`.
    pub name: &'static str,
    /// What it is, for people: "a token of GitHub".
    pub what: &'static str,
    /// One of these stands in each.
    anchors: &'static [&'static str],
    edges: Edges,
    /// What stands before the anchor, as a regular expression that ends there. It is not of the secret.
    preceded: Option<&'static str>,
    /// From the anchor on. Its first group is the secret, where it has one.
    expression: &'static str,
    /// Where the expression is not of the secret but of what stands near it: what the secret may be.
    nearby: Option<&'static str>,
    /// Most bytes from the anchor's beginning to the secret's end.
    reach: usize,
    /// What else the format says of the secret's bytes, and whether they are none: placeholders, and examples from manuals.
    check: fn(&[u8]) -> bool,
}

/// What may not stand right beside what an expression found, for it is a part of something else then.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edges {
    /// Letters, digits and `_`.
    Word,
    /// The same, and `-` before it.
    Dashed,
    /// Anything may.
    Any,
}

/// Most bytes before an anchor that are looked at.
const BEFORE: usize = 192;
/// Of these, how many may lie between a secret and the anchor that it is nearby.
const NEARBY_BEFORE: usize = 160;
/// Bytes before an anchor that `preceded` is tried on.
const PRECEDED: usize = 24;

/// All patterns, ready to be searched for in any number of streams.
pub struct Patterns {
    anchors: AhoCorasick,
    /// For each anchor, which patterns it is of.
    of_anchor: Vec<Vec<usize>>,
    ready: Vec<Ready>,
    longest_anchor: usize,
}

struct Ready {
    pattern: &'static Pattern,
    /// The number of the first that has its name.
    kind: usize,
    /// Compiled at the first anchor: all of them take milliseconds, and most texts have none.
    expressions: LazyLock<Expressions, Box<dyn FnOnce() -> Expressions + Send>>,
}

struct Expressions {
    pattern: Regex,
    preceded: Option<Regex>,
    nearby: Option<Regex>,
}

impl Patterns {
    /// Makes all of them ready to be searched for.
    #[expect(clippy::expect_used, reason = "the anchors are constants, and every test of this crate goes through here")]
    pub fn new() -> Arc<Self> {
        let mut anchors: Vec<&str> = FORMATS.iter().flat_map(|pattern| pattern.anchors).copied().collect();
        anchors.sort_unstable();
        anchors.dedup();
        let with = |anchor: &&str| {
            let of = (0..).zip(FORMATS).filter(|(_, pattern)| pattern.anchors.contains(anchor));
            of.map(|(number, _)| number).collect()
        };
        Arc::new(Self {
            of_anchor: anchors.iter().map(with).collect(),
            longest_anchor: anchors.iter().map(|anchor| anchor.len()).max().unwrap_or_default(),
            anchors: AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostFirst)
                .build(anchors)
                .expect("these short anchors are far from the automaton's limits"),
            ready: FORMATS.iter().map(Ready::new).collect(),
        })
    }

    /// Compiles all expressions, for whoever can't do so later: it takes some milliseconds, and asks the kernel how many
    /// processors there are.
    pub fn compile(&self) {
        for ready in &self.ready {
            LazyLock::force(&ready.expressions);
        }
    }

    /// Each pattern: no two have one name.
    pub fn all() -> impl Iterator<Item = &'static Pattern> {
        (0..).zip(FORMATS).filter(|(number, pattern)| kind(pattern) == *number).map(|(_, pattern)| pattern)
    }

    /// All that is found in a text that is there as a whole, by where it begins.
    pub fn find(self: &Arc<Self>, text: &[u8]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut scanner = PatternScanner::new(Arc::clone(self));
        scanner.push(text, |finding| findings.push(finding));
        scanner.finish(|finding| findings.push(finding));
        findings.sort_by_key(|finding| finding.offset);
        findings
    }

    /// The first anchor in `text` that begins at `at` or later: its number, and where it begins.
    fn anchor(&self, text: &[u8], at: usize) -> Option<(usize, usize)> {
        let found = self.anchors.find(Input::new(text).span(at..text.len()))?;
        Some((found.pattern().as_usize(), found.start()))
    }

    /// The patterns of an anchor, in the order in which they are tried.
    fn of(&self, anchor: usize) -> impl Iterator<Item = &Ready> {
        let numbers = self.of_anchor.get(anchor).map(Vec::as_slice).unwrap_or_default();
        numbers.iter().filter_map(|number| self.ready.get(*number))
    }

    /// How many bytes behind an anchor's beginning have to be there, or the stream has to end, before it is decided.
    fn reach(&self, anchor: usize) -> usize {
        self.of(anchor).map(|ready| ready.pattern.reach).max().unwrap_or_default().max(self.longest_anchor)
    }
}

impl Ready {
    fn new(pattern: &'static Pattern) -> Self {
        Self { pattern, kind: kind(pattern), expressions: LazyLock::new(Box::new(|| Expressions::of(pattern))) }
    }

    /// The secret of the anchor at `at`. It depends on [`BEFORE`] bytes before it and on as many as the pattern reaches behind.
    fn secret(&self, text: &[u8], at: usize) -> Option<Range<usize>> {
        let pattern = self.pattern;
        if pattern.edges != Edges::Any && !begins(text, at, pattern.edges) {
            return None;
        }
        let expressions = &*self.expressions;
        if let Some(preceded) = &expressions.preceded
            && !preceded.is_match(text.get(at.saturating_sub(PRECEDED)..at)?)
        {
            return None;
        }
        let end = text.len().min(at + pattern.reach);
        let found = expressions.pattern.captures(text.get(at..end)?)?;
        let whole = found.get(0)?;
        if pattern.edges != Edges::Any && text.get(at + whole.end()).is_some_and(|byte| is_word(*byte)) {
            return None;
        }
        let Some(nearby) = &expressions.nearby else {
            let secret = found.get(1).unwrap_or(whole).range();
            let secret = at + secret.start..at + secret.end;
            return (pattern.check)(text.get(secret.clone())?).then_some(secret);
        };
        let begin = at.saturating_sub(NEARBY_BEFORE);
        let runs = nearby.find_iter(text.get(begin..end)?).map(|run| {
            let escape = matches!(text.get(begin..begin + run.start() + 1), Some([.., b'\\', b'n' | b'r' | b't']));
            begin + run.start() + usize::from(escape)..begin + run.end()
        });
        // What a border of the window cuts, unless it is one of the stream, may be a part of something longer.
        let whole = |run: &Range<usize>| (run.start > begin || begin == 0) && (run.end < end || end == text.len());
        runs.filter(whole).find(|run| text.get(run.clone()).is_some_and(pattern.check))
    }
}

impl Expressions {
    #[expect(clippy::expect_used, reason = "a test compiles the expressions of every pattern")]
    fn of(pattern: &Pattern) -> Self {
        let compiled = |expression: &str| {
            RegexBuilder::new(expression).unicode(false).build().expect("the expression of a pattern is one")
        };
        Self {
            pattern: compiled(&format!("\\A(?:{})", pattern.expression)),
            preceded: pattern.preceded.map(|before| compiled(&format!("(?:{before})\\z"))),
            nearby: pattern.nearby.map(compiled),
        }
    }
}

/// The number of the first pattern that has the name of that one.
fn kind(pattern: &Pattern) -> usize {
    FORMATS.iter().position(|other| other.name == pattern.name).unwrap_or_default()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether a word begins at `at`: nothing of it stands before, but the end of an escape, as in `\nWORD` and `%3DWORD`.
fn begins(text: &[u8], at: usize, edges: Edges) -> bool {
    match text.get(at.saturating_sub(3)..at).unwrap_or_default() {
        [] => true,
        [.., b'\\', b'n' | b'r' | b't'] => true,
        [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => true,
        [.., b'-'] => edges != Edges::Dashed,
        [.., last] => !is_word(*last),
    }
}

/// Shows its name.
impl fmt::Debug for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Pattern({})", self.name)
    }
}

/// Shows how many there are.
impl fmt::Debug for Patterns {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Patterns({})", self.ready.len())
    }
}
