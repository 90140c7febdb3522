//! Which rules can matter for a question. A policy of a thousand rules has a handful about one secret of one repository;
//! only those are evaluated.
//!
//! A rule is filed under each of its actions, the one thing that its resources are or are in, and the repository, if it is
//! for some alone. A question looks at the drawers of everything that its resource is in, and of its repository. That
//! what is left out could not have mattered is held by a test against the whole policy.

use super::question::{Action, Prepared, Question};
use super::rule::{Rule, Scope};
use cedar_policy::{Authorizer, Decision, EntityUid, PolicyId, PolicySet};
use std::collections::HashMap;

/// Under what a rule is filed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Drawer {
    action: &'static str,
    /// What its resources are, or are in. `None`: anything.
    resource: Option<EntityUid>,
    /// `None`: any repository, or none.
    repository: Option<String>,
}

#[derive(Debug, Default)]
struct Filed {
    permits: PolicySet,
    forbids: PolicySet,
}

/// The rules of a policy, filed.
#[derive(Debug, Default)]
pub(super) struct Index(HashMap<Drawer, Filed>);

/// What the rules say, as Cedar means it: all that permit, all that forbid, and those that could not be evaluated.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) permitted_by: Vec<PolicyId>,
    pub(super) forbidden_by: Vec<PolicyId>,
    pub(super) errors: Vec<String>,
}

impl Index {
    pub(super) fn of(rules: &[Rule]) -> Result<Self, String> {
        let mut index = Self::default();
        let mut actions: Vec<&'static str> = Action::ALL.iter().map(|(action, _)| action.as_str()).collect();
        actions.dedup();
        for rule in rules {
            let resource = match &rule.scope {
                Scope::Any(_) => None,
                Scope::One(uid) | Scope::In(uid, _) => Some(uid.clone()),
            };
            let repositories: Vec<_> = match rule.repositories() {
                Some(ids) => ids.into_iter().map(Some).collect(),
                None => vec![None],
            };
            let own = actions.iter().filter(|action| rule.actions.as_ref().is_none_or(|own| own.contains(**action)));
            for action in own {
                for repository in &repositories {
                    let drawer = Drawer { action, resource: resource.clone(), repository: repository.clone() };
                    let filed = index.0.entry(drawer).or_default();
                    let set = if rule.permits { &mut filed.permits } else { &mut filed.forbids };
                    set.add(rule.policy.clone()).map_err(|error| error.to_string())?;
                }
            }
        }
        Ok(index)
    }

    pub(super) fn ask(&self, question: &Question, prepared: &Prepared) -> Said {
        let action = question.ask.action.as_str();
        // Rules for no repository in particular, then those for this one.
        let mut repositories = vec![None];
        repositories.extend(question.measured.job.as_ref().map(|job| Some(job.repository_id.clone())));
        let authorizer = Authorizer::new();
        let mut said = Said::default();
        let resources = prepared.resource.iter().cloned().map(Some).chain([None]);
        for resource in resources {
            for repository in &repositories {
                let Some(filed) =
                    self.0.get(&Drawer { action, resource: resource.clone(), repository: repository.clone() })
                else {
                    continue;
                };
                for set in [&filed.permits, &filed.forbids] {
                    if set.is_empty() {
                        continue;
                    }
                    let response = authorizer.is_authorized(&prepared.request, set, &prepared.entities);
                    let rules = response.diagnostics().reason().cloned();
                    match response.decision() {
                        Decision::Allow => said.permitted_by.extend(rules),
                        Decision::Deny => said.forbidden_by.extend(rules),
                    }
                    said.errors.extend(response.diagnostics().errors().map(ToString::to_string));
                }
            }
        }
        said.permitted_by.sort();
        said.permitted_by.dedup();
        said.forbidden_by.sort();
        said.forbidden_by.dedup();
        said
    }
}
