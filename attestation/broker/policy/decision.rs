//! Asking the policy for a step: all that it wants, or nothing.

use super::trial::Explanation;
use super::{Action, Asked, CiJob, Claimed, Kind, Measured, Policy, Question};
use crate::exchange::VerifiedJob;
use attest_appraisal::boot::ApprovedBoot;
use attest_appraisal::{AppraisedHost, MeasuredSoFar};
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::{DirectoryMode, KeyUse, Request, SecretUse, Undeclared};
use attest_evidence::report::{Escaped, Explain, Fault, Report};
use std::collections::BTreeSet;

/// Most rules that a denial tells about.
const MOST_TOLD: usize = 32;

/// Policy's yes to everything that a request asks for.
///
/// Its one constructor is [`Decision::ask`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    bound: Sha256Digest,
    policy_version: i64,
    rules: Vec<String>,
    leases: u32,
    undeclared: Undeclared,
}

/// Policy's no, to the first thing that it does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A rule forbids it, or none permits it.
    #[error("policy does not allow to {} `{}` for this step", question.ask.action.as_str(), question.ask.resource())]
    Policy {
        /// What was asked, and not allowed.
        question: Box<Question>,
        /// All that was asked.
        all: Vec<Question>,
        /// The version of the policy that was asked.
        policy_version: i64,
        /// What is denied by default, where rules would have permitted it.
        by_default: Option<String>,
        /// Why, as far as the asking job may be told.
        explanation: Box<Explanation>,
    },
    /// The rules could not be asked.
    #[error("policy could not be asked about `{resource}`")]
    Broken {
        /// `STAGE/NAME`.
        resource: String,
        /// What went wrong.
        reason: String,
    },
}

/// The questions that a request comes to, one for each thing that it asks for.
pub(crate) fn questions(host: &AppraisedHost, job: &VerifiedJob, request: &Request) -> Vec<Question> {
    let stage = request.step.stage;
    let measured = Measured {
        runner: host.runner().to_string(),
        tpm_class: host.class().to_string(),
        isolation: host.isolation().to_string(),
        boot_state: host.quote().boot_pcrs().digest().to_string(),
        boot: host.boot().map(|boot| boot.name().to_owned()).unwrap_or_default(),
        secure_boot: match host.secure_boot() {
            Some(true) => "on",
            Some(false) => "off",
            None => "",
        }
        .to_owned(),
        executables: match (host.boot().map(ApprovedBoot::executables), host.measurements()) {
            (_, None) => "",
            (Some(true), Some(_)) => "approved",
            (_, Some(_)) => "measured",
        }
        .to_owned(),
        violations: match host.measurements() {
            None => "",
            Some(MeasuredSoFar { violations: 0, .. }) => "none",
            Some(_) => "some",
        }
        .to_owned(),
        component: request.component.to_string(),
        manifest: request.manifest.to_string(),
        arguments: request.arguments.clone(),
        job: job.job().map(|job| CiJob::of(&job.issuer, &job.key, &job.claims)),
    };
    let question = |action, kind, name: &str, why: &str| Question {
        ask: Asked { action, kind, stage, name: name.to_owned() },
        measured: measured.clone(),
        claimed: Claimed { step: request.step.name.to_string(), why: why.to_owned() },
        formats: BTreeSet::new(),
        leased: false,
        mode: None,
        private: false,
    };
    let secrets = request.secrets.iter().map(|secret| {
        let action = match secret.usage {
            SecretUse::Reveal | SecretUse::Env => Action::Reveal,
            SecretUse::Http => Action::Use,
        };
        question(action, Kind::Secret, secret.name.as_str(), &secret.why)
    });
    let tokens =
        request.tokens.iter().map(|token| question(Action::Mint, Kind::Audience, token.name.as_str(), &token.why));
    let keys = request.keys.iter().map(|key| {
        let action = match key.usage {
            KeyUse::Sign => Action::Sign,
            KeyUse::Derive => Action::Derive,
        };
        Question {
            formats: key.formats.iter().map(|format| format.as_str().to_owned()).collect(),
            // That it is such a key was verified before anything was asked.
            leased: key.lease.is_some(),
            ..question(action, Kind::Key, key.name.as_str(), &key.why)
        }
    });
    let http = request.http.iter().map(|http| Question {
        private: http.private,
        ..question(Action::Send, Kind::Destination, &http.origin.to_string(), &http.why)
    });
    let directories = request.directories.iter().map(|directory| Question {
        mode: Some(match directory.mode {
            DirectoryMode::Read => "read".to_owned(),
            DirectoryMode::Write => "write".to_owned(),
        }),
        ..question(Action::Use, Kind::Directory, directory.name.as_str(), &directory.why)
    });
    secrets.chain(tokens).chain(keys).chain(directories).chain(http).collect()
}

impl Decision {
    /// Asks about everything in `request`. All of it must be allowed.
    ///
    /// # Errors
    /// See [`Denied`].
    pub fn ask(policy: &Policy, host: &AppraisedHost, job: &VerifiedJob, request: &Request) -> Result<Self, Denied> {
        let mut rules = Vec::new();
        let (mut leases, mut undeclared) = (None::<u32>, Undeclared::Report);
        let all = questions(host, job, request);
        for question in &all {
            let broken = |reason| Denied::Broken { resource: question.ask.resource(), reason };
            let prepared = question.prepare(&policy.groups, None).map_err(broken)?;
            let verdict = policy.verdict(question, &prepared).map_err(broken)?;
            if !verdict.allowed() {
                let explanation = Box::new(policy.explain_to_job(question).map_err(broken)?);
                return Err(Denied::Policy {
                    policy_version: policy.version(),
                    by_default: verdict.by_default.filter(|_| verdict.forbidden_by.is_empty()),
                    question: Box::new(question.clone()),
                    all,
                    explanation,
                });
            }
            let permits = || verdict.permitted_by.iter().filter_map(|at| policy.rules.get(*at));
            let most = permits().map(|rule| rule.leases).max().unwrap_or(1);
            // One rule that wants it blocked is enough.
            undeclared = permits().map(|rule| rule.undeclared).fold(undeclared, Undeclared::max);
            leases = Some(leases.map_or(most, |fewest| fewest.min(most)));
            for rule in policy.names_of(&verdict.permitted_by) {
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
        }
        let leases = leases.unwrap_or(1);
        Ok(Self { bound: *host.bound(), policy_version: policy.version(), rules, leases, undeclared })
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

    /// What happens if the step writes what looks like a secret that nobody declared.
    pub const fn undeclared(&self) -> Undeclared {
        self.undeclared
    }

    /// How many leases the component may have in one job.
    pub const fn leases(&self) -> u32 {
        self.leases
    }
}

/// What the caller is told. What rules want is told to a verified job of the repository that they are for, and to nobody
/// else: the audit log has it all.
impl Explain for Denied {
    fn report(&self) -> Report {
        match self {
            Self::Policy { by_default, explanation, .. } => {
                let code = if by_default.is_some() { "AR-P407" } else { "AR-P402" };
                let mut report = Report::new(code, Fault::Refused, self.to_string());
                let mut hints = vec!["nothing was released".to_owned()];
                if let Some(reason) = by_default {
                    report = report.fact("reason", reason);
                    hints.push("a rule that means to allow it names it in so many words".to_owned());
                }
                let told: Vec<_> = explanation.trials.iter().filter(|trial| trial.of_own_repository).collect();
                // A rule that does not forbid it has nothing to do with the answer.
                let nearest = told.iter().find(|trial| trial.effect == "permit" || trial.applies);
                if let Some(nearest) = nearest {
                    report = report.fact("rule", nearest.place());
                    for failed in &nearest.failed {
                        report = report.fact("failed", failed.in_words());
                    }
                    if nearest.effect == "forbid" && nearest.applies {
                        report = report.fact("forbids", "it applies to this step");
                    }
                    let passed: Vec<_> = nearest.passed.iter().map(|passed| passed.what.as_str()).collect();
                    if !passed.is_empty() {
                        report = report.fact("passed", passed.join(", "));
                    }
                    for trial in told.iter().take(MOST_TOLD) {
                        report = report.detail(&trial.place(), trial.in_words());
                    }
                    hints.extend(explanation.proposals(told.iter().copied()));
                } else {
                    hints.push(
                        "whoever runs the broker sees why: `attest-broker policy explain` with the audit id".to_owned(),
                    );
                }
                report.hint(hints.join("; "))
            }
            Self::Broken { resource, reason } => {
                tracing::error!(%resource, reason = %Escaped(reason), "policy could not be asked");
                Report::new("AR-P405", Fault::Refused, self.to_string())
                    .hint("nothing was released. The broker's log says why it could not")
            }
        }
    }
}
