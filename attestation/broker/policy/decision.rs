//! Asking the policy.

use super::Policy;
use crate::exchange::VerifiedJob;
use attest_appraisal::AppraisedHost;
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::{Request, SecretUse};
use attest_evidence::report::{Explain, Fault, Report};
use cedar_policy::{
    Authorizer, Context, Decision as CedarDecision, Entities, Entity, EntityUid, Request as CedarRequest,
    RestrictedExpression,
};
use std::collections::{HashMap, HashSet};

/// Policy's yes to everything that a request asks for.
///
/// Its one constructor is [`Decision::ask`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    bound: Sha256Digest,
    policy_version: i64,
    rules: Vec<String>,
}

/// Policy's no, to the first thing that it does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A rule forbids it, or none permits it.
    #[error("policy does not allow to {action} `{resource}` for this step")]
    Policy {
        /// The Cedar action.
        action: &'static str,
        /// `STAGE/NAME`.
        resource: String,
        /// The rules that forbid it; none if it is just that no rule permits it.
        forbidden_by: Vec<String>,
        /// What the rules were told, by name.
        told: Vec<(&'static str, String)>,
    },
    /// The rules could not be asked.
    #[error("policy could not be asked about `{resource}`: {reason}")]
    Broken {
        /// `STAGE/NAME`.
        resource: String,
        /// What went wrong.
        reason: String,
    },
}

/// What is asked about one handle.
struct Question<'a> {
    action: &'static str,
    kind: &'static str,
    name: &'a str,
    why: &'a str,
    formats: Option<HashSet<String>>,
}

impl Decision {
    /// Asks about every secret and key in `request`. All must be allowed.
    ///
    /// # Errors
    /// See [`Denied`].
    pub fn ask(policy: &Policy, host: &AppraisedHost, job: &VerifiedJob, request: &Request) -> Result<Self, Denied> {
        let secrets = request.secrets.iter().map(|secret| Question {
            action: match secret.usage {
                SecretUse::Reveal => "reveal",
                SecretUse::Http => "use",
            },
            kind: "Secret",
            name: secret.name.as_str(),
            why: &secret.why,
            formats: None,
        });
        let keys = request.keys.iter().map(|key| Question {
            action: key.usage.as_str(),
            kind: "Key",
            name: key.name.as_str(),
            why: &key.why,
            formats: Some(key.formats.iter().map(|format| format.as_str().to_owned()).collect()),
        });
        let mut rules = Vec::new();
        for question in secrets.chain(keys) {
            for rule in question.ask(policy, host, job, request)? {
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
        }
        Ok(Self { bound: *host.bound(), policy_version: policy.version(), rules })
    }

    /// The request that it is about.
    pub(crate) const fn bound(&self) -> &Sha256Digest {
        &self.bound
    }

    /// The version of the policy that was asked.
    pub const fn policy_version(&self) -> i64 {
        self.policy_version
    }

    /// The rules that said yes.
    pub fn rules(&self) -> &[String] {
        &self.rules
    }
}

impl Question<'_> {
    /// The rules that permit it.
    fn ask(
        &self,
        policy: &Policy,
        host: &AppraisedHost,
        job: &VerifiedJob,
        request: &Request,
    ) -> Result<Vec<String>, Denied> {
        let stage = request.step.stage;
        let resource_name = format!("{stage}/{}", self.name);
        let broken = |reason: String| Denied::Broken { resource: resource_name.clone(), reason };
        let mut told = vec![
            ("runner", host.runner().to_string()),
            ("tpm_class", host.class().to_string()),
            ("isolation", host.isolation().to_string()),
            ("boot_state", host.quote().pcrs().digest().to_string()),
            ("component", request.component.to_string()),
            ("manifest", request.manifest.to_string()),
        ];

        let job = job.job().map(|job| {
            let claims = &job.claims;
            let texts = [
                ("issuer", &job.issuer),
                ("repository_id", &claims.repository_id),
                ("owner_id", &claims.owner_id),
                ("run_id", &claims.run_id),
                ("event", &claims.event),
                ("git_ref", &claims.git_ref),
                ("workflow_ref", &claims.workflow_ref),
                ("commit", &claims.commit),
                ("environment", &claims.environment),
                ("runner_environment", &claims.runner_environment),
                ("actor_id", &claims.actor_id),
                ("repository", &claims.repository),
            ];
            let flags = [("exact", claims.exact), ("ref_protected", claims.ref_protected)];
            let texts = texts.map(|(name, value)| (name, value.clone()));
            (texts, flags)
        });

        let arguments = request.arguments.iter().cloned().map(RestrictedExpression::new_string);
        let measured = told
            .iter()
            .map(|(name, value)| ((*name).to_owned(), RestrictedExpression::new_string(value.clone())))
            .chain([("arguments".to_owned(), RestrictedExpression::new_set(arguments))]);
        let mut measured: Vec<_> = measured.collect();
        if let Some((texts, flags)) = job {
            let named = |name: &str| name.to_owned();
            let texts_of = texts.clone().map(|(name, value)| (named(name), RestrictedExpression::new_string(value)));
            let flags_of = flags.map(|(name, value)| (named(name), RestrictedExpression::new_bool(value)));
            let job = RestrictedExpression::new_record(texts_of.into_iter().chain(flags_of));
            measured.push((named("job"), job.map_err(|error| broken(error.to_string()))?));
            told.extend(texts);
            told.extend(flags.map(|(name, value)| (name, value.to_string())));
        }
        let claimed = [("step", request.step.name.to_string()), ("why", self.why.to_owned())]
            .map(|(name, value)| (name.to_owned(), RestrictedExpression::new_string(value)));
        let record = |fields: Vec<(String, RestrictedExpression)>| RestrictedExpression::new_record(fields);
        let mut context = vec![
            ("measured".to_owned(), record(measured).map_err(|error| broken(error.to_string()))?),
            ("claimed".to_owned(), record(claimed.into()).map_err(|error| broken(error.to_string()))?),
        ];
        if let Some(formats) = &self.formats {
            let formats = formats.iter().cloned().map(RestrictedExpression::new_string);
            context.push(("formats".to_owned(), RestrictedExpression::new_set(formats)));
        }
        let context = Context::from_pairs(context).map_err(|error| broken(error.to_string()))?;

        let uid = |kind: &str, id: &str| {
            let kind = kind.parse().map_err(|error: cedar_policy::ParseErrors| broken(error.to_string()))?;
            Ok::<_, Denied>(EntityUid::from_type_name_and_id(kind, cedar_policy::EntityId::new(id)))
        };
        let principal = uid("Step", &request.component.to_string())?;
        let runner = uid("Runner", host.runner().as_str())?;
        let stage = uid("Stage", stage.as_str())?;
        let resource = uid(self.kind, &resource_name)?;
        let action = uid("Action", self.action)?;
        let name = HashMap::from([("name".to_owned(), RestrictedExpression::new_string(self.name.to_owned()))]);
        let entities = [
            Entity::new_no_attrs(runner.clone(), HashSet::new()),
            Entity::new_no_attrs(stage.clone(), HashSet::new()),
            Entity::new_no_attrs(principal.clone(), HashSet::from([runner])),
            Entity::new(resource.clone(), name, HashSet::from([stage])).map_err(|error| broken(error.to_string()))?,
        ];
        let entities =
            Entities::from_entities(entities, Some(&policy.schema)).map_err(|error| broken(error.to_string()))?;
        let request = CedarRequest::new(principal, action, resource, context, Some(&policy.schema))
            .map_err(|error| broken(error.to_string()))?;

        let response = Authorizer::new().is_authorized(&request, &policy.set, &entities);
        if let Some(error) = response.diagnostics().errors().next() {
            return Err(broken(error.to_string()));
        }
        let rules: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        match response.decision() {
            CedarDecision::Allow => Ok(rules),
            CedarDecision::Deny => {
                Err(Denied::Policy { action: self.action, resource: resource_name, forbidden_by: rules, told })
            }
        }
    }
}

impl Explain for Denied {
    fn report(&self) -> Report {
        match self {
            Self::Policy { forbidden_by, told, .. } => {
                let report = Report::new("AR-P402", Fault::Refused, self.to_string());
                let report = if forbidden_by.is_empty() {
                    report.fact("rule", "none permits it")
                } else {
                    report.fact("rule", format!("forbidden by {}", forbidden_by.join(", ")))
                };
                told.iter()
                    .fold(report, |report, (name, value)| report.fact(name, value))
                    .hint("nothing was released. Ask whoever writes the broker's policy for a rule that permits it")
            }
            Self::Broken { .. } => Report::new("AR-P405", Fault::Refused, self.to_string()),
        }
    }
}
