//! Policy: Cedar, typed by our schema, compiled once, asked for every handle.

mod cases;
mod decision;
mod evidence;
mod groups;
mod index;
mod lint;
mod names;
mod question;
mod rule;
mod shape;
mod trial;

pub(crate) use cases::LONGEST_CASES;
pub use cases::{Case, CaseResult, Cases, CasesError};
pub(crate) use decision::questions;
pub use decision::{Decision, Denied};
pub use groups::LONGEST_ENTITIES;
pub use lint::Unsafe;
pub use question::{Action, Asked, CiJob, Claimed, Kind, Measured, Question, Questions};
pub use trial::{Explanation, Finding, Trial};

use attest_evidence::name::Stage;
use attest_evidence::report::{Explain, Fault, Report};
use cedar_policy::{PolicyId, PolicySet, Schema, ValidationMode, Validator};
use groups::Groups;
use index::Index;
use miette::Diagnostic as _;
use question::{Prepared, uid};
use rule::Rule;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The schema that every policy is checked against.
pub const SCHEMA: &str = include_str!("policy/schema.cedarschema");
/// The policy of a new broker.
pub const DEVELOPMENT: &str = include_str!("policy/development.cedar");
/// Most bytes of a policy: thousands of rules.
pub const LONGEST_POLICY: usize = 1024 * 1024;
/// Events whose jobs run what somebody decided who may write to the repository. Any other may be a stranger's doing:
/// `pull_request`, `pull_request_target`, `workflow_run`, `issue_comment`, `merge_request_event`, `parent_pipeline`, and
/// those that are yet to come.
pub const EVENTS_OF_WRITERS: [&str; 9] =
    ["push", "release", "schedule", "workflow_dispatch", "repository_dispatch", "merge_group", "web", "api", "trigger"];
/// Refs that strangers make.
const REFS_OF_STRANGERS: [&str; 2] = ["refs/pull/", "refs/merge-requests/"];

static PARSED_SCHEMA: LazyLock<Result<Schema, String>> =
    LazyLock::new(|| Schema::from_cedarschema_str(SCHEMA).map(|(schema, _)| schema).map_err(|error| error.to_string()));

fn schema() -> Result<&'static Schema, &'static str> {
    PARSED_SCHEMA.as_ref().map_err(String::as_str)
}

const ADMINISTER: &str = "administer";
/// What `context.what` is for whoever puts a policy in force.
pub const POLICY_APPLY: &str = "policy apply";
/// What it is for a second person.
pub const POLICY_APPROVE: &str = "policy approve";

/// A policy under which nobody could change it again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("under this policy {} could change it again", if *two_persons { "no two persons" } else { "nobody" })]
pub struct LocksAdminsOut {
    /// The administrators that are known: those whom rules name, and whoever applies it.
    pub known: Vec<String>,
    /// Whether it takes two.
    pub two_persons: bool,
}

impl Explain for LocksAdminsOut {
    fn report(&self) -> Report {
        Report::new("AR-P115", Fault::Refused, self.to_string())
            .fact("known admins", self.known.join(", "))
            .hint("permit `administer` to somebody who is there: `permit (principal == Admin::\"NAME\", action == Action::\"administer\", resource);`")
    }
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
        let of_steps = |rule: &&Rule| rule.actions.as_ref().is_none_or(|actions| !actions.contains("administer"));
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
                let reason = self.rules.get(*at).and_then(|rule| Self::denied_by_default(rule, question));
                let counts = reason.is_none();
                by_default = by_default.take().or(reason);
                counts
            })
            .collect();
        Ok(Verdict { permitted_by, forbidden_by, by_default })
    }

    /// The floor below any policy. A rule lifts a part of it for itself, by naming just that.
    fn denied_by_default(rule: &Rule, question: &Question) -> Option<String> {
        let stage = question.ask.stage;
        let Some(job) = question.measured.job.as_ref() else {
            // Leaving the token out must not be a way around what is said about jobs.
            return (stage != Stage::Dev && !rule.is_for_no_job())
                .then(|| format!("nothing of `{stage}` goes to a step without a CI job by default"));
        };
        let of_job = |name| ["measured", "job", name];
        let names_event = rule.names(&of_job("event"), &job.event);
        let names_ref = || rule.names(&of_job("git_ref"), &job.git_ref);
        // A stranger's event has to be named; and on a stranger's ref a writer's event says nothing: then the ref has.
        let lifted = names_event && (job.has_event_of_strangers() || !job.has_ref_of_strangers() || names_ref());
        if job.is_of_strangers() && !lifted {
            let (event, git_ref) = (&job.event, &job.git_ref);
            return Some(format!(
                "jobs of event `{event}` on `{git_ref}` get nothing by default: strangers may decide what they run"
            ));
        }
        if stage != Stage::Dev && !job.exact && !rule.denies(&of_job("exact")) {
            return Some(format!(
                "nothing of `{stage}` goes by default to a token that does not name its very job: each such token is a job of its own"
            ));
        }
        if stage == Stage::Prod && !job.ref_protected && !rule.denies(&of_job("ref_protected")) {
            return Some(format!(
                "nothing of `prod` goes to an unprotected ref by default, and `{}` is one",
                job.git_ref
            ));
        }
        None
    }

    /// Whether somebody may administer the broker: see [`administers`].
    pub fn administers(&self, who: &str, what: &str) -> bool {
        asks_rules(&self.set, who, what)
    }

    /// The administrators that rules name.
    fn named_admins(&self) -> Vec<String> {
        let entities = self.rules.iter().flat_map(Rule::entities);
        let admins = entities.filter(|uid| uid.type_name().basename() == "Admin");
        admins.map(|uid| uid.id().unescaped().to_owned()).collect()
    }

    /// Refuses a policy under which nobody who is known could change it again: one person, or, where changes need two,
    /// one who applies and another who approves.
    ///
    /// # Errors
    /// [`LocksAdminsOut`].
    pub fn check_admins(
        &self,
        caller: &str,
        two_persons: bool,
        exists: impl Fn(&str) -> bool,
    ) -> Result<(), LocksAdminsOut> {
        // Whom rules name has to be there: a slip of the pen is nobody.
        let mut known = self.named_admins();
        known.retain(|name| exists(name));
        known.push(caller.to_owned());
        known.sort();
        known.dedup();
        // Somebody else, whom no rule names: where rules don't speak of admins, there may be such a person.
        let other = "\u{0}".to_owned();
        let everybody = known.iter().chain([&other]);
        let may = |what: &str| everybody.clone().filter(|who| self.administers(who, what)).collect::<Vec<_>>();
        let (apply, approve) = (may(POLICY_APPLY), may(POLICY_APPROVE));
        let somebody = apply.iter().any(|who| **who != other);
        let two = apply.iter().any(|one| approve.iter().any(|two| one != two));
        if somebody && (!two_persons || two) {
            Ok(())
        } else {
            Err(LocksAdminsOut { known: known.clone(), two_persons })
        }
    }

    fn names_of(&self, rules: &[usize]) -> Vec<String> {
        rules.iter().filter_map(|at| self.rules.get(*at)).map(|rule| rule.id.clone()).collect()
    }
}

/// Whether a policy's rules let somebody administer the broker, as far as they say anything about that. Where none does,
/// whoever may open the broker's state may. It is asked of rules that this version of the program might refuse otherwise.
pub fn administers(text: &str, who: &str, what: &str) -> bool {
    text.parse().map_or(true, |set| asks_rules(&set, who, what))
}

fn asks_rules(set: &PolicySet, who: &str, what: &str) -> bool {
    let ask = || {
        let (principal, resource, action) = (uid("Admin", who)?, uid("Broker", "this")?, uid("Action", ADMINISTER)?);
        let what = cedar_policy::RestrictedExpression::new_string(what.to_owned());
        let context =
            cedar_policy::Context::from_pairs([("what".to_owned(), what)]).map_err(|error| error.to_string())?;
        let request = cedar_policy::Request::new(principal, action.clone(), resource, context, None);
        Ok::<_, String>((request.map_err(|error| error.to_string())?, action))
    };
    let Ok((request, action)) = ask() else { return false };
    let names_it = |policy: &cedar_policy::Policy| match policy.action_constraint() {
        cedar_policy::ActionConstraint::Any => false,
        cedar_policy::ActionConstraint::Eq(one) => one == action,
        cedar_policy::ActionConstraint::In(many) => many.contains(&action),
    };
    let governed = set.policies().any(|policy| policy.effect() == cedar_policy::Effect::Permit && names_it(policy));
    let response = cedar_policy::Authorizer::new().is_authorized(&request, set, &cedar_policy::Entities::empty());
    match response.decision() {
        cedar_policy::Decision::Allow => true,
        cedar_policy::Decision::Deny => !governed && response.diagnostics().reason().next().is_none(),
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
