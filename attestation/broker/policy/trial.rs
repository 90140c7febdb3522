//! Why the answer is what it is: every rule about what was asked, each thing that it asks for, wanted and got. And what
//! would be allowed instead.

use super::Policy;
use super::question::{Asked, Prepared, Question};
use super::rule::{Rule, Tried};
use attest_evidence::name::Stage;
use attest_evidence::report::Escaped;
use serde::Serialize;

/// A rule, tried with a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trial {
    /// Its `@id`.
    pub rule: String,
    /// Where it begins in the policy, counted from 1.
    pub line: Option<usize>,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// Whether it applies.
    pub applies: bool,
    /// Why it does not count although it applies: what is denied by default.
    pub overridden: Option<String>,
    /// What it asks for that is not so.
    pub failed: Vec<Finding>,
    /// What it asks for that is.
    pub passed: Vec<Finding>,
    /// Whether it is for the repository of the job that asks, and so may be told to that job.
    #[serde(skip)]
    pub of_own_repository: bool,
}

/// One thing that a rule asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it looks at.
    pub what: String,
    /// What it has to be.
    pub wanted: String,
    /// What it is.
    pub got: String,
}

impl Finding {
    fn of(tried: Tried) -> Self {
        Self { what: tried.what, wanted: tried.wanted, got: tried.got }
    }

    /// In a line, for people.
    /// Values come from outside: what would write another line is escaped.
    pub fn in_words(&self) -> String {
        format!("{}: want {}, got {}", self.what, Escaped(&self.wanted), Escaped(&self.got))
    }
}

impl Trial {
    pub(super) fn of(rule: &Rule, question: &Question, prepared: &Prepared, overridden: Option<String>) -> Self {
        let tried = rule.try_conditions(question, prepared);
        let of_own_repository = question.measured.job.as_ref().is_some_and(|job| rule.is_of_repository(job));
        let (passed, failed): (Vec<_>, Vec<_>) = tried.into_iter().partition(|tried| tried.held);
        Self {
            rule: rule.id.clone(),
            line: rule.line,
            effect: if rule.permits { "permit" } else { "forbid" },
            applies: failed.is_empty(),
            overridden,
            failed: failed.into_iter().map(Finding::of).collect(),
            passed: passed.into_iter().map(Finding::of).collect(),
            of_own_repository,
        }
    }

    /// Its id and line, for people.
    pub fn place(&self) -> String {
        self.line.map_or_else(|| self.rule.clone(), |line| format!("{} (line {line})", self.rule))
    }

    /// In a line, for people.
    pub fn in_words(&self) -> String {
        let failed = || self.failed.iter().map(Finding::in_words).collect::<Vec<_>>().join("; ");
        match (self.effect, self.applies, &self.overridden) {
            (_, true, Some(reason)) => format!("would permit, but {reason}"),
            ("permit", true, None) => "permits".to_owned(),
            ("permit", false, _) => format!("does not permit: {}", failed()),
            (_, true, None) => "forbids".to_owned(),
            (_, false, _) => format!("does not forbid: {}", failed()),
        }
    }
}

/// The answer to a question, with its reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Every rule about what is asked, those that come nearest to an answer first.
    pub trials: Vec<Trial>,
    /// The same of another stage, where that would be allowed. Whether there is such a thing policy does not know: see
    /// [`Store::keep_real`](crate::store::Store::keep_real).
    pub twins: Vec<Asked>,
}

impl Explanation {
    /// What to do instead, as far as these of its trials show it.
    pub fn proposals<'a>(&self, trials: impl IntoIterator<Item = &'a Trial>) -> Vec<String> {
        let mut proposals = Vec::new();
        let nearest = trials.into_iter().find(|trial| trial.effect == "permit" && !trial.applies);
        if let Some([only]) = nearest.map(|trial| trial.failed.as_slice()) {
            match only.what.as_str() {
                "job.workflow_ref" | "job.job_workflow_ref" => {
                    proposals.push(format!("run it in the workflow that may: {}", only.wanted));
                }
                "job.git_ref" => proposals.push(format!("run it on the ref that may: {}", only.wanted)),
                "job.environment" => proposals.push(format!("give the job the environment {}", only.wanted)),
                "component" => proposals.push(format!("run the component that may: {}", only.wanted)),
                _ => {}
            }
        }
        let twins = self.twins.iter();
        proposals
            .extend(twins.map(|twin| format!("its twin `{}` is allowed: `--stage {}`", twin.resource(), twin.stage)));
        proposals
    }
}

impl Policy {
    /// The answer to a question, with its reasons. It decides nothing.
    ///
    /// # Errors
    /// The question can't be put, in words.
    pub fn explain(&self, question: &Question) -> Result<Explanation, String> {
        self.explain_by(question, |_| true)
    }

    /// The same, with the rules that are for the repository of the asking job alone: what that job may be told.
    pub(super) fn explain_to_job(&self, question: &Question) -> Result<Explanation, String> {
        self.explain_by(question, |rule| question.measured.job.as_ref().is_some_and(|job| rule.is_of_repository(job)))
    }

    fn explain_by(&self, question: &Question, wanted: impl Fn(&Rule) -> bool) -> Result<Explanation, String> {
        let prepared = question.prepare(&self.groups, None)?;
        let verdict = self.verdict(question, &prepared)?;
        let mut trials: Vec<_> = self
            .rules
            .iter()
            .filter(|rule| wanted(rule) && rule.is_about(question, &prepared))
            .map(|rule| {
                let overridden = rule.permits.then(|| super::floor::denied_by_default(rule, question)).flatten();
                Trial::of(rule, question, &prepared, overridden)
            })
            .collect();
        // A rule that forbids decides; else the one that lacks least is the one that was meant.
        trials.sort_by_key(|trial| match trial.effect {
            "forbid" if trial.applies => (0, 0),
            "permit" => (1, trial.failed.len()),
            _ => (2, trial.failed.len()),
        });
        let twins = if verdict.allowed() { Vec::new() } else { self.twins(question) };
        Ok(Explanation { allowed: verdict.allowed(), trials, twins })
    }

    /// The stages of which the same would be allowed.
    fn twins(&self, question: &Question) -> Vec<Asked> {
        let mut twins = Vec::new();
        for stage in [Stage::Staging, Stage::Dev] {
            if stage >= question.ask.stage {
                continue;
            }
            let mut twin = question.clone();
            twin.ask.stage = stage;
            let allowed = twin
                .prepare(&self.groups, None)
                .and_then(|prepared| self.verdict(&twin, &prepared))
                .is_ok_and(|verdict| verdict.allowed());
            if allowed {
                twins.push(twin.ask);
            }
        }
        twins
    }
}
