//! How an error reaches a person: one code, what happened, the facts, what to do.
//!
//! Libraries have typed errors; where one leaves a process or a terminal it becomes a [`Report`]. What a
//! report holds may be shown to whoever caused it. What only the operator may see goes to the log instead.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The start of a text that somebody else wrote, with nothing in it that a terminal would obey: for errors that quote it.
pub fn excerpt(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_default).collect()
}

/// A stable error code, `AR-` and a letter for the part and three digits.
///
/// | letter | part |
/// |---|---|
/// | C | configuration and command line |
/// | S | step: component, manifest, declarations |
/// | T | TPM |
/// | K | keys |
/// | E | evidence and its appraisal |
/// | J | CI job: its token, runner and session |
/// | X | exchange and leases |
/// | N | enrolment |
/// | P | policy and secrets |
/// | W | worker and its walls |
/// | B | broker: reaching it, and its own state |
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Code(std::borrow::Cow<'static, str>);

impl Code {
    /// A code of this program.
    pub const fn new(text: &'static str) -> Self {
        Self(std::borrow::Cow::Borrowed(text))
    }

    /// The code as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Code {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let rest = text.strip_prefix("AR-").ok_or("not an error code")?;
        let mut characters = rest.chars();
        let letter = characters.next().is_some_and(|c| c.is_ascii_uppercase());
        if letter && characters.clone().count() == 3 && characters.all(|c| c.is_ascii_digit()) {
            Ok(Self(text.into()))
        } else {
            Err("not an error code")
        }
    }
}

impl From<Code> for String {
    fn from(code: Code) -> Self {
        code.0.into_owned()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// What kind of failure it is, and so with which status a command ends (DESIGN §10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The answer is no: policy, appraisal or a wall refused.
    Refused,
    /// The command was called wrongly.
    Usage,
    /// Something on this machine is missing, broken or busy.
    Environment,
    /// Somebody is not who they have to be.
    Identity,
    /// The broker can't be reached, or not now: trying again may help.
    Unreachable,
    /// The file is not a component.
    NotAComponent,
    /// The step took too long.
    TimedOut,
    /// The step trapped.
    Trapped,
    /// A defect of this program.
    Bug,
}

impl Fault {
    /// The exit status of every command but `run`: 1 the answer is no, 2 usage, 3 local environment, 4 identity
    /// refused, 5 broker unreachable, 70 a bug.
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::Refused | Self::NotAComponent | Self::TimedOut | Self::Trapped => 1,
            Self::Usage => 2,
            Self::Environment => 3,
            Self::Identity => 4,
            Self::Unreachable => 5,
            Self::Bug => 70,
        }
    }

    /// The exit status of `attest-run` for a step that ends with it: 0 to 123 are the step's own. 124 timed out, 125 the host
    /// failed, 126 refused, 127 not a component, 134 trapped.
    pub const fn step_status(self) -> u8 {
        match self {
            Self::TimedOut => 124,
            Self::Refused | Self::Identity => 126,
            Self::NotAComponent => 127,
            Self::Trapped => 134,
            Self::Usage | Self::Environment | Self::Unreachable | Self::Bug => 125,
        }
    }
}

/// An error as its reader gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The stable code.
    pub code: Code,
    /// The kind of failure.
    pub fault: Fault,
    /// What happened, in one line.
    pub what: String,
    /// The facts, each with its name: what was wanted, what was there.
    pub facts: Vec<Fact>,
    /// Facts for whoever asks for all of them: they are not part of the short form.
    #[serde(default)]
    pub details: Vec<Fact>,
    /// What to do about it.
    #[serde(default)]
    pub hint: Option<String>,
}

/// One fact of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// Its name, in a word or two.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl Report {
    /// A report with no facts yet.
    pub fn new(code: &'static str, fault: Fault, what: impl Into<String>) -> Self {
        Self { code: Code::new(code), fault, what: what.into(), facts: Vec::new(), details: Vec::new(), hint: None }
    }

    /// Adds a fact.
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.facts.push(Fact { name: name.to_owned(), value: value.to_string() });
        self
    }

    /// Adds a fact that only the long form shows.
    #[must_use]
    pub fn detail(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.details.push(Fact { name: name.to_owned(), value: value.to_string() });
        self
    }

    /// Makes its details facts like the others.
    #[must_use]
    pub fn in_full(mut self) -> Self {
        self.facts.append(&mut self.details);
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl std::error::Error for Report {}

/// The form for a terminal. Control characters and bidirectional marks from outside are escaped.
impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "error[{}]: {}", self.code, Escaped(&self.what))?;
        let width = self.facts.iter().map(|fact| fact.name.len()).max().unwrap_or(0);
        for fact in &self.facts {
            let mut lines = fact.value.lines();
            writeln!(out, "  {:width$}  {}", fact.name, Escaped(lines.next().unwrap_or_default()))?;
            for line in lines {
                writeln!(out, "  {:width$}  {}", "", Escaped(line))?;
            }
        }
        if let Some(hint) = &self.hint {
            let mut lines = hint.lines();
            write!(out, "\nhint: {}", Escaped(lines.next().unwrap_or_default()))?;
            for line in lines {
                write!(out, "\n      {}", Escaped(line))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// Data for other programs: one JSON object with the name of its schema.
#[derive(Debug, Serialize)]
pub struct Document<'a, T> {
    /// The schema, as `attest-run/NAME/vN`.
    pub schema: &'static str,
    /// The members that the schema names.
    #[serde(flatten)]
    pub data: &'a T,
}

impl<T: Serialize> Document<'_, T> {
    /// One line of JSON. Data that can't be JSON is a bug, and is told as one.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self)
            .unwrap_or_else(|error| format!(r#"{{"schema":"attest-run/bug/v1","bug":"{error}"}}"#))
    }
}

/// An error with everything that caused it, in a line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Text from outside, safe for a terminal and for a log line.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if character.is_control() || is_bidirectional_mark(character) {
                write!(out, "{}", character.escape_unicode())?;
            } else {
                write!(out, "{character}")?;
            }
        }
        Ok(())
    }
}

/// Marks that change the direction of text, so that it reads otherwise than it is (Unicode UAX #9).
const fn is_bidirectional_mark(character: char) -> bool {
    matches!(character, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// An error that can say for itself what its reader needs.
pub trait Explain {
    /// The report of it.
    fn report(&self) -> Report;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_as_the_design_shows_it() {
        let report = Report::new("AR-P402", Fault::Refused, "policy does not allow `release/npm-token` for this step")
            .fact("rule", "release.cedar:14")
            .fact("failed", "stage: want `dev`, got `prod`")
            .hint("nothing was released");
        assert_eq!(
            report.to_string(),
            "error[AR-P402]: policy does not allow `release/npm-token` for this step\n  \
             rule    release.cedar:14\n  failed  stage: want `dev`, got `prod`\n\nhint: nothing was released\n"
        );
    }

    #[test]
    fn text_from_outside_can_not_forge_a_line() {
        let report = Report::new("AR-S101", Fault::Refused, "step `a\nerror: b\u{1b}[2J`");
        assert_eq!(report.to_string(), "error[AR-S101]: step `a\\u{a}error: b\\u{1b}[2J`\n");
    }
}
