//! Trying a policy: with cases whose answers are known, and with the requests that have been.

use super::files::{PolicyFiles, read};
use crate::admin::state::State;
use crate::admin::{Global, print};
use crate::policy::{CaseResult, Cases, LONGEST_CASES, Policy, Question};
use attest_evidence::report::{Escaped, Explain as _, Fault, Report};
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
                let by = case.by.as_ref().map(|rule| format!(" by rule {rule}")).unwrap_or_default();
                let (want, got) = (case.expected.as_str(), case.got.as_str());
                text += &format!("        want {want}{by}, got {got}\n");
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
    /// Everything that it asked.
    questions: Vec<Question>,
    before: bool,
    after: bool,
    /// What of it would be answered otherwise.
    otherwise: Vec<String>,
    /// The newest entry in the audit log that asked it, and how many did.
    audit: String,
    times: usize,
}

#[derive(Serialize)]
struct Difference {
    requests: usize,
    /// Entries whose questions can't be read any more.
    unreadable: usize,
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
    // The same request is often made; it is tried once.
    let mut known: BTreeMap<String, (Vec<Question>, String, usize)> = BTreeMap::new();
    let mut unreadable = 0;
    for entry in asked {
        let Some(questions) = entry.questions else {
            unreadable += 1;
            continue;
        };
        let key = serde_json::to_string(&questions).unwrap_or_default();
        known.entry(key).and_modify(|known| known.2 += 1).or_insert_with(|| (questions, entry.audit, 1));
    }
    let requests = known.len();
    let mut changes = Vec::new();
    for (questions, audit, times) in known.into_values() {
        let (mut was, mut is, mut otherwise) = (true, true, Vec::new());
        for question in &questions {
            let answer = |policy: &Policy| policy.allows(question).map_err(broken);
            let (one, other) = (before.as_ref().map(answer).transpose()?.unwrap_or(false), answer(&after)?);
            (was, is) = (was && one, is && other);
            if one != other {
                otherwise.push(question.ask.to_string());
            }
        }
        if was != is {
            changes.push(Change { questions, before: was, after: is, otherwise, audit, times });
        }
    }
    let difference = Difference { requests, unreadable, changes };
    print(global, "attest-run/policy-difference/v1", &difference, || {
        let line = |change: &Change| {
            let word = |allowed| if allowed { "allow" } else { "deny" };
            let measured = change.questions.first().map(|first| &first.measured);
            let job = measured.and_then(|measured| measured.job.as_ref()).map_or("none", |job| &job.key);
            format!(
                "{} -> {}  {}  runner {}  job {}  {} times, last {}\n",
                word(change.before),
                word(change.after),
                Escaped(&change.otherwise.join(", ")),
                measured.map(|measured| measured.runner.as_str()).unwrap_or_default(),
                Escaped(job),
                change.times,
                change.audit
            )
        };
        difference.changes.iter().map(line).collect()
    });
    narrate!("{} of {requests} known requests would be answered otherwise", difference.changes.len());
    if unreadable > 0 {
        narrate!("{unreadable} entries could not be read, and were left out");
    }
    Ok(())
}
