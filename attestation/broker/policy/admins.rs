//! What a policy says about whoever administers the broker.

use super::question::uid;
use super::{Policy, Rule};
use attest_evidence::report::{Explain, Fault, Report};
use cedar_policy::PolicySet;

pub(super) const ADMINISTER: &str = "administer";
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

impl Policy {
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
