//! A decision of a large policy, beside Cedar's own over the same rules and entities in one heap.

use crate::{in_turn_by_the_hundred, row};
use attest_broker::policy::{Asked, CiJob, Claimed, Measured, Policy, Question, SCHEMA};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityUid, PolicySet, Request, RestrictedExpression, Schema,
};
use std::collections::{BTreeSet, HashSet};

const RULES: usize = 1_000;
const ENTITIES: usize = 10_000;
const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// Rules as an organisation of a few hundred repositories has them: of each repository, four about what is its own; and
/// some that are about all of production.
fn rules() -> String {
    let mut text = String::new();
    for at in 0..RULES / 5 {
        let job = format!("context.measured has job && principal in Repository::\"{ISSUER}#{at}\"");
        let workflow = format!(
            "context.measured.job.workflow_ref == \"octo-org/repo-{at}/.github/workflows/release.yml@refs/heads/main\""
        );
        for (id, action, resource, more) in [
            ("token", "use", format!("resource == Secret::\"prod/repo-{at}/token\""), workflow.clone()),
            ("key", "sign", format!("resource == Key::\"prod/release-{at}\""), workflow.clone()),
            (
                "staging",
                "use",
                "resource in Stage::\"staging\"".to_owned(),
                "context.measured.job.event == \"push\"".to_owned(),
            ),
            ("group", "use", format!("resource in SecretGroup::\"g{}\"", at % 100), workflow),
        ] {
            text += &format!(
                "@id(\"{id}-{at}\") permit (principal in RunnerGroup::\"r{}\", action == Action::\"{action}\", {resource}) when {{ {job} && {more} }};\n",
                at % 50
            );
        }
        text += &format!(
            "@id(\"all-{at}\") permit (principal in Runner::\"builder-{at}\", action == Action::\"use\", resource in Stage::\"prod\") when {{ context.measured.tpm_class == \"discrete\" && context.measured.isolation == \"agent\" && {job} }};\n"
        );
    }
    text
}

/// Runners and secrets, each in a group.
fn entities() -> String {
    let entity = |kind: &str, id: &str, group: &str| {
        format!(
            "{{\"uid\":{{\"type\":\"{kind}\",\"id\":\"{id}\"}},\"attrs\":{{}},\"parents\":[{{\"type\":\"{kind}Group\",\"id\":\"{group}\"}}]}}"
        )
    };
    let all: Vec<_> = (0..ENTITIES)
        .map(|at| match at % 2 {
            0 => entity("Runner", &format!("builder-{}", at / 2), &format!("r{}", at / 2 % 50)),
            _ => entity("Secret", &format!("prod/shared-{}", at / 2), &format!("g{}", at / 2 % 100)),
        })
        .collect();
    format!("[{}]", all.join(",\n"))
}

fn question() -> Question {
    Question {
        leased: false,
        ask: "use secret prod/shared-177".parse::<Asked>().unwrap(),
        measured: Measured {
            runner: "builder-77".into(),
            tpm_class: "discrete".into(),
            isolation: "agent".into(),
            boot_state: "00".repeat(32),
            boot: "fleet".into(),
            secure_boot: "on".into(),
            executables: String::new(),
            violations: String::new(),
            component: "00".repeat(32),
            manifest: "00".repeat(32),
            arguments: vec!["v1.0.0".into()],
            job: Some(CiJob {
                issuer: ISSUER.into(),
                key: "77:1:1:1".into(),
                repository_id: "77".into(),
                owner_id: "65".into(),
                event: "push".into(),
                git_ref: "refs/heads/main".into(),
                ref_protected: true,
                exact: true,
                workflow_ref: "octo-org/repo-77/.github/workflows/release.yml@refs/heads/main".into(),
                ..CiJob::default()
            }),
        },
        claimed: Claimed { step: "publish".into(), why: "publishes".into() },
        formats: BTreeSet::new(),
        mode: None,
        private: false,
    }
}

/// The same question as Cedar is asked it, with all entities.
fn heap(rules: &str, entities: &str) -> (PolicySet, Entities, Request) {
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA).unwrap();
    let uid = |text: &str| text.parse::<EntityUid>().unwrap();
    let text = |value: &str| RestrictedExpression::new_string(value.to_owned());
    let record = |fields: Vec<(&str, RestrictedExpression)>| {
        RestrictedExpression::new_record(fields.into_iter().map(|(name, value)| (name.to_owned(), value))).unwrap()
    };
    let question = question();
    let job = question.measured.job.as_ref().unwrap();
    let all = Entities::from_json_str(entities, Some(&schema)).unwrap();
    let step = format!("Step::\"{}\"", question.measured.component);
    let repository = format!("Repository::\"{ISSUER}#77\"");
    let within = [uid("Runner::\"builder-77\""), uid("Stage::\"prod\""), uid(&repository)];
    let own = [
        Entity::new_no_attrs(uid(&step), HashSet::from(within)),
        Entity::new_no_attrs(uid("Stage::\"prod\""), HashSet::new()),
        Entity::new_no_attrs(uid(&repository), HashSet::new()),
        Entity::new_no_attrs(
            uid("Secret::\"prod/shared-177\""),
            HashSet::from([uid("Stage::\"prod\""), uid("SecretGroup::\"g77\"")]),
        ),
    ];
    let all = all.upsert_entities(own, Some(&schema)).unwrap();
    let claims = vec![
        ("issuer", text(&job.issuer)),
        ("repository_id", text(&job.repository_id)),
        ("owner_id", text(&job.owner_id)),
        ("run_id", text("")),
        ("exact", RestrictedExpression::new_bool(true)),
        ("event", text(&job.event)),
        ("git_ref", text(&job.git_ref)),
        ("ref_protected", RestrictedExpression::new_bool(true)),
        ("workflow_ref", text(&job.workflow_ref)),
        ("job_workflow_ref", text("")),
        ("commit", text("")),
        ("environment", text("")),
        ("runner_environment", text("")),
        ("actor_id", text("")),
        ("repository", text("")),
    ];
    let measured = vec![
        ("runner", text("builder-77")),
        ("tpm_class", text("discrete")),
        ("isolation", text("agent")),
        ("boot_state", text("")),
        ("boot", text("")),
        ("secure_boot", text("")),
        ("component", text(&question.measured.component)),
        ("manifest", text("")),
        ("arguments", RestrictedExpression::new_set([text("v1.0.0")])),
        ("job", record(claims)),
    ];
    let claimed = vec![("step", text("publish")), ("why", text("publishes"))];
    let context =
        Context::from_pairs([("measured".to_owned(), record(measured)), ("claimed".to_owned(), record(claimed))])
            .unwrap();
    let (action, resource) = (uid("Action::\"use\""), uid("Secret::\"prod/shared-177\""));
    let request = Request::new(uid(&step), action, resource, context, Some(&schema)).unwrap();
    (rules.parse().unwrap(), all, request)
}

pub(crate) fn decision() {
    let (rules, entities) = (rules(), entities());
    let began = std::time::Instant::now();
    let policy = Policy::compile(1, &rules, &entities).unwrap();
    println!();
    println!(
        "{:44} {:>9.3} ms",
        "policy of 1,000 rules, 10,000 entities: check",
        began.elapsed().as_secs_f64() * 1000.0
    );
    assert_eq!((policy.rules(), policy.entities()), (RULES, ENTITIES));
    let question = question();
    let (set, all, request) = heap(&rules, &entities);
    let authorizer = Authorizer::new();
    // Both say yes, by the same two rules.
    assert!(policy.allows(&question).unwrap());
    let whole = authorizer.is_authorized(&request, &set, &all);
    assert_eq!((whole.decision(), whole.diagnostics().reason().count()), (Decision::Allow, 2));
    let (ours, theirs) = in_turn_by_the_hundred(
        50,
        || assert!(policy.allows(&question).unwrap()),
        || drop(authorizer.is_authorized(&request, &set, &all)),
    );
    row("of it: a decision, the question made for it", ours, "Cedar over all of it, the question made before", theirs);
}
