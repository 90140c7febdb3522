//! The floor below any policy: what is denied by default, and how a rule lifts it.

use super::Rule;
use super::question::{CiJob, Question};
use attest_evidence::name::Stage;
use std::collections::BTreeSet;

/// Events whose jobs run what somebody decided who may write to the repository. Any other may be a stranger's doing:
/// `pull_request`, `pull_request_target`, `workflow_run`, `issue_comment`, `merge_request_event`, `parent_pipeline`, and
/// those that are yet to come.
pub const EVENTS_OF_WRITERS: [&str; 9] =
    ["push", "release", "schedule", "workflow_dispatch", "repository_dispatch", "merge_group", "web", "api", "trigger"];
/// Refs that strangers make.
const REFS_OF_STRANGERS: [&str; 2] = ["refs/pull/", "refs/merge-requests/"];

/// The floor below any policy. A rule lifts a part of it for itself, by naming just that.
pub(super) fn denied_by_default(rule: &Rule, question: &Question) -> Option<String> {
    let stage = question.ask.stage;
    let Some(job) = question.measured.job.as_ref() else {
        // Leaving the token out must not be a way around what is said about jobs.
        return (!rule.is_for_no_job()).then(|| "nothing goes to a step without a CI job by default".to_owned());
    };
    let of_job = |name| ["measured", "job", name];
    let names_event = rule.names(&of_job("event"), &job.event);
    let names_ref = || rule.names(&of_job("git_ref"), &job.git_ref);
    // A stranger's event has to be named; and on a stranger's ref a writer's event says nothing: then the ref has.
    let lifted =
        names_event && (is_event_of_strangers(&job.event) || !is_ref_of_strangers(&job.git_ref) || names_ref());
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
        return Some(format!("nothing of `prod` goes to an unprotected ref by default, and `{}` is one", job.git_ref));
    }
    None
}

fn is_event_of_strangers(event: &str) -> bool {
    !EVENTS_OF_WRITERS.contains(&event)
}

fn is_ref_of_strangers(git_ref: &str) -> bool {
    REFS_OF_STRANGERS.iter().any(|prefix| git_ref.starts_with(prefix))
}

impl CiJob {
    /// Whether strangers may decide what it runs.
    pub(super) fn is_of_strangers(&self) -> bool {
        is_event_of_strangers(&self.event) || is_ref_of_strangers(&self.git_ref)
    }
}

impl Rule {
    /// What is denied by default and it lifts.
    pub(super) fn lifts(&self) -> BTreeSet<String> {
        let of_job = |name| self.allows_only(&["measured", "job", name]).unwrap_or_default();
        let events = of_job("event").into_iter().filter(|event| is_event_of_strangers(event));
        let refs = of_job("git_ref").into_iter().filter(|name| is_ref_of_strangers(name));
        let flags = ["exact", "ref_protected"].into_iter().filter(|flag| self.denies(&["measured", "job", flag]));
        let without_job = self.is_for_no_job().then(|| "no job".to_owned());
        events.chain(refs).chain(flags.map(str::to_owned)).chain(without_job).collect()
    }
}
