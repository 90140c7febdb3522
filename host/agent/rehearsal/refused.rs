//! Why a step is not rehearsed: its fixture is none, does not go with the step, or can't be set up.

use crate::agent::AgentError;
use crate::step::StepError;
use attest_evidence::name::SecretName;
use attest_evidence::report::{Explain, Fault, Report};
use attest_step::{BadStep, TomlError};
use std::path::PathBuf;

/// Most bytes of a fixture: some thousand cases.
pub const LONGEST_FIXTURE: usize = 1024 * 1024;

/// Why a step is not rehearsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RehearsalError {
    /// Its fixture is too long.
    #[error("the fixture has {0} bytes, and {LONGEST_FIXTURE} are the most")]
    TooLong(usize),
    /// Its fixture is no text.
    #[error("the fixture is not UTF-8")]
    NotText,
    /// Its fixture is not of the form that it should be.
    #[error("the fixture is wrong: {0}")]
    Toml(TomlError),
    /// There is nothing to rehearse.
    #[error("the fixture has no case")]
    NoCase,
    /// Two cases that results could not tell apart.
    #[error("two cases are called `{0}`")]
    NameTwice(String),
    /// What a case says can't be.
    #[error("case `{case}`: {what}")]
    BadCase {
        /// Which.
        case: String,
        /// What can't be.
        what: String,
    },
    /// A secret or token without a value.
    #[error("case `{case}` gives no value to `{section}.{name}`, which the step declares")]
    SecretMissing {
        /// Which case.
        case: String,
        /// `secrets` or `tokens`.
        section: &'static str,
        /// Which.
        name: SecretName,
    },
    /// Something that the step can't have.
    #[error("case `{case}` speaks of {what}, which the step does not declare")]
    Undeclared {
        /// Which case.
        case: String,
        /// Such as `secrets.npm`.
        what: String,
        /// What the step declares of that kind.
        declared: Vec<String>,
    },
    /// A directory or a file of the fixture can't be had.
    #[error("case `{case}`: can't use {}: {reason}", path.display())]
    Material {
        /// Which case.
        case: String,
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No case of that name.
    #[error("the fixture has no case `{name}`")]
    NoSuchCase {
        /// What was asked for.
        name: String,
        /// Those that there are.
        cases: Vec<String>,
    },
    /// Nothing can be set up on this machine.
    #[error("the rehearsal can't be set up: {0}")]
    NoStage(String),
    /// It is none.
    #[error(transparent)]
    NoStep(#[from] BadStep),
    /// The host can't run steps, or not this one.
    #[error(transparent)]
    Host(#[from] AgentError),
}

impl From<StepError> for RehearsalError {
    fn from(error: StepError) -> Self {
        Self::Host(error.into())
    }
}

impl Explain for RehearsalError {
    fn report(&self) -> Report {
        let wrong = |code| Report::new(code, Fault::Usage, self.to_string());
        match self {
            Self::TooLong(_) | Self::NotText => wrong("AR-S709"),
            Self::Toml(TomlError { line, what, meant }) => {
                let report =
                    Report::new("AR-S702", Fault::Usage, "the fixture is wrong").fact("line", line).fact("error", what);
                match meant {
                    Some(meant) => report.hint(format!("did you mean `{meant}`?")),
                    None => report,
                }
            }
            Self::NoCase => wrong("AR-S703")
                .hint("the least is a case that expects nothing but success:\n[[case]]\nname = \"runs\""),
            Self::NameTwice(_) | Self::BadCase { .. } => wrong("AR-S703"),
            Self::SecretMissing { section, name, .. } => {
                wrong("AR-S704").hint(format!("[case.{section}]\n\"{name}\" = \"a value that opens nothing\""))
            }
            Self::Undeclared { declared, .. } => {
                let declared = if declared.is_empty() { "nothing".to_owned() } else { declared.join(", ") };
                wrong("AR-S705").fact("declared", declared)
            }
            Self::Material { .. } => wrong("AR-S706").hint("paths in a fixture begin where the fixture lies"),
            Self::NoSuchCase { cases, .. } => wrong("AR-S707").fact("cases", cases.join("\n")),
            Self::NoStage(_) => Report::new("AR-S708", Fault::Environment, self.to_string()),
            Self::NoStep(error) => error.report(),
            Self::Host(error) => error.report(),
        }
    }
}
