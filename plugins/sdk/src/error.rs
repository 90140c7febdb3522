//! What goes wrong in a step.

use crate::bindings::StepError;
use crate::bindings::attest::step::{outputs::OutputError, reveal::RevealError, signing::SignError, types::OpenError};
use crate::bindings::wasi::filesystem::types::ErrorCode;
use std::fmt;

/// What a step returns.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// Why a step failed: a message for the job's log, and an exit status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    code: u8,
    message: String,
    denied: bool,
}

impl Error {
    /// A failure with exit status 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into(), denied: false }
    }

    /// The same failure with another exit status, 1 to 123.
    #[must_use]
    pub fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The same failure, saying what was being done.
    #[must_use]
    pub fn during(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Whether it is a request that was not granted: asking again changes nothing.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.denied
    }

    pub(crate) fn denied(mut self) -> Self {
        self.denied = true;
        self
    }

    /// An opened thing that `step.toml` doesn't declare.
    pub(crate) fn not_declared(kind: &str, name: &str, error: OpenError) -> Self {
        let OpenError::NotDeclared(lines) = error;
        Self::new(format!("{kind} `{name}` is not declared. Add to step.toml:\n{lines}"))
    }

    pub(crate) fn file(name: &str, error: ErrorCode) -> Self {
        Self::new(format!("`{name}`: {}", error.message()))
    }

    pub(crate) fn signing(error: SignError) -> Self {
        Self::new(match error {
            SignError::FormatNotGranted => "the key may not sign in this format: list it in step.toml".to_owned(),
            SignError::TooLong(most) => format!("this key signs at most {most} bytes"),
            SignError::Unreadable(reason) => format!("the file can't be read: {reason}"),
            SignError::Failed(reason) => format!("the host did not sign: {reason}"),
        })
    }

    pub(crate) fn revealing(name: &str, error: RevealError) -> Self {
        Self::new(match error {
            RevealError::NotRevealable => format!("secret `{name}` is not declared with use = \"reveal\""),
            RevealError::RevealedAlready => format!("secret `{name}` has been revealed before"),
        })
    }

    pub(crate) fn output(name: &str, error: OutputError) -> Self {
        Self::new(match error {
            OutputError::NotDeclared(lines) => format!("output `{name}` is not declared. Add to step.toml:\n{lines}"),
            OutputError::SetAlready => format!("output `{name}` has been set before"),
            OutputError::TooLong(most) => format!("output `{name}` is longer than {most} bytes"),
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<Error> for StepError {
    fn from(error: Error) -> Self {
        Self { code: error.code, message: error.message }
    }
}
