//! Trying a policy: with cases whose answers are known, and with the requests that have been.

use super::files::{PolicyFiles, read};
use crate::admin::state::State;
use crate::admin::{Global, print};
use crate::policy::{CaseResult, Cases, LONGEST_CASES, Policy, Question};
use attest_evidence::report::{Explain as _, Fault, Report};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Serialize)]
struct Tested {
    passed: usize,
    failed: usize,
    cases: Vec<CaseResult>,
}

fn broken(reason: String) -> Report {
    Report::new("AR-P202", Fault::Refused, "a question can't be put to the policy").fact("error", reason)
}

pub(super) fn test(global: &Global, files: &PolicyFiles, cases: &Path) -> Result<(), Report> {
    let (policy, _) = files.compile()?;
    let text = read(cases, LONGEST_CASES)?;
    let cases = Cases::parse(&text).map_err(|error| error.report().fact("file", cases.display()))?;
    let results = cases.0.iter().map(|case| policy.test(case)).collect::<Result<Vec<_>, _>>().map_err(broken)?;
    let failed = results.iter().filter(|result| !result.passed).count();
    let tested = Tested { passed: results.len() - failed, failed, cases: results };
    print(global, "attest-run/policy-tested/v1", &tested, || {
        let line = |case: &CaseResult| {
            let mut text = format!("{}  {}\n", if case.passed { "ok    " } else { "FAILED" }, case.name);
            if !case.passed {
                text += &format!("        want {:?}, got {:?}\n", case.expected, case.got).to_lowercase();
                text.extend(case.because.iter().map(|reason| format!("        {reason}\n")));
            }
            text
        };
        tested.cases.iter().map(line).collect()
    });
    narrate!("{} passed, {} failed", tested.passed, tested.failed);
    if tested.failed == 0 {
        return Ok(());
    }
    Err(Report::new("AR-P203", Fault::Refused, format!("{} of {} cases failed", tested.failed, tested.cases.len())))
}

/// A request that would be answered otherwise.
#[derive(Serialize)]
struct Change {
    question: Question,
    before: bool,
    after: bool,
    /// The newest entry in the audit log that asked it, and how many did.
    audit: String,
    times: usize,
}

#[derive(Serialize)]
struct Difference {
    questions: usize,
    changes: Vec<Change>,
}

pub(super) async fn diff(global: &Global, state: &State, files: &PolicyFiles, most: u32) -> Result<(), Report> {
    let (after, _) = files.compile()?;
    let store = state.store().await?;
    let version = store.policy_version().await.map_err(|error| error.report())?;
    let row = store.policy(version).await.map_err(|error| error.report())?;
    let before = match row {
        Some(row) => Some(Policy::compile(version, &row.text, &row.entities).map_err(|error| error.report())?),
        None => None,
    };
    let asked = store.asked_before(most).await.map_err(|error| error.report())?;
    // The same question is often asked; it is tried once.
    let mut known: BTreeMap<String, (Question, String, usize)> = BTreeMap::new();
    for entry in asked {
        let questions: Vec<Question> = serde_json::from_str(&entry.questions)
            .map_err(|error| broken(format!("entry {}: {error}", entry.audit)))?;
        for question in questions {
            let key = serde_json::to_string(&question).unwrap_or_default();
            known.entry(key).and_modify(|known| known.2 += 1).or_insert_with(|| (question, entry.audit.clone(), 1));
        }
    }
    let questions = known.len();
    let mut changes = Vec::new();
    for (question, audit, times) in known.into_values() {
        let answer = |policy: &Policy| policy.allows(&question).map_err(broken);
        let (was, is) = (before.as_ref().map(answer).transpose()?.unwrap_or(false), answer(&after)?);
        if was != is {
            changes.push(Change { question, before: was, after: is, audit, times });
        }
    }
    let difference = Difference { questions, changes };
    print(global, "attest-run/policy-difference/v1", &difference, || {
        let line = |change: &Change| {
            let word = |allowed| if allowed { "allow" } else { "deny" };
            let measured = &change.question.measured;
            let job = measured.job.as_ref().map_or("none", |job| &job.key);
            format!(
                "{} -> {}  {}  runner {}  job {job}  {} times, last {}\n",
                word(change.before),
                word(change.after),
                change.question.ask,
                measured.runner,
                change.times,
                change.audit
            )
        };
        difference.changes.iter().map(line).collect()
    });
    narrate!("{} of {questions} known questions would be answered otherwise", difference.changes.len());
    Ok(())
}
