//! Policy: Cedar, typed by our schema, compiled once, asked for every handle.

mod decision;
mod lint;

pub use decision::{Decision, Denied};
pub use lint::Unsafe;

use attest_evidence::report::{Explain, Fault, Report};
use cedar_policy::{PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic as _;

/// The schema that every policy is checked against.
pub const SCHEMA: &str = include_str!("policy/schema.cedarschema");
/// The policy of a new broker.
pub const DEVELOPMENT: &str = include_str!("policy/development.cedar");
/// Most bytes of a policy: thousands of rules.
pub const LONGEST_POLICY: usize = 1024 * 1024;

/// A checked policy.
#[derive(Debug)]
pub struct Policy {
    version: i64,
    set: PolicySet,
    schema: Schema,
}

/// Why a policy can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Too long to be one.
    #[error("a policy has at most {LONGEST_POLICY} bytes, this has {0}")]
    TooLong(usize),
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
    /// The schema itself, which ships with the program.
    #[error("the built-in schema is broken: {0}")]
    Schema(String),
}

impl Policy {
    /// Checks a policy's text: syntax, types, and that it allows something.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn compile(version: i64, text: &str) -> Result<Self, PolicyError> {
        if text.len() > LONGEST_POLICY {
            return Err(PolicyError::TooLong(text.len()));
        }
        let (schema, _) =
            Schema::from_cedarschema_str(SCHEMA).map_err(|error| PolicyError::Schema(error.to_string()))?;
        let set: PolicySet = text.parse().map_err(|errors: cedar_policy::ParseErrors| {
            PolicyError::Syntax(errors.iter().map(|error| located(text, error)).collect())
        })?;
        let set = named(set)?;
        let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
        if !result.validation_passed() {
            return Err(PolicyError::Types(result.validation_errors().map(ToString::to_string).collect()));
        }
        if !set.policies().any(|policy| policy.effect() == cedar_policy::Effect::Permit) {
            return Err(PolicyError::Empty);
        }
        lint::lint(&set, &schema)?;
        Ok(Self { version, set, schema })
    }

    /// Its version in the store; 0 if it has not been applied.
    pub const fn version(&self) -> i64 {
        self.version
    }

    /// Number of its rules.
    pub fn rules(&self) -> usize {
        self.set.policies().count()
    }
}

/// The same policies, each known by its `@id` where it has one.
fn named(set: PolicySet) -> Result<PolicySet, PolicyError> {
    let mut renamed = PolicySet::new();
    for policy in set.policies() {
        let policy = match policy.annotation("id") {
            Some(id) => policy.new_id(cedar_policy::PolicyId::new(id)),
            None => policy.clone(),
        };
        renamed.add(policy).map_err(|error| PolicyError::Syntax(vec![error.to_string()]))?;
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
        let (code, details) = match self {
            Self::TooLong(_) => ("AR-P101", None),
            Self::Syntax(errors) => ("AR-P102", Some(errors)),
            Self::Types(errors) => ("AR-P103", Some(errors)),
            Self::Empty => ("AR-P104", None),
            Self::Schema(_) => ("AR-P105", None),
            Self::Unsafe(Unsafe::WithoutEvidence { .. }) => ("AR-P107", None),
            Self::Unsafe(Unsafe::EveryStage { .. }) => ("AR-P108", None),
            Self::Unsafe(Unsafe::Renameable { .. }) => ("AR-P109", None),
            Self::Unsafe(Unsafe::Untried { .. }) => ("AR-P110", None),
        };
        let hint = match self {
            Self::Unsafe(Unsafe::WithoutEvidence { .. }) => Some(
                "ask for something that is proved, and not for its opposite: `when { context.measured.isolation == \"agent\" }`",
            ),
            Self::Unsafe(Unsafe::EveryStage { .. }) => {
                Some("write `resource in Stage::\"dev\"`, or name one secret or key")
            }
            Self::Unsafe(Unsafe::Renameable { .. }) => Some("compare `repository_id` and `owner_id`"),
            _ => None,
        };
        let report = Report::new(code, Fault::Refused, self.to_string());
        let report = details.into_iter().flatten().fold(report, |report, detail| report.fact("error", detail));
        match hint {
            Some(hint) => report.hint(hint),
            None => report,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_of_a_new_broker_fits_the_schema() {
        assert_eq!(Policy::compile(1, DEVELOPMENT).map(|policy| policy.rules()), Ok(2));
    }

    /// P02.
    #[test]
    fn p02_a_rule_that_asks_for_no_proof_is_refused() {
        let compile = |rule: &str| Policy::compile(1, rule).map(drop);
        let rule = |when: &str| format!("@id(\"r\") permit (principal, action, resource in Stage::\"prod\") {when};");
        let without = |action| Err(PolicyError::Unsafe(Unsafe::WithoutEvidence { rule: "r".to_owned(), action }));
        // The controls: what asks for a proof is taken.
        for when in [
            "when { context.measured.isolation == \"agent\" }",
            "when { context.claimed.step == \"x\" && context.measured.tpm_class == \"discrete\" }",
            "when { context.measured has job && context.measured.job.repository_id == \"74\" }",
            "when { context.measured.arguments.contains(\"--dry-run\") }",
        ] {
            assert_eq!(compile(&rule(when)), Ok(()), "{when}");
        }
        let principal = "permit (principal == Step::\"abc\", action, resource in Stage::\"prod\");";
        assert_eq!(compile(principal), Ok(()));
        for when in [
            "",
            "when { true }",
            "when { context.claimed.step == \"release\" }",
            "when { context.claimed.why like \"*\" }",
            "when { context.claimed.step == \"a\" && context.claimed.why == \"b\" }",
            "when { context.measured.isolation != \"direct\" }",
            "unless { context.measured.tpm_class == \"software\" }",
            "unless { context.measured has job && context.measured.job.event == \"pull_request\" }",
            "when { context.measured.isolation == \"agent\" || context.claimed.step == \"x\" }",
        ] {
            assert_eq!(compile(&rule(when)), without("reveal"), "{when}");
        }
        let sign = "@id(\"r\") permit (principal, action == Action::\"sign\", resource == Key::\"prod/release\");";
        assert_eq!(compile(sign), without("sign"));
        // A `forbid` beside it does not make it better.
        let forbid = "forbid (principal, action, resource) unless { context.measured.isolation == \"agent\" };";
        assert_eq!(compile(&format!("{}{forbid}", rule(""))), without("reveal"));

        let proof = "when { context.measured.isolation == \"agent\" }";
        for resource in ["resource", "resource is Secret"] {
            let rule = format!("@id(\"r\") permit (principal, action == Action::\"reveal\", {resource}) {proof};");
            assert_eq!(compile(&rule), Err(PolicyError::Unsafe(Unsafe::EveryStage { rule: "r".to_owned() })));
        }
        let named =
            rule("when { context.measured has job && context.measured.job.repository == \"octo-org/octo-repo\" }");
        let renameable = Unsafe::Renameable { rule: "r".to_owned(), attribute: "repository" };
        assert_eq!(compile(&named), Err(PolicyError::Unsafe(renameable)));
    }

    #[test]
    fn what_is_no_policy_is_refused_with_its_place() {
        let Err(PolicyError::Syntax(errors)) = Policy::compile(1, "permit (principal,\n  action resource);") else {
            panic!("taken")
        };
        assert!(errors[0].starts_with("2:10: "), "{errors:?}");
        let typo = "permit (principal, action == Action::\"sing\", resource);";
        assert!(matches!(Policy::compile(1, typo), Err(PolicyError::Types(_))));
        let attribute =
            "permit (principal, action == Action::\"sign\", resource) when { context.measured.tpm == \"x\" };";
        assert!(matches!(Policy::compile(1, attribute), Err(PolicyError::Types(_))));
        assert_eq!(Policy::compile(1, "").map(drop), Err(PolicyError::Empty));
        assert_eq!(Policy::compile(1, &" ".repeat(2 << 20)).map(drop), Err(PolicyError::TooLong(2 << 20)));
    }
}
