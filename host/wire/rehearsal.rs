//! Client and the agent that rehearses a step for it: cases of a fixture, without a broker and without a TPM.
//!
//! The client says [`Rehearse`], with descriptors of component, manifest and fixture. The agent answers with what becomes of
//! each case, until [`FromRehearsal::End`].

use attest_evidence::name::StepName;
use attest_evidence::report::Report;
use serde::{Deserialize, Serialize};

/// What to rehearse.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rehearse {
    /// The cases of these names; all of them if none is named.
    pub cases: Vec<String>,
}

/// What the agent tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromRehearsal {
    /// Component, manifest and fixture agree, and the component is compiled: this step is rehearsed.
    Step(StepName),
    /// What came of a case.
    Case(CaseResult),
    /// That was all, or why there is no more. Nothing follows.
    End(Result<(), Report>),
}

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseResult {
    /// Its name.
    pub name: String,
    /// How long it took, copies included, in microseconds.
    pub took_us: u64,
    /// What it expects and was not met: it has passed if that is nothing.
    pub unmet: Vec<Unmet>,
    /// What people should know in any case.
    pub notes: Vec<String>,
    /// What ended the step, if the step did not.
    pub error: Option<Report>,
}

/// An expectation that was not met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmet {
    /// Which, as the fixture has it: `log.contains`.
    pub expectation: String,
    /// What was wanted.
    pub wanted: String,
    /// What was there.
    pub got: String,
}
