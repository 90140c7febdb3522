//! What a policy must not say, however well it is typed.
//!
//! Each `permit` rule is tried by itself, so that a `forbid` beside it hides nothing: with nothing measured, and whatever
//! the rule's own words claimed, it must not allow. It names the stage that it is for. And it knows repositories by
//! their ids.

use cedar_policy::{
    Authorizer, Context, Decision, Effect, Entities, Entity, EntityId, EntityTypeName, EntityUid, Policy, PolicySet,
    Request, ResourceConstraint, RestrictedExpression, Schema,
};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, HashSet};

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
    /// It could not be tried.
    #[error("rule `{rule}` could not be tried: {reason}")]
    Untried {
        /// Which.
        rule: String,
        /// Why.
        reason: String,
    },
}

/// The actions, with what each is done to.
const ACTIONS: [(&str, &str); 3] = [("reveal", "Secret"), ("use", "Secret"), ("sign", "Key")];

/// Looks through the rules of a policy that fits `schema`.
///
/// # Errors
/// The first rule that is refused.
pub(super) fn lint(set: &PolicySet, schema: &Schema) -> Result<(), Unsafe> {
    set.policies().filter(|policy| policy.effect() == Effect::Permit).try_for_each(|policy| lint_rule(policy, schema))
}

fn lint_rule(policy: &Policy, schema: &Schema) -> Result<(), Unsafe> {
    let rule = policy.id().to_string();
    let untried = |reason: String| Unsafe::Untried { rule: rule.clone(), reason };
    let document = policy.to_json().map_err(|error| untried(error.to_string()))?;
    if looks_at(&document, "repository") {
        return Err(Unsafe::Renameable { rule, attribute: "repository" });
    }
    // `in Stage`, one secret, one key: everything else is every stage's.
    let confined = match policy.resource_constraint() {
        ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => uid,
        ResourceConstraint::Any | ResourceConstraint::Is(_) => return Err(Unsafe::EveryStage { rule }),
    };
    let mut words = BTreeSet::from([String::new()]);
    collect_words(&document, &mut words);
    if words.len() > MOST_WORDS {
        return Err(untried(format!("it has more than {MOST_WORDS} different words")));
    }
    let mut alone = PolicySet::new();
    alone.add(policy.clone()).map_err(|error| untried(error.to_string()))?;
    for (action, kind) in ACTIONS {
        for step in &words {
            for why in &words {
                let (request, entities) =
                    nothing_measured(schema, action, kind, &confined, step, why).map_err(untried)?;
                let response = Authorizer::new().is_authorized(&request, &alone, &entities);
                if response.decision() == Decision::Allow {
                    return Err(Unsafe::WithoutEvidence { rule, action });
                }
            }
        }
    }
    Ok(())
}

/// A request of somebody who has proved nothing, for what a rule is about.
fn nothing_measured(
    schema: &Schema,
    action: &str,
    kind: &str,
    confined: &EntityUid,
    step: &str,
    why: &str,
) -> Result<(Request, Entities), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let uid = |kind: &str, id: &str| {
        let kind: EntityTypeName = kind.parse().map_err(|error| text(&error))?;
        Ok::<_, String>(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
    };
    let (stage, resource) = if confined.type_name().basename() == "Stage" {
        (confined.clone(), uid(kind, &format!("{}/-", confined.id().unescaped()))?)
    } else {
        let id = confined.id().unescaped().to_owned();
        (uid("Stage", id.split('/').next().unwrap_or_default())?, uid(kind, &id)?)
    };
    let string = |value: &str| RestrictedExpression::new_string(value.to_owned());
    let record = |members: Vec<(String, RestrictedExpression)>| {
        RestrictedExpression::new_record(members).map_err(|error| text(&error))
    };
    let empty = ["runner", "tpm_class", "isolation", "boot_state", "component", "manifest"];
    let mut measured: Vec<_> = empty.iter().map(|name| ((*name).to_owned(), string(""))).collect();
    measured.push(("arguments".to_owned(), RestrictedExpression::new_set([])));
    let mut context = vec![
        ("measured".to_owned(), record(measured)?),
        ("claimed".to_owned(), record(vec![("step".to_owned(), string(step)), ("why".to_owned(), string(why))])?),
    ];
    if action == "sign" {
        context.push(("formats".to_owned(), RestrictedExpression::new_set([string("raw")])));
    }
    let context = Context::from_pairs(context).map_err(|error| text(&error))?;
    let (runner, principal) = (uid("Runner", "")?, uid("Step", "")?);
    let name = HashMap::from([("name".to_owned(), string(""))]);
    let entities = [
        Entity::new_no_attrs(runner.clone(), HashSet::new()),
        Entity::new_no_attrs(stage.clone(), HashSet::new()),
        Entity::new_no_attrs(principal.clone(), HashSet::from([runner])),
        Entity::new(resource.clone(), name, HashSet::from([stage])).map_err(|error| text(&error))?,
    ];
    let entities = Entities::from_entities(entities, Some(schema)).map_err(|error| text(&error))?;
    let request = Request::new(principal, uid("Action", action)?, resource, context, Some(schema));
    Ok((request.map_err(|error| text(&error))?, entities))
}

/// Whether an attribute of this name is looked at anywhere in a rule (Cedar JSON policy format, `.` and `has`).
fn looks_at(document: &Value, attribute: &str) -> bool {
    match document {
        Value::Object(members) => members.iter().any(|(name, value)| {
            ([".", "has"].contains(&name.as_str()) && value.get("attr").and_then(Value::as_str) == Some(attribute))
                || looks_at(value, attribute)
        }),
        Value::Array(values) => values.iter().any(|value| looks_at(value, attribute)),
        _ => false,
    }
}

/// The texts that a rule compares with.
fn collect_words(document: &Value, words: &mut BTreeSet<String>) {
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
