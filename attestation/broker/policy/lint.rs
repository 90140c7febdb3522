//! What a policy must not say, however well it is typed.
//!
//! Each `permit` rule is looked at by itself, so that a `forbid` beside it hides nothing: with nothing measured it must not
//! allow, whatever is claimed. It names the stage that it is for. It knows repositories by their ids.
//! And there is a request that it would allow: a rule that never applies is not what its author meant.

use super::groups::Groups;
use super::question::{Action, Kind};
use super::rule::{Rule, Scope, covers};
use attest_evidence::report::{Explain, Fault, Report};
use cedar_policy::PolicyId;
use std::collections::{BTreeSet, HashMap};

/// A rule that is refused although it fits the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    /// Somebody who proves nothing would be allowed.
    #[error("rule `{rule}` still allows to {action} when nothing is measured")]
    WithoutEvidence {
        /// Which.
        rule: String,
        /// What it allows.
        action: &'static str,
    },
    /// It is for every stage, those that are yet to come included.
    #[error("rule `{rule}` is for every stage")]
    EveryStage {
        /// Which.
        rule: String,
    },
    /// It knows something by a name that can be given to another.
    #[error("rule `{rule}` looks at `{attribute}`, a name that can be given to another")]
    Renameable {
        /// Which.
        rule: String,
        /// What it looks at.
        attribute: &'static str,
    },
    /// It looks at a job, and jobs of repositories that it does not name would do: of any, or of another issuer's.
    #[error("rule `{rule}` looks at a job's `{attribute}`, and other repositories' would do")]
    AnyRepository {
        /// Which.
        rule: String,
        /// What it looks at.
        attribute: String,
    },
    /// No request can make it apply, or make a difference.
    #[error("rule `{rule}` is never reached: {reason}")]
    Unreachable {
        /// Which.
        rule: String,
        /// Why.
        reason: String,
    },
    /// It could not be tried.
    #[error("rule `{rule}` could not be tried: {reason}")]
    Untried {
        /// Which.
        rule: String,
        /// Why.
        reason: String,
    },
}

impl Explain for Unsafe {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Refused, self.to_string());
        match self {
            Self::WithoutEvidence { .. } => report("AR-P107").hint(
                "ask for something that is proved, and not for its opposite: `when { context.measured.isolation == \"agent\" }`. Arguments and manifest are the job's own choice, and prove nothing alone",
            ),
            Self::EveryStage { .. } => {
                report("AR-P108").hint("write `resource in Stage::\"dev\"`, or name one secret, key or group")
            }
            Self::Renameable { .. } => report("AR-P109").hint("compare `repository_id` and `owner_id`"),
            Self::Untried { .. } => report("AR-P110"),
            Self::AnyRepository { .. } => report("AR-P111").hint(
                "ids are an issuer's own, and others may have the same: `principal in Repository::\"ISSUER#ID\"`, or `context.measured.job.issuer == \"…\"` together with `repository_id` or `owner_id`",
            ),
            Self::Unreachable { .. } => report("AR-P112").hint("take it out, or write what was meant"),
        }
    }
}

/// Looks through the rules of a policy that fits the schema. `impossible` are those that the validator says are so.
///
/// # Errors
/// The first rule that is refused.
pub(super) fn lint(rules: &[Rule], groups: &Groups, impossible: &[PolicyId]) -> Result<(), Unsafe> {
    for rule in rules {
        if rule.conditions.iter().any(super::rule::Condition::asks_about_constants) {
            let reason = "it asks about entities that are not the request's: only `principal` and `resource` may be asked what they are in";
            return Err(Unsafe::Untried { rule: rule.place(), reason: reason.to_owned() });
        }
        if rule.reads(&["measured", "job", "repository"]) {
            return Err(Unsafe::Renameable { rule: rule.place(), attribute: "repository" });
        }
        if rule.permits && !about_admins_alone(rule) {
            lint_permit(rule)?;
        }
    }
    let wider = Wider::file(rules);
    for (at, rule) in rules.iter().enumerate() {
        let unreachable = |reason: String| Err(Unsafe::Unreachable { rule: rule.place(), reason });
        if impossible.contains(rule.policy.id()) {
            return unreachable("its conditions are never true".to_owned());
        }
        if let Some((what, value)) = no_such_value(rule) {
            return unreachable(format!("there is no {what} `{value}`"));
        }
        if let Some(attribute) = contradiction(rule) {
            return unreachable(format!("`{attribute}` can't be all that it asks for at once"));
        }
        for other_at in wider.of(rule) {
            let Some(other) = rules.get(other_at).filter(|other| at != other_at && covers(other, rule, groups)) else {
                continue;
            };
            // Of two that say the same, the later is too much.
            let same = covers(rule, other, groups) && other.permits == rule.permits;
            // What is denied by default to the wider one the narrower one may lift.
            let lifts = rule.lifts().is_subset(&other.lifts());
            if other.permits == rule.permits && (!same || other_at < at) && other.leases == rule.leases && lifts {
                return unreachable(format!("`{}` already says all of it", other.place()));
            }
            if rule.permits && !other.permits {
                return unreachable(format!("`{}` forbids all of it", other.place()));
            }
        }
    }
    Ok(())
}

/// Rules by the one thing that they ask for and fewest others do: whoever covers a rule asks for nothing that it does not.
struct Wider<'a> {
    by_condition: HashMap<&'a str, Vec<usize>>,
    /// Those that ask for nothing.
    unconditional: Vec<usize>,
}

impl<'a> Wider<'a> {
    fn file(rules: &'a [Rule]) -> Self {
        let mut common: HashMap<&str, usize> = HashMap::new();
        for condition in rules.iter().flat_map(|rule| &rule.conditions) {
            *common.entry(&condition.text).or_default() += 1;
        }
        let mut filed = Self { by_condition: HashMap::new(), unconditional: Vec::new() };
        for (at, rule) in rules.iter().enumerate() {
            let texts = rule.conditions.iter().map(|condition| condition.text.as_str());
            match texts.min_by_key(|text| common.get(text).copied()) {
                Some(rarest) => filed.by_condition.entry(rarest).or_default().push(at),
                None => filed.unconditional.push(at),
            }
        }
        filed
    }

    /// Those that may cover a rule.
    fn of(&self, rule: &Rule) -> BTreeSet<usize> {
        let filed = rule.conditions.iter().filter_map(|condition| self.by_condition.get(condition.text.as_str()));
        filed.flatten().chain(&self.unconditional).copied().collect()
    }
}

fn about_admins_alone(rule: &Rule) -> bool {
    rule.actions.as_ref().is_some_and(|actions| actions.iter().all(|action| action == "administer"))
}

fn lint_permit(rule: &Rule) -> Result<(), Unsafe> {
    let place = || rule.place();
    if matches!(rule.scope, Scope::Any(_)) {
        return Err(Unsafe::EveryStage { rule: place() });
    }
    check_evidence(rule)?;
    let of_job = |path: &&Vec<String>| {
        path.first().is_some_and(|first| first == "measured") && path.get(1).is_some_and(|second| second == "job")
    };
    let mut of_jobs = rule.conditions.iter().flat_map(|condition| &condition.reads).filter(of_job);
    if let Some(path) = of_jobs.next()
        && !rule.knows_whose_job()
        && !rule.is_for_no_job()
    {
        let attribute = path.last().cloned().unwrap_or_default();
        return Err(Unsafe::AnyRepository { rule: place(), attribute });
    }
    Ok(())
}

/// Whether all that a rule asks for is so for somebody who proves nothing: one part that never is will do.
fn check_evidence(rule: &Rule) -> Result<(), Unsafe> {
    if rule.conditions.iter().any(super::rule::Condition::is_false_without_evidence) {
        return Ok(());
    }
    let about = |(action, _): &(Action, Kind)| rule.actions.as_ref().is_none_or(|own| own.contains(action.as_str()));
    let action = Action::ALL.iter().find(|pair| about(pair)).map_or("use", |(action, _)| action.as_str());
    Err(Unsafe::WithoutEvidence { rule: rule.place(), action })
}

/// An attribute that is asked to be two things at once.
fn contradiction(rule: &Rule) -> Option<String> {
    for (at, condition) in rule.conditions.iter().enumerate() {
        for path in &condition.reads {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            for other in rule.conditions.iter().skip(at + 1) {
                let apart = match (condition.allows_only(&path), other.allows_only(&path)) {
                    (Some(one), Some(other)) => one.is_disjoint(&other),
                    _ => match (condition.flag(&path), other.flag(&path)) {
                        (Some(one), Some(other)) => one != other,
                        _ => false,
                    },
                };
                if apart {
                    return Some(path.join("."));
                }
            }
        }
    }
    None
}

/// A value that an attribute never has.
fn no_such_value(rule: &Rule) -> Option<(&'static str, String)> {
    const VALUES: [(&str, &[&str]); 2] =
        [("tpm_class", &["discrete", "firmware", "virtual", "software"]), ("isolation", &["agent", "direct"])];
    VALUES.into_iter().find_map(|(name, known)| {
        let wanted = rule.conditions.iter().find_map(|condition| condition.allows_only(&["measured", name]))?;
        wanted.into_iter().find(|value| !known.contains(&value.as_str())).map(|value| (name, value))
    })
}
