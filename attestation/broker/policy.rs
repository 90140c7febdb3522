//! Policy: Cedar, typed by our schema, compiled once, asked for every handle.

mod admins;
mod cases;
mod decision;
mod evidence;
mod floor;
mod groups;
mod index;
mod lint;
mod names;
mod question;
mod rule;
mod shape;
mod trial;

pub use admins::{LocksAdminsOut, POLICY_APPLY, POLICY_APPROVE, administers};
pub(crate) use cases::LONGEST_CASES;
pub use cases::{Case, CaseResult, Cases, CasesError};
pub(crate) use decision::questions;
pub use decision::{Decision, Denied};
pub use floor::EVENTS_OF_WRITERS;
pub use groups::LONGEST_ENTITIES;
pub use lint::Unsafe;
pub use question::{Action, Asked, CiJob, Claimed, Kind, Measured, Question, Questions};
pub use trial::{Explanation, Finding, Trial};

use attest_evidence::report::{Explain, Fault, Report};
use cedar_policy::{PolicyId, PolicySet, Schema, ValidationMode, Validator};
use groups::Groups;
use index::Index;
use miette::Diagnostic as _;
use question::Prepared;
use rule::Rule;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The schema that every policy is checked against, for people.
pub const SCHEMA: &str = include_str!("policy/schema.cedarschema");
/// The same in the form that is read in a fifth of the time, which every start of a broker waits for. A test says what it must be.
const SCHEMA_JSON: &str = include_str!("policy/schema.json");
/// The policy of a new broker.
pub const DEVELOPMENT: &str = include_str!("policy/development.cedar");
/// Most bytes of a policy: thousands of rules.
pub const LONGEST_POLICY: usize = 1024 * 1024;
static PARSED_SCHEMA: LazyLock<Result<Schema, String>> =
    LazyLock::new(|| Schema::from_json_str(SCHEMA_JSON).map_err(|error| error.to_string()));

fn schema() -> Result<&'static Schema, &'static str> {
    PARSED_SCHEMA.as_ref().map_err(String::as_str)
}

/// A checked policy.
#[derive(Debug)]
pub struct Policy {
    version: i64,
    rules: Vec<Rule>,
    by_id: HashMap<PolicyId, usize>,
    /// All rules as Cedar has them: what `administer` is asked of, and what tests hold the index against.
    set: PolicySet,
    index: Index,
    groups: Groups,
}

/// Why a policy can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Too long to be one.
    #[error("a policy has at most {LONGEST_POLICY} bytes, this has {0}")]
    TooLong(usize),
    /// A rule that is too deep or too long to be parsed.
    #[error("line {line} of the policy: {reason}")]
    Shape {
        /// Where.
        line: usize,
        /// What is too much.
        reason: &'static str,
    },
    /// Not Cedar.
    #[error("the policy has syntax errors")]
    Syntax(Vec<String>),
    /// Cedar that does not fit the schema.
    #[error("the policy does not fit the schema")]
    Types(Vec<String>),
    /// No rule allows anything.
    #[error("the policy allows nothing: it has no permit rule")]
    Empty,
    /// A rule that is typed well, and not safe.
    #[error(transparent)]
    Unsafe(#[from] Unsafe),
    /// Its entities are no good.
    #[error("the policy's entities (`--entities`) are no good")]
    Entities(String),
    /// A rule names what can't be, or a group that nobody is in.
    #[error("rule `{rule}` names something that is not there")]
    Unknown {
        /// Which.
        rule: String,
        /// What.
        reason: String,
    },
    /// The schema itself, which ships with the program.
    #[error("the built-in schema is broken: {0}")]
    Schema(String),
}

/// What the rules say to a question, and what is left of it below them.
#[derive(Debug, Default)]
struct Verdict {
    permitted_by: Vec<usize>,
    forbidden_by: Vec<usize>,
    /// Why nothing is left although rules permit it.
    by_default: Option<String>,
}

impl Verdict {
    fn allowed(&self) -> bool {
        self.forbidden_by.is_empty() && !self.permitted_by.is_empty()
    }
}

impl Policy {
    /// Checks a policy's text and its entities: syntax, types, names, and that each rule is safe.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn compile(version: i64, text: &str, entities: &str) -> Result<Self, PolicyError> {
        if text.len() > LONGEST_POLICY {
            return Err(PolicyError::TooLong(text.len()));
        }
        shape::check(text).map_err(|(line, reason)| PolicyError::Shape { line, reason })?;
        let schema = schema().map_err(|error| PolicyError::Schema(error.to_owned()))?;
        let set: PolicySet = text.parse().map_err(|errors: cedar_policy::ParseErrors| {
            PolicyError::Syntax(errors.iter().map(|error| located(text, error)).collect())
        })?;
        let set = named(set)?;
        let groups = Groups::parse(entities).map_err(PolicyError::Entities)?;
        let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
        if !result.validation_passed() {
            let place = |id: &PolicyId| set.policy(id).and_then(|policy| Rule::line_in(policy, text));
            let told = |error: &cedar_policy::ValidationError| match place(error.policy_id()) {
                Some(line) => format!("line {line}: {error}"),
                None => error.to_string(),
            };
            return Err(PolicyError::Types(result.validation_errors().map(told).collect()));
        }
        let impossible: Vec<PolicyId> = result
            .validation_warnings()
            .filter_map(|warning| match warning {
                cedar_policy::ValidationWarning::ImpossiblePolicy(impossible) => Some(impossible.policy_id().clone()),
                _ => None,
            })
            .collect();
        let mut rules = Vec::with_capacity(set.num_of_policies());
        for policy in set.policies() {
            let untried = |reason| Unsafe::Untried { rule: policy.id().to_string(), reason };
            rules.push(Rule::of(policy, text).map_err(untried)?);
        }
        rules.sort_by(|one, other| (one.line, &one.id).cmp(&(other.line, &other.id)));
        let of_steps = |rule: &&Rule| rule.actions.as_ref().is_none_or(|actions| !actions.contains(admins::ADMINISTER));
        if !rules.iter().filter(of_steps).any(|rule| rule.permits) {
            return Err(PolicyError::Empty);
        }
        for rule in &rules {
            for uid in rule.entities() {
                let unknown = |reason| PolicyError::Unknown { rule: rule.place(), reason };
                names::check(&uid).map_err(unknown)?;
                if uid.type_name().basename().ends_with("Group") && !groups.contains(&uid) {
                    return Err(unknown(format!("nothing is in {uid}: the policy's entities don't mention it")));
                }
            }
        }
        lint::lint(&rules, &groups, &impossible)?;
        let by_id = rules.iter().enumerate().map(|(at, rule)| (rule.policy.id().clone(), at)).collect();
        let index = Index::of(&rules).map_err(PolicyError::Schema)?;
        Ok(Self { version, rules, by_id, set, index, groups })
    }

    /// Its version in the store; 0 if it has not been applied.
    pub const fn version(&self) -> i64 {
        self.version
    }

    /// Number of its rules.
    pub fn rules(&self) -> usize {
        self.rules.len()
    }

    /// Number of the entities that it groups.
    pub fn entities(&self) -> usize {
        self.groups.len()
    }

    /// Whether a question is allowed. It decides nothing: [`Decision::ask`] does.
    ///
    /// # Errors
    /// The question can't be put, in words.
    pub fn allows(&self, question: &Question) -> Result<bool, String> {
        let prepared = question.prepare(&self.groups, None)?;
        Ok(self.verdict(question, &prepared)?.allowed())
    }

    /// What the rules say; then what is denied by default unless a rule says so in so many words.
    fn verdict(&self, question: &Question, prepared: &Prepared) -> Result<Verdict, String> {
        let said = self.index.ask(question, prepared);
        if let Some(error) = said.errors.into_iter().next() {
            return Err(error);
        }
        let at = |ids: Vec<PolicyId>| ids.iter().filter_map(|id| self.by_id.get(id).copied()).collect::<Vec<_>>();
        let (permitted_by, forbidden_by) = (at(said.permitted_by), at(said.forbidden_by));
        let mut by_default = None;
        let permitted_by = permitted_by
            .into_iter()
            .filter(|at| {
                let reason = self.rules.get(*at).and_then(|rule| floor::denied_by_default(rule, question));
                let counts = reason.is_none();
                by_default = by_default.take().or(reason);
                counts
            })
            .collect();
        Ok(Verdict { permitted_by, forbidden_by, by_default })
    }

    fn names_of(&self, rules: &[usize]) -> Vec<String> {
        rules.iter().filter_map(|at| self.rules.get(*at)).map(|rule| rule.id.clone()).collect()
    }
}

/// The same policies, each known by its `@id` where it has one.
fn named(set: PolicySet) -> Result<PolicySet, PolicyError> {
    let mut renamed = PolicySet::new();
    for policy in set.policies() {
        let policy = match policy.annotation("id") {
            Some(id) => policy.new_id(PolicyId::new(id)),
            None => policy.clone(),
        };
        renamed.add(policy).map_err(|error| PolicyError::Syntax(vec![error.to_string()]))?;
    }
    if set.num_of_templates() > 0 {
        return Err(PolicyError::Syntax(vec!["a policy has rules, and no templates".to_owned()]));
    }
    Ok(renamed)
}

/// An error with its line and column, counted from 1.
fn located(text: &str, error: &cedar_policy::ParseError) -> String {
    let offset = error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
    let Some(before) = offset.and_then(|offset| text.get(..offset)) else { return error.to_string() };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{line}:{column}: {error}")
}

impl Explain for PolicyError {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Refused, self.to_string());
        let with =
            |code, errors: &[String]| errors.iter().fold(report(code), |report, error| report.fact("error", error));
        match self {
            Self::TooLong(_) => {
                report("AR-P101").hint("split it by what brokers are for, or group what its rules list")
            }
            Self::Syntax(errors) => with("AR-P102", errors),
            Self::Types(errors) => {
                with("AR-P103", errors).hint("`attest-broker policy schema` prints what rules can speak about")
            }
            Self::Shape { .. } => report("AR-P118").hint("write several rules, or a list"),
            Self::Empty => report("AR-P104")
                .hint("a policy that shall allow nothing needs no steps: revoke them with `lease revoke --all`"),
            Self::Schema(_) => report("AR-P105"),
            Self::Unsafe(error) => error.report(),
            Self::Entities(reason) => report("AR-P114").fact("error", reason),
            Self::Unknown { reason, .. } => report("AR-P113").fact("error", reason),
        }
    }
}

#[cfg(test)]
mod tests;
