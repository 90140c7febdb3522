//! Why a request was granted or refused.

use crate::admin::state::State;
use crate::admin::{Global, print};
use crate::policy::{Explanation, Policy, Question};
use crate::store::AskedBefore;
use attest_evidence::report::{Escaped, Explain as _, Fault, Report};
use serde::Serialize;
use serde_json::Value;

#[derive(Serialize)]
struct Explained {
    id: String,
    /// `granted` or `refused`, then.
    was: String,
    /// The version that was asked then.
    then: Option<i64>,
    /// The version that is asked here.
    policy_version: i64,
    questions: Vec<Answer>,
}

#[derive(Serialize)]
struct Answer {
    question: Question,
    #[serde(flatten)]
    explanation: Explanation,
    proposals: Vec<String>,
}

pub(super) async fn explain(global: &Global, state: &State, id: &str, now: bool) -> Result<(), Report> {
    let store = state.store().await?;
    let entries = store.lease_entries(id).await.map_err(|error| error.report())?;
    if entries.is_empty() {
        return Err(Report::new("AR-B305", Fault::Refused, format!("there is no lease and no audit entry `{id}`")));
    }
    let entry = entries.iter().find(|entry| !entry["body"]["questions"].is_null());
    let entry = entry.ok_or_else(|| {
        Report::new("AR-P204", Fault::Refused, format!("policy was not asked about `{id}`"))
            .fact("kind", entries.first().and_then(|entry| entry["kind"].as_str()).unwrap_or_default())
            .hint("`attest-broker lease show` with the same id has what the entry says")
    })?;
    let questions = AskedBefore::questions_of(&entry["body"]);
    let questions =
        questions.ok_or_else(|| Report::new("AR-P202", Fault::Refused, "the entry's questions can't be read"))?;
    let then = entry["body"]["policy_version"].as_i64();
    let in_force = store.policy_version().await.map_err(|error| error.report())?;
    let version = then.filter(|_| !now).unwrap_or(in_force);
    let row = store.policy(version).await.map_err(|error| error.report())?;
    let row =
        row.ok_or_else(|| Report::new("AR-B305", Fault::Refused, format!("there is no policy version `{version}`")))?;
    let policy = Policy::compile(version, &row.text, &row.entities).map_err(|error| error.report())?;
    let mut answers = Vec::with_capacity(questions.len());
    for question in questions {
        let mut explanation = policy.explain(&question).map_err(|reason| {
            Report::new("AR-P202", Fault::Refused, "a question can't be put to the policy").fact("error", reason)
        })?;
        store.keep_real(&mut explanation.twins).await.map_err(|error| error.report())?;
        let proposals = if explanation.allowed { Vec::new() } else { explanation.proposals(&explanation.trials) };
        answers.push(Answer { question, explanation, proposals });
    }
    let was = entry["kind"].as_str().unwrap_or_default().to_owned();
    let explained = Explained { id: id.to_owned(), was, then, policy_version: version, questions: answers };
    print(global, "attest-run/policy-explained/v1", &explained, || in_words(&explained, entry));
    Ok(())
}

fn in_words(explained: &Explained, entry: &Value) -> String {
    let mut text = format!("{} was {}", explained.id, explained.was);
    text += &match explained.then {
        Some(then) if then != explained.policy_version => {
            format!(" by policy version {then}. By version {}:\n", explained.policy_version)
        }
        _ => format!(" by policy version {}\n", explained.policy_version),
    };
    if let Some(url) = entry["body"]["run_url"].as_str().filter(|url| !url.is_empty()) {
        text += &format!("{}\n", Escaped(url));
    }
    for Answer { question, explanation, proposals } in &explained.questions {
        text += &format!("\n{}: {}\n", question.ask, if explanation.allowed { "allowed" } else { "denied" });
        if explanation.trials.is_empty() {
            text += "  no rule is about it\n";
        }
        for trial in &explanation.trials {
            let verb = match (trial.effect, trial.applies, &trial.overridden) {
                (_, true, Some(reason)) => format!("would permit, but {reason}"),
                ("permit", true, None) => "permits".to_owned(),
                ("permit", false, _) => "does not permit".to_owned(),
                (_, true, _) => "forbids".to_owned(),
                (_, false, _) => "does not forbid".to_owned(),
            };
            text += &format!("  {}  {verb}\n", trial.place());
            text.extend(trial.failed.iter().map(|finding| format!("      failed  {}\n", finding.in_words())));
            let passed: Vec<_> =
                trial.passed.iter().map(|finding| format!("{} {}", finding.what, Escaped(&finding.got))).collect();
            if !passed.is_empty() {
                text += &format!("      passed  {}\n", passed.join(", "));
            }
        }
        text.extend(proposals.iter().map(|proposal| format!("  instead: {proposal}\n")));
    }
    text
}
