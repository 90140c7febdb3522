//! What a policy must not say, however well it is typed.
//!
//! Each `permit` rule is tried by itself, so that a `forbid` beside it hides nothing: with nothing measured, and whatever
//! the rule's own words claimed, it must not allow. It names the stage that it is for. It knows repositories by their ids.
//! And there is a request that it would allow: a rule that never applies is not what its author meant.

use super::groups::Groups;
use super::question::{Action, Asked, Claimed, Kind, Measured, Question};
use super::rule::{Rule, Scope, covers};
use attest_evidence::name::Stage;
use attest_evidence::report::{Explain, Fault, Report};
use cedar_policy::{Authorizer, Decision, EntityUid, PolicyId, PolicySet};
use std::collections::BTreeSet;

/// Words of a rule that are tried as claims. A rule with more of them is hard to read, too.
const MOST_WORDS: usize = 24;

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
    /// It looks at a job, and any repository's would do.
    #[error("rule `{rule}` looks at a job's `{attribute}`, and any repository's would do")]
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
                "say whose job: `context.measured.job.repository_id == \"…\"`, or `principal in Repository::\"ISSUER#ID\"`",
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
        if rule.permits && !about_admins_alone(rule) {
            lint_permit(rule, groups)?;
        }
    }
    for (at, rule) in rules.iter().enumerate() {
        let unreachable = |reason: String| Err(Unsafe::Unreachable { rule: rule.place(), reason });
        if impossible.contains(rule.policy.id()) {
            return unreachable("its conditions are never true".to_owned());
        }
        if let Some(attribute) = contradiction(rule) {
            return unreachable(format!("`{attribute}` can't be all that it asks for at once"));
        }
        for (other_at, other) in rules.iter().enumerate() {
            if at == other_at || !covers(other, rule, groups) {
                continue;
            }
            // Of two that say the same, the later is too much.
            let same = covers(rule, other, groups) && other.permits == rule.permits;
            if other.permits == rule.permits && (!same || other_at < at) && other.leases == rule.leases {
                return unreachable(format!("`{}` already says all of it", other.place()));
            }
            if rule.permits && !other.permits {
                return unreachable(format!("`{}` forbids all of it", other.place()));
            }
        }
    }
    Ok(())
}

fn about_admins_alone(rule: &Rule) -> bool {
    rule.actions.as_ref().is_some_and(|actions| actions.iter().all(|action| action == "administer"))
}

fn lint_permit(rule: &Rule, groups: &Groups) -> Result<(), Unsafe> {
    let place = || rule.place();
    if rule.reads(&["measured", "job", "repository"]) {
        return Err(Unsafe::Renameable { rule: place(), attribute: "repository" });
    }
    let of_job = |path: &&Vec<String>| path.len() > 2 && path[..2] == ["measured", "job"];
    let mut of_jobs = rule.conditions.iter().flat_map(|condition| &condition.reads).filter(of_job);
    if let Some(path) = of_jobs.next()
        && !knows_whose_job(rule)
    {
        let attribute = path.last().cloned().unwrap_or_default();
        return Err(Unsafe::AnyRepository { rule: place(), attribute });
    }
    let confined = match &rule.scope {
        Scope::One(uid) | Scope::In(uid, _) => uid,
        Scope::Any(_) => return Err(Unsafe::EveryStage { rule: place() }),
    };
    try_without_evidence(rule, confined, groups)
}

fn knows_whose_job(rule: &Rule) -> bool {
    let by_principal =
        |uid: &EntityUid| ["Repository", "RepositoryGroup", "Owner", "Job"].contains(&uid.type_name().basename());
    rule.conditions.iter().any(|condition| {
        condition.principal.as_ref().is_some_and(by_principal)
            || condition.allows_only(&["measured", "job", "repository_id"]).is_some()
            || condition.allows_only(&["measured", "job", "owner_id"]).is_some()
    })
}

/// Asks for what a rule is about without any proof, in all of the rule's own words.
fn try_without_evidence(rule: &Rule, confined: &EntityUid, groups: &Groups) -> Result<(), Unsafe> {
    let untried = |reason: String| Unsafe::Untried { rule: rule.place(), reason };
    let document = rule.policy.to_json().map_err(|error| untried(error.to_string()))?;
    let mut words = BTreeSet::from([String::new()]);
    collect_words(&document, &mut words);
    if words.len() > MOST_WORDS {
        return Err(untried(format!("it has more than {MOST_WORDS} different words")));
    }
    let mut alone = PolicySet::new();
    alone.add(rule.policy.clone()).map_err(|error| untried(error.to_string()))?;
    let nothing = BTreeSet::from([String::new()]);
    let tried = |path: &[&str]| if rule.reads(path) { &words } else { &nothing };
    for (action, kind) in Action::ALL {
        if rule.actions.as_ref().is_some_and(|actions| !actions.contains(action.as_str())) {
            continue;
        }
        let Some(ask) = something(action, kind, confined, groups) else { continue };
        for step in tried(&["claimed", "step"]) {
            for why in tried(&["claimed", "why"]) {
                for manifest in tried(&["measured", "manifest"]) {
                    for mode in ["read", "write"] {
                        let arguments = words.iter().cloned().collect();
                        let question = Question {
                            ask: ask.clone(),
                            measured: Measured { manifest: manifest.clone(), arguments, ..Measured::default() },
                            claimed: Claimed { step: step.clone(), why: why.clone() },
                            formats: words.clone(),
                            mode: (kind == Kind::Directory).then(|| mode.to_owned()),
                        };
                        let prepared = question.prepare(groups, None).map_err(untried)?;
                        let response = Authorizer::new().is_authorized(&prepared.request, &alone, &prepared.entities);
                        if response.decision() == Decision::Allow {
                            return Err(Unsafe::WithoutEvidence { rule: rule.place(), action: action.as_str() });
                        }
                        if kind != Kind::Directory {
                            break;
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// Something of a kind that a rule is about, if there can be such a thing.
fn something(action: Action, kind: Kind, confined: &EntityUid, groups: &Groups) -> Option<Asked> {
    let of = |resource: &str| {
        let (stage, name) = resource.split_once('/')?;
        Some(Asked { action, kind, stage: stage.parse().ok()?, name: name.to_owned() })
    };
    match confined.type_name().basename() {
        "Stage" => {
            let stage: Stage = confined.id().unescaped().parse().ok()?;
            Some(Asked { action, kind, stage, name: "anything".to_owned() })
        }
        group if group.ends_with("Group") => of(groups.member(confined, kind.entity())?.id().unescaped()),
        own if own == kind.entity() => of(confined.id().unescaped()),
        _ => None,
    }
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

/// The texts that a rule compares with.
fn collect_words(document: &serde_json::Value, words: &mut BTreeSet<String>) {
    use serde_json::Value;
    match document {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(word) if name == "Value" => drop(words.insert(word.clone())),
                    value => collect_words(value, words),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_words(value, words)),
        _ => {}
    }
}
