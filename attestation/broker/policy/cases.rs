//! Test cases of a policy: questions with the answers that its author expects.
//!
//! ```toml
//! # What every case has, unless it says otherwise.
//! [given.measured]
//! isolation = "agent"
//!
//! [given.measured.job]
//! repository_id = "74"
//!
//! [[case]]
//! name = "the release workflow signs"
//! ask = "sign key prod/release"
//! expect = "allow"
//! by = "release"            # the rule that must decide, if it matters which
//!
//! [[case]]
//! name = "no other workflow does"
//! ask = "sign key prod/release"
//! expect = "deny"
//! measured.job.workflow_ref = "octo-org/octo-repo/.github/workflows/ci.yml@refs/heads/main"
//! ```

use super::{Asked, Claimed, Measured, Policy, Question};
use attest_evidence::report::{Explain, Fault, Report};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use toml::{Table, Value};

/// Most bytes of a file of cases.
pub(crate) const LONGEST_CASES: usize = 4 * 1024 * 1024;

/// What an author expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    /// It is allowed.
    Allow,
    /// It is not.
    Deny,
}

impl Expected {
    /// As text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// A case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// The question.
    pub question: Question,
    /// The answer.
    pub expect: Expected,
    /// The rule that has to give it.
    pub by: Option<String>,
}

/// A file of cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cases(pub Vec<Case>);

/// Why a file holds no cases.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CasesError {
    /// Not of their form.
    #[error("the cases can't be read")]
    Malformed(String),
    /// None in it: a test that tests nothing.
    #[error("there is no case in the file")]
    None,
}

impl Explain for CasesError {
    fn report(&self) -> Report {
        let report = Report::new("AR-P201", Fault::Usage, self.to_string());
        match self {
            Self::Malformed(reason) => report.fact("error", reason),
            Self::None => report.hint("each begins with `[[case]]` and has `name`, `ask` and `expect`"),
        }
    }
}

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaseResult {
    /// Its name.
    pub name: String,
    /// Whether it went as expected.
    pub passed: bool,
    /// What was expected.
    pub expected: Expected,
    /// The rule that had to give it.
    pub by: Option<String>,
    /// What the policy says.
    pub got: Expected,
    /// The rules that say so, or, of each that does not, why not.
    pub because: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    given: Table,
    #[serde(default)]
    case: Vec<Table>,
}

/// A case as it is written, once it has what is given to all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    ask: Asked,
    expect: Expected,
    by: Option<String>,
    #[serde(default)]
    measured: Measured,
    #[serde(default)]
    claimed: Claimed,
    #[serde(default)]
    formats: BTreeSet<String>,
    #[serde(default)]
    leased: bool,
    mode: Option<String>,
    #[serde(default)]
    private: bool,
    /// Leaves out the job that is given to all.
    #[serde(default)]
    no_job: bool,
}

impl Cases {
    /// Reads a file of cases.
    ///
    /// # Errors
    /// See [`CasesError`].
    pub fn parse(text: &str) -> Result<Self, CasesError> {
        if text.len() > LONGEST_CASES {
            return Err(CasesError::Malformed(format!("it has more than {LONGEST_CASES} bytes")));
        }
        let malformed = |error: toml::de::Error| CasesError::Malformed(error.to_string());
        let file: File = toml::from_str(text).map_err(malformed)?;
        if file.case.is_empty() {
            return Err(CasesError::None);
        }
        let mut names = BTreeSet::new();
        let mut cases = Vec::with_capacity(file.case.len());
        for (at, case) in file.case.into_iter().enumerate() {
            let called = case.get("name").and_then(Value::as_str).unwrap_or("without a name").to_owned();
            let wrong = |error: String| CasesError::Malformed(format!("case {} ({called}): {error}", at + 1));
            let mut table = file.given.clone();
            overlay(&mut table, case);
            let mut case: Written =
                Value::Table(table).try_into().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
            if !names.insert(case.name.clone()) {
                return Err(wrong("another case has this name".to_owned()));
            }
            if case.no_job {
                case.measured.job = None;
            }
            let Written { name, ask, expect, by, measured, claimed, formats, leased, mode, private, no_job: _ } = case;
            cases.push(Case {
                name,
                question: Question { ask, measured, claimed, formats, leased, mode, private },
                expect,
                by,
            });
        }
        Ok(Self(cases))
    }
}

/// Lays one table over another, in all depths.
fn overlay(below: &mut Table, above: Table) {
    for (name, value) in above {
        match (below.get_mut(&name), value) {
            (Some(Value::Table(below)), Value::Table(above)) => overlay(below, above),
            (_, value) => drop(below.insert(name, value)),
        }
    }
}

impl Policy {
    /// Holds a case against the policy.
    ///
    /// # Errors
    /// The question can't be put, in words.
    pub fn test(&self, case: &Case) -> Result<CaseResult, String> {
        if let Some(rule) = case.by.as_ref().filter(|rule| !self.rules.iter().any(|known| known.id == **rule)) {
            return Err(format!("case `{}` waits for rule `{rule}`, and there is none", case.name));
        }
        let explanation = self.explain(&case.question)?;
        let got = if explanation.allowed { Expected::Allow } else { Expected::Deny };
        let deciding: Vec<_> = explanation
            .trials
            .iter()
            .filter(|trial| {
                trial.applies && trial.overridden.is_none() && (trial.effect == "permit") == explanation.allowed
            })
            .map(|trial| trial.rule.clone())
            .collect();
        let by_it = case.by.as_ref().is_none_or(|rule| deciding.contains(rule));
        let because = match (deciding.is_empty(), explanation.trials.is_empty()) {
            (false, _) => deciding.iter().map(|rule| format!("rule {rule}")).collect(),
            (true, true) => vec!["no rule is about it".to_owned()],
            (true, false) => {
                explanation.trials.iter().map(|trial| format!("{}: {}", trial.place(), trial.in_words())).collect()
            }
        };
        Ok(CaseResult {
            name: case.name.clone(),
            passed: got == case.expect && by_it,
            expected: case.expect,
            by: case.by.clone(),
            got,
            because,
        })
    }
}
