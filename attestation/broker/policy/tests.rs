//! What a policy is refused for, and what it says.

use super::*;
use cedar_policy::Authorizer;
use std::collections::BTreeSet;

const ISSUER: &str = "https://issuer.example";

fn compile(rules: &str) -> Result<Policy, PolicyError> {
    Policy::compile(1, rules, "")
}

fn refused(rules: &str) -> PolicyError {
    compile(rules).map(drop).expect_err("taken")
}

fn job() -> CiJob {
    CiJob {
        issuer: ISSUER.into(),
        key: "74:1:1:1".into(),
        repository_id: "74".into(),
        owner_id: "65".into(),
        event: "push".into(),
        git_ref: "refs/heads/main".into(),
        ref_protected: true,
        exact: true,
        workflow_ref: "o/r/.github/workflows/release.yml@refs/heads/main".into(),
        repository: "o/r".into(),
        ..CiJob::default()
    }
}

fn question(ask: &str, job: Option<CiJob>) -> Question {
    let ask: Asked = ask.parse().unwrap();
    Question {
        mode: (ask.kind == Kind::Directory).then(|| "read".to_owned()),
        ask,
        measured: Measured {
            runner: "builder-1".into(),
            tpm_class: "discrete".into(),
            isolation: "agent".into(),
            component: "00".repeat(32),
            job,
            ..Measured::default()
        },
        claimed: Claimed { step: "release".into(), why: "because".into() },
        formats: BTreeSet::from(["raw".to_owned()]),
        leased: false,
        private: false,
    }
}

#[test]
fn the_policy_of_a_new_broker_fits_the_schema_and_gives_nothing_of_other_stages() {
    let policy = compile(DEVELOPMENT).unwrap();
    for ask in [
        "reveal secret dev/a",
        "use secret dev/a",
        "sign key dev/a",
        "derive key dev/a",
        "use directory dev/dist",
        "send destination dev/https://example.com",
    ] {
        assert!(policy.allows(&question(ask, None)).unwrap(), "{ask}");
    }
    for ask in [
        "reveal secret prod/a",
        "sign key staging/a",
        "use secret prod/a",
        "use directory prod/dist",
        "derive key prod/a",
        "send destination prod/https://example.com",
    ] {
        assert!(!policy.allows(&question(ask, None)).unwrap(), "{ask}");
    }
    // Nor into a private network, nor anything to a job: whose, nobody has said.
    let into_private = Question { private: true, ..question("send destination dev/https://example.com", None) };
    assert!(!policy.allows(&into_private).unwrap());
    assert!(!policy.allows(&question("reveal secret dev/a", Some(job()))).unwrap());
}

/// P02.
#[test]
fn p02_a_rule_that_asks_for_no_proof_is_refused() {
    let rule = |when: &str| format!("@id(\"r\") permit (principal, action, resource in Stage::\"prod\") {when};");
    let without = |action| PolicyError::Unsafe(Unsafe::WithoutEvidence { rule: "r (line 1)".to_owned(), action });
    let job = format!("context.measured has job && principal in Repository::\"{ISSUER}#74\"");
    // The controls: what asks for a proof is taken, also among other things.
    for when in [
        "when { context.measured.isolation == \"agent\" }",
        "when { context.claimed.step == \"x\" && context.measured.tpm_class == \"discrete\" }",
        &format!("when {{ {job} }}"),
        "when { context.measured.arguments.contains(\"--dry-run\") && context.measured.isolation == \"agent\" }",
        "when { [\"agent\", \"direct\"].contains(context.measured.isolation) }",
        "when { context.measured.runner like \"builder-*\" }",
        "when { context.measured.isolation == \"agent\" && (context.claimed.step == \"a\" || context.claimed.step == \"b\") }",
        "when { if context.claimed.step == \"a\" then context.measured.isolation == \"agent\" else context.measured.tpm_class == \"discrete\" }",
        "unless { context.measured.isolation != \"agent\" || context.claimed.step == \"x\" }",
    ] {
        assert!(compile(&rule(when)).is_ok(), "{when}: {:?}", compile(&rule(when)).err());
    }
    let component = "ab".repeat(32);
    let principal = format!("permit (principal == Step::\"{component}\", action, resource in Stage::\"prod\");");
    assert!(compile(&principal).is_ok());
    let many: Vec<_> = (0..40).map(|id| format!("\"{id}\"")).collect();
    let many = format!(
        "when {{ context.measured has job && context.measured.job.issuer == \"{ISSUER}\" && [{}].contains(context.measured.job.repository_id) }}",
        many.join(", ")
    );
    assert!(compile(&rule(&many)).is_ok());
    for when in [
        "",
        "when { true }",
        "when { context.claimed.step == \"release\" }",
        "when { context.claimed.step like \"release*\" }",
        "when { context.claimed.why like \"?*\" }",
        "when { context.claimed.why != \"\" && context.claimed.step != \"\" }",
        "when { context.claimed.step == \"a\" && context.claimed.why == \"b\" }",
        "when { context.measured.isolation != \"direct\" }",
        "when { context.measured.runner like \"*\" }",
        "unless { context.measured.tpm_class == \"software\" }",
        "unless { context.measured has job }",
        "when { context.measured.isolation == \"agent\" || context.claimed.step == \"x\" }",
        "when { if context.claimed.step == \"a\" then context.measured.isolation == \"agent\" else true }",
        "when { [context.claimed.step, \"a\"].contains(context.measured.isolation) }",
        // The job chooses its arguments and its manifest.
        "when { context.measured.arguments.contains(\"--dry-run\") }",
        "when { !context.measured.arguments.contains(\"--prod\") }",
        "unless { context.measured.arguments.contains(\"--prod\") }",
        "when { context.measured.arguments.isEmpty() }",
        "when { context.measured.arguments == [\"x\"] }",
        "when { context.measured.manifest == \"00\" }",
        "when { context.measured.manifest != \"\" }",
        // It asks for what it likes, of the stage that it likes.
        "when { resource == Secret::\"prod/npm\" }",
        "when { resource is Secret }",
        "when { principal in Stage::\"prod\" }",
    ] {
        assert_eq!(refused(&rule(when)), without("reveal"), "{when}");
    }
    let stage = "@id(\"r\") permit (principal in Stage::\"prod\", action, resource in Stage::\"prod\");";
    assert_eq!(refused(stage), without("reveal"));
    for formats in [
        "",
        "when { context.formats.contains(\"raw\") }",
        "when { !context.formats.contains(\"ssh\") }",
        "when { context.formats == [\"raw\"] }",
    ] {
        let sign = format!(
            "@id(\"r\") permit (principal, action == Action::\"sign\", resource == Key::\"prod/release\") {formats};"
        );
        assert_eq!(refused(&sign), without("sign"), "{formats}");
    }
    let mode = "@id(\"r\") permit (principal, action == Action::\"use\", resource is Directory in Stage::\"prod\") when { context has mode && context.mode == \"read\" };";
    assert_eq!(refused(mode), without("use"));
    // A `forbid` beside it does not make it better.
    let forbid = "forbid (principal, action == Action::\"reveal\", resource) unless { context.measured.isolation == \"agent\" };";
    assert_eq!(refused(&format!("{}{forbid}", rule(""))), without("reveal"));
}

#[test]
fn p02_a_rule_names_its_stage_and_knows_repositories_by_their_ids() {
    let proof = "when { context.measured.isolation == \"agent\" }";
    for resource in ["resource", "resource is Secret"] {
        let rule = format!("@id(\"r\") permit (principal, action == Action::\"reveal\", {resource}) {proof};");
        assert_eq!(refused(&rule), PolicyError::Unsafe(Unsafe::EveryStage { rule: "r (line 1)".to_owned() }));
    }
    let of_job = |when: &str| {
        format!(
            "@id(\"r\") permit (principal, action, resource in Stage::\"prod\") when {{ context.measured has job && {when} }};"
        )
    };
    let renameable =
        || PolicyError::Unsafe(Unsafe::Renameable { rule: "r (line 1)".to_owned(), attribute: "repository" });
    let own = format!("principal in Repository::\"{ISSUER}#74\"");
    assert_eq!(
        refused(&of_job(&format!("context.measured.job.repository == \"octo-org/octo-repo\" && {own}"))),
        renameable()
    );
    let forbid = "@id(\"r\") forbid (principal, action, resource in Stage::\"prod\") when { context.measured has job && context.measured.job.repository == \"evil/fork\" };";
    assert_eq!(refused(&format!("{forbid}{}", DEVELOPMENT)), renameable());
    // A workflow of any repository's is a workflow that anybody may write; and an id is its issuer's alone.
    for (when, attribute) in [
        ("context.measured.isolation == \"agent\"", "job"),
        ("context.measured.job.workflow_ref == \"o/r/.github/workflows/release.yml@refs/heads/main\"", "job"),
        ("context.measured.job.ref_protected", "job"),
        ("context.measured.job.issuer == \"https://issuer.example\"", "job"),
        ("context.measured.job.repository_id == \"74\"", "job"),
        (
            "context.measured.job.issuer == \"https://issuer.example\" && context.measured.job.repository_id like \"7*\"",
            "job",
        ),
        // Every repository but one.
        (
            "context.measured.job.issuer == \"https://issuer.example\" && context.measured.job.repository_id != \"74\"",
            "job",
        ),
    ] {
        let wanted = Unsafe::AnyRepository { rule: "r (line 1)".to_owned(), attribute: attribute.to_owned() };
        assert_eq!(refused(&of_job(when)), PolicyError::Unsafe(wanted), "{when}");
    }
    for when in [
        "context.measured.job.issuer == \"https://issuer.example\" && [\"74\", \"75\"].contains(context.measured.job.repository_id)",
        "context.measured.job.issuer == \"https://issuer.example\" && context.measured.job.owner_id == \"65\"",
        &own,
        "principal in Owner::\"https://issuer.example#65\"",
    ] {
        assert!(compile(&of_job(when)).is_ok(), "{when}: {:?}", compile(&of_job(when)).err());
    }
}

#[test]
fn what_is_no_policy_is_refused_with_its_place() {
    let PolicyError::Syntax(errors) = refused("permit (principal,\n  action resource);") else { panic!() };
    assert!(errors[0].starts_with("2:10: "), "{errors:?}");
    let typo = "permit (principal, action == Action::\"sing\", resource);";
    assert!(matches!(refused(typo), PolicyError::Types(_)));
    let attribute = "permit (principal, action == Action::\"sign\", resource) when { context.measured.tpm == \"x\" };";
    assert!(matches!(refused(attribute), PolicyError::Types(_)));
    assert_eq!(refused(""), PolicyError::Empty);
    assert_eq!(refused("permit (principal, action == Action::\"administer\", resource);"), PolicyError::Empty);
    assert_eq!(refused(&" ".repeat(10 << 20)), PolicyError::TooLong(10 << 20));
    let template = "permit (principal == ?principal, action, resource in Stage::\"prod\");";
    assert!(matches!(refused(template), PolicyError::Syntax(_)));
    let twice = "@id(\"a\") permit (principal == Step::\"x\", action, resource in Stage::\"dev\");".repeat(2);
    assert!(matches!(refused(&twice), PolicyError::Syntax(_)));
    let many = "@leases(\"0\") permit (principal, action, resource in Stage::\"dev\") when { context.measured.isolation == \"agent\" };";
    assert!(matches!(refused(many), PolicyError::Unsafe(Unsafe::Untried { .. })));
}

#[test]
fn what_is_not_there_can_not_be_named() {
    let proof = "when { context.measured.isolation == \"agent\" }";
    for (scope, reason) in [
        ("resource in Stage::\"production\"", "`dev`, `staging` or `prod`"),
        ("resource == Secret::\"npm-token\"", "STAGE/NAME"),
        ("resource == Secret::\"prod/NPM\"", "STAGE/NAME"),
        ("resource in SecretGroup::\"npm\"", "nothing is in SecretGroup"),
    ] {
        let rule = format!("permit (principal, action == Action::\"reveal\", {scope}) {proof};");
        let PolicyError::Unknown { reason: found, .. } = refused(&rule) else {
            panic!("{scope}: {:?}", refused(&rule))
        };
        assert!(found.contains(reason), "{found}");
    }
    for audience in ["cloud", "prod/", "prod/https://sts.example", "production/cloud"] {
        let rule =
            format!("permit (principal, action == Action::\"mint\", resource == Audience::{audience:?}) {proof};");
        assert!(matches!(refused(&rule), PolicyError::Unknown { .. }), "{audience}: {:?}", refused(&rule));
    }
    for (principal, reason) in [
        ("principal == Step::\"hello\"", "SHA-256"),
        ("principal in Runner::\"Builder\"", "runner name"),
        ("principal in Repository::\"octo-org/octo-repo\"", "ISSUER#ID"),
        ("principal in RunnerGroup::\"release\"", "nothing is in RunnerGroup"),
    ] {
        let rule = format!("permit ({principal}, action == Action::\"reveal\", resource in Stage::\"prod\") {proof};");
        let PolicyError::Unknown { reason: found, .. } = refused(&rule) else { panic!("{principal}") };
        assert!(found.contains(reason), "{found}");
    }
    let circle = r#"[{"uid":{"type":"RunnerGroup","id":"a"},"attrs":{},"parents":[{"type":"RunnerGroup","id":"b"}]},
                     {"uid":{"type":"RunnerGroup","id":"b"},"attrs":{},"parents":[{"type":"RunnerGroup","id":"a"}]}]"#;
    assert!(matches!(Policy::compile(1, DEVELOPMENT, circle).map(drop), Err(PolicyError::Entities(_))));
}

#[test]
fn a_rule_that_is_never_reached_is_refused() {
    let permit = |id: &str, when: &str| {
        format!(
            "@id(\"{id}\") permit (principal, action == Action::\"reveal\", resource in Stage::\"prod\") when {{ {when} }};\n"
        )
    };
    let agent = "context.measured.isolation == \"agent\"";
    let unreachable = |rules: &str, rule: &str, why: &str| match refused(rules) {
        PolicyError::Unsafe(Unsafe::Unreachable { rule: found, reason }) => {
            assert!(found.starts_with(rule) && reason.contains(why), "{found}: {reason}");
        }
        other => panic!("{rules}: {other:?}"),
    };
    let narrower = permit("b", &format!("{agent} && context.measured.tpm_class == \"discrete\""));
    unreachable(&(permit("a", agent) + &narrower), "b", "`a (line 1)` already says all of it");
    unreachable(&(permit("a", agent) + &permit("b", agent)), "b", "already says");
    unreachable(
        &(permit("a", agent) + "forbid (principal, action == Action::\"reveal\", resource);"),
        "a",
        "forbids all",
    );
    unreachable(
        &(permit("a", agent)
            + "forbid (principal, action in [Action::\"reveal\", Action::\"use\"], resource in Stage::\"prod\");"),
        "a",
        "forbids all",
    );
    unreachable(
        &permit("a", &format!("{agent} && context.measured.isolation == \"direct\"")),
        "a",
        "measured.isolation",
    );
    let both = "context.measured has job && principal in Repository::\"https://issuer.example#74\" && context.measured.job.ref_protected && !context.measured.job.ref_protected";
    unreachable(&permit("a", both), "a", "ref_protected");
    unreachable(&permit("a", &format!("{agent} && false")), "a", "never true");
    // The controls: neither covers the other.
    let discrete = permit("b", "context.measured.tpm_class == \"discrete\"");
    compile(&(permit("a", agent) + &discrete)).unwrap();
    let some = "forbid (principal, action == Action::\"reveal\", resource) unless { context.measured.tpm_class == \"discrete\" };";
    compile(&(permit("a", agent) + some)).unwrap();
    // More leases is something to say.
    compile(&(permit("a", agent) + &narrower.replace("@id(\"b\")", "@id(\"b\") @leases(\"3\")"))).unwrap();
}

/// Of GitHub and of GitLab, one that is yet to come, and none.
const EVENTS_OF_STRANGERS: [&str; 10] = [
    "pull_request",
    "pull_request_target",
    "pull_request_review",
    "workflow_run",
    "issue_comment",
    "issues",
    "merge_request_event",
    "parent_pipeline",
    "something_new",
    "",
];

/// C03, and unprotected refs.
#[test]
fn c03_what_is_denied_by_default_is_allowed_only_in_so_many_words() {
    let rule = |when: &str| {
        format!(
            "permit (principal, action == Action::\"sign\", resource == Key::\"prod/release\") when {{ context.measured has job && principal in Repository::\"{ISSUER}#74\" {when} }};"
        )
    };
    let ask = |policy: &Policy, job: CiJob| policy.allows(&question("sign key prod/release", Some(job))).unwrap();
    let of_event = |event: &str| CiJob { event: event.into(), ..job() };
    let plain = compile(&rule("")).unwrap();
    assert!(ask(&plain, job()));
    for event in EVENTS_OF_WRITERS {
        assert!(ask(&plain, of_event(event)), "{event}");
    }
    for event in EVENTS_OF_STRANGERS {
        assert!(!ask(&plain, of_event(event)), "{event}");
        let explanation = plain.explain(&question("sign key prod/release", Some(of_event(event)))).unwrap();
        assert!(explanation.trials[0].overridden.as_deref().is_some_and(|why| why.contains(event)), "{explanation:?}");
        let named = compile(&rule(&format!("&& context.measured.job.event == \"{event}\""))).unwrap();
        assert!(ask(&named, of_event(event)), "{event}");
        let listed =
            compile(&rule(&format!("&& [\"push\", \"{event}\"].contains(context.measured.job.event)"))).unwrap();
        assert!(ask(&listed, of_event(event)) && ask(&listed, job()), "{event}");
        // Not by leaving others out, nor by a pattern.
        for loose in ["&& context.measured.job.event != \"schedule\"", "&& context.measured.job.event like \"*\""] {
            assert!(!ask(&compile(&rule(loose)).unwrap(), of_event(event)), "{loose}");
        }
    }
    let unprotected = || CiJob { ref_protected: false, git_ref: "refs/heads/topic".into(), ..job() };
    assert!(!ask(&plain, unprotected()));
    assert!(ask(&compile(&rule("&& !context.measured.job.ref_protected")).unwrap(), unprotected()));
    // A push to the ref of a pull request is a stranger's.
    for git_ref in ["refs/pull/91/merge", "refs/merge-requests/3/head"] {
        assert!(!ask(&plain, CiJob { git_ref: git_ref.into(), ..job() }), "{git_ref}");
    }
    // A rule about pushes does not speak of them; one that names the ref as well does.
    let pushed = || CiJob { git_ref: "refs/pull/91/merge".into(), ..job() };
    assert!(!ask(&compile(&rule("&& context.measured.job.event == \"push\"")).unwrap(), pushed()));
    let both = "&& context.measured.job.event == \"push\" && context.measured.job.git_ref == \"refs/pull/91/merge\"";
    assert!(ask(&compile(&rule(both)).unwrap(), pushed()));
    // Whoever left out what tokens say of themselves, too.
    let inexact = || CiJob { exact: false, ..job() };
    assert!(!ask(&plain, inexact()));
    assert!(ask(&compile(&rule("&& !context.measured.job.exact")).unwrap(), inexact()));
    // And who has no job at all, whatever else it proves.
    let machine = |more: &str| {
        format!(
            "permit (principal, action == Action::\"sign\", resource == Key::\"prod/release\") when {{ context.measured.isolation == \"agent\" {more} }};"
        )
    };
    for stage in ["prod", "staging", "dev"] {
        let of_stage = |more: &str| compile(&machine(more).replace("prod/", &format!("{stage}/"))).unwrap();
        let none = question(&format!("sign key {stage}/release"), None);
        assert!(!of_stage("").allows(&none).unwrap(), "{stage}");
        assert!(of_stage("&& !(context.measured has job)").allows(&none).unwrap(), "{stage}");
    }
    let dev = "permit (principal, action == Action::\"sign\", resource == Key::\"dev/release\") when { context.measured has job && principal in Repository::\"https://issuer.example#74\" };";
    assert!(compile(dev).unwrap().allows(&question("sign key dev/release", Some(unprotected()))).unwrap());
}

#[test]
fn a_rule_may_lift_a_default_beside_the_rule_that_does_not() {
    let rule = |id: &str, more: &str| {
        format!(
            "@id(\"{id}\") permit (principal, action == Action::\"sign\", resource == Key::\"prod/release\") when {{ context.measured has job && principal in Repository::\"{ISSUER}#74\" {more} }};\n"
        )
    };
    for more in ["&& context.measured.job.event == \"pull_request\"", "&& !context.measured.job.ref_protected"] {
        compile(&(rule("own", "") + &rule("lifted", more))).unwrap();
    }
    // What lifts nothing is covered as ever.
    assert!(matches!(
        refused(&(rule("own", "") + &rule("b", "&& context.measured.job.event == \"push\""))),
        PolicyError::Unsafe(Unsafe::Unreachable { .. })
    ));
}

#[test]
fn what_is_told_to_a_job_is_of_its_own_repository_at_its_own_issuer() {
    let policy = compile(&format!(
        "@id(\"own\") permit (principal in Repository::\"{ISSUER}#74\", action == Action::\"reveal\", resource == Secret::\"prod/npm\") when {{ context.measured.runner == \"a\" }};\n\
         @id(\"claims\") permit (principal, action == Action::\"reveal\", resource == Secret::\"prod/npm\") when {{ context.measured has job && context.measured.job.issuer == \"{ISSUER}\" && context.measured.job.repository_id == \"74\" && context.measured.runner == \"b\" }};\n\
         @id(\"but\") forbid (principal, action == Action::\"reveal\", resource == Secret::\"prod/npm\") when {{ context.measured has job && context.measured.job.workflow_ref == \"HIDDEN\" }} unless {{ context.measured.job.repository_id == \"99\" }};\n"
    ))
    .unwrap();
    let told = |job: CiJob| {
        let told = policy.explain_to_job(&question("reveal secret prod/npm", Some(job))).unwrap();
        told.trials.into_iter().map(|trial| trial.rule).collect::<Vec<_>>()
    };
    assert_eq!(told(job()), ["own", "claims"]);
    assert!(told(CiJob { repository_id: "75".into(), ..job() }).is_empty());
    assert!(told(CiJob { issuer: "https://other.example".into(), ..job() }).is_empty());
}

#[test]
fn slips_of_the_pen_are_refused() {
    let rule = |annotation: &str, when: &str| {
        format!("{annotation} permit (principal, action, resource in Stage::\"prod\") when {{ {when} }};")
    };
    for (annotation, when) in [
        ("@lease(\"5\")", "context.measured.isolation == \"agent\""),
        ("@leases(\"x\")", "context.measured.isolation == \"agent\""),
        ("", "context.measured.tpm_class == \"discret\""),
        ("", "[\"agent\", \"agnet\"].contains(context.measured.isolation)"),
    ] {
        assert!(
            matches!(
                refused(&rule(annotation, when)),
                PolicyError::Unsafe(Unsafe::Untried { .. } | Unsafe::Unreachable { .. })
            ),
            "{annotation} {when}"
        );
    }
    // A rule that stands in a comment, too, is where it stands as a rule.
    let text =
        "permit (principal, action, resource in Stage::\"dev\") when { context.measured.isolation == \"agent\" };";
    assert_eq!(compile(&format!("// {text}\n\n{text}")).unwrap().rules[0].line, Some(3));
}

#[test]
fn an_explanation_names_the_rule_the_claim_what_it_wants_and_what_it_got() {
    let policy = compile(
        "// Releases.\n@id(\"release\")\npermit (principal in Runner::\"builder-1\", action == Action::\"reveal\", resource == Secret::\"prod/npm\")\n\
         when { context.measured has job && principal in Repository::\"https://issuer.example#74\"\n\
                && context.measured.job.workflow_ref == \"o/r/.github/workflows/release.yml@refs/heads/main\" };\n\
         @id(\"twin\") permit (principal, action == Action::\"reveal\", resource in Stage::\"staging\")\n\
         when { context.measured.isolation == \"agent\" };\n\
         @id(\"of-others\") permit (principal, action == Action::\"reveal\", resource == Secret::\"prod/npm\")\n\
         when { context.measured has job && context.measured.job.issuer == \"https://issuer.example\" && context.measured.job.repository_id == \"99\" };",
    )
    .unwrap();
    let other = CiJob { workflow_ref: "o/r/.github/workflows/ci.yml@refs/pull/91/merge".into(), ..job() };
    let explanation = policy.explain(&question("reveal secret prod/npm", Some(other))).unwrap();
    assert!(!explanation.allowed);
    let nearest = &explanation.trials[0];
    assert_eq!((nearest.rule.as_str(), nearest.line, nearest.effect), ("release", Some(2), "permit"));
    assert_eq!(
        nearest.failed,
        [Finding {
            what: "job.workflow_ref".into(),
            wanted: "`o/r/.github/workflows/release.yml@refs/heads/main`".into(),
            got: "`o/r/.github/workflows/ci.yml@refs/pull/91/merge`".into(),
        }]
    );
    let passed: Vec<_> = nearest.passed.iter().map(|passed| passed.what.as_str()).collect();
    assert_eq!(passed, ["runner", "job", "repository"]);
    assert_eq!(
        explanation.proposals(&explanation.trials),
        [
            "run it in the workflow that may: `o/r/.github/workflows/release.yml@refs/heads/main`",
            "its twin `staging/npm` is allowed: `--stage staging`"
        ]
    );
    // Rules of other repositories are there, and known as such.
    let of: Vec<_> = explanation.trials.iter().map(|trial| (trial.rule.as_str(), trial.of_own_repository)).collect();
    assert_eq!(of, [("release", true), ("of-others", false)]);
    // Without a job what is not there is said to be so.
    let explanation = policy.explain(&question("reveal secret prod/npm", None)).unwrap();
    assert!(explanation.trials.iter().all(|trial| !trial.of_own_repository));
    assert!(explanation.trials[0].failed.iter().any(|failed| failed.got == "nothing"), "{explanation:?}");
}

#[test]
fn policies_speak_about_admins_and_never_lock_all_of_them_out() {
    let rest = "permit (principal, action == Action::\"sign\", resource in Stage::\"dev\") when { context.measured.isolation == \"agent\" };";
    let with = |rules: &str| compile(&format!("{rest}\n{rules}")).unwrap();
    let silent = with("");
    assert!(silent.administers("anybody", POLICY_APPLY));
    assert!(silent.check_admins("anybody", true, |_| true).is_ok());
    let alice = with("permit (principal == Admin::\"alice\", action == Action::\"administer\", resource);");
    assert!(alice.administers("alice", POLICY_APPLY) && !alice.administers("bob", POLICY_APPLY));
    assert!(alice.check_admins("bob", false, |_| true).is_ok());
    assert!(alice.check_admins("bob", true, |_| true).is_err());
    let two = with(
        "permit (principal in [Admin::\"alice\", Admin::\"bob\"], action == Action::\"administer\", resource);"
            .replace("principal in [Admin::\"alice\", Admin::\"bob\"]", "principal")
            .replace("resource);", "resource) when { [Admin::\"alice\", Admin::\"bob\"].contains(principal) };")
            .as_str(),
    );
    assert!(two.check_admins("alice", true, |_| true).is_ok() && !two.administers("carol", POLICY_APPROVE));
    // Alice applies and Bob approves; nobody else does either.
    let split = with(
        "permit (principal == Admin::\"alice\", action == Action::\"administer\", resource) when { context.what == \"policy apply\" };\n\
         permit (principal == Admin::\"bob\", action == Action::\"administer\", resource) when { context.what == \"policy approve\" };",
    );
    assert!(split.check_admins("alice", true, |_| true).is_ok());
    let nobody = with("forbid (principal, action == Action::\"administer\", resource);");
    let refused = nobody.check_admins("alice", false, |_| true).unwrap_err();
    assert_eq!(refused.known, ["alice"]);
    let gone =
        with("permit (principal, action == Action::\"administer\", resource) when { context.what == \"secret set\" };");
    assert!(gone.check_admins("alice", false, |_| true).is_err());
}

/// Rules of all shapes, filed, against the same rules in one heap.
#[test]
fn what_the_index_leaves_out_could_not_have_mattered() {
    let mut text = String::new();
    for (at, resource) in [
        "resource in Stage::\"prod\"",
        "resource == Key::\"prod/release\"",
        "resource is Key in Stage::\"dev\"",
        "resource in KeyGroup::\"g\"",
        "resource == Key::\"dev/release\"",
    ]
    .into_iter()
    .enumerate()
    {
        for (with, when) in [
            "context.measured.isolation == \"agent\"",
            "context.measured has job && principal in Repository::\"https://issuer.example#74\"",
            "context.measured has job && context.measured.job.issuer == \"https://issuer.example\" && [\"74\", \"75\"].contains(context.measured.job.repository_id) && context.measured.job.event == \"push\"",
            "context.measured.tpm_class == \"discrete\"",
        ]
        .into_iter()
        .enumerate()
        {
            text += &format!("@id(\"p{at}{with}\") permit (principal, action == Action::\"sign\", {resource}) when {{ {when} && [\"builder-{with}\", \"only-{at}{with}\"].contains(context.measured.runner) }};\n");
        }
        text += &format!(
            "@id(\"q{at}\") permit (principal in Repository::\"{ISSUER}#7{at}\", action == Action::\"sign\", {resource}) when {{ [\"builder-9\", \"only-{at}\"].contains(context.measured.runner) }};\n"
        );
    }
    text += "@id(\"f\") forbid (principal, action, resource) when { context has formats && context.formats.contains(\"ssh\") };\n"
        .replace("action, resource", "action == Action::\"sign\", resource")
        .as_str();
    text += &format!(
        "@id(\"g\") forbid (principal in Repository::\"{ISSUER}#75\", action == Action::\"sign\", resource) when {{ context.measured.runner == \"builder-2\" }};\n"
    );
    let entities =
        r#"[{"uid":{"type":"Key","id":"prod/release"},"attrs":{},"parents":[{"type":"KeyGroup","id":"g"}]}]"#;
    let policy = Policy::compile(1, &text, entities).unwrap();
    let mut answers = BTreeSet::new();
    for ask in ["sign key prod/release", "sign key prod/other", "sign key dev/release", "sign key staging/x"] {
        for runner in ["builder-0", "builder-1", "builder-2", "builder-3", "builder-9", "other"] {
            for repository in [None, Some("70"), Some("74"), Some("75"), Some("76")] {
                for format in ["raw", "ssh"] {
                    let job = repository.map(|id| CiJob { repository_id: id.into(), ..job() });
                    let mut question = question(ask, job);
                    question.measured.runner = runner.into();
                    question.formats = BTreeSet::from([format.to_owned()]);
                    let prepared = question.prepare(&policy.groups, Some(schema().unwrap())).unwrap();
                    let whole = Authorizer::new().is_authorized(&prepared.request, &policy.set, &prepared.entities);
                    let said = policy.index.ask(&question, &prepared);
                    let mut rules: Vec<_> = whole.diagnostics().reason().cloned().collect();
                    rules.sort();
                    let allowed = said.forbidden_by.is_empty() && !said.permitted_by.is_empty();
                    assert_eq!(whole.decision() == cedar_policy::Decision::Allow, allowed, "{question:?}");
                    assert_eq!(rules, if allowed { said.permitted_by } else { said.forbidden_by }, "{question:?}");
                    assert!(said.errors.is_empty());
                    answers.insert(rules);
                }
            }
        }
    }
    // The control: the answers are many.
    assert!(answers.len() > 15, "{}", answers.len());
}

#[test]
fn cases_are_held_against_a_policy() {
    let policy = compile(
        "@id(\"release\") permit (principal, action == Action::\"sign\", resource == Key::\"prod/release\") when { context.measured has job && principal in Repository::\"https://issuer.example#74\" };",
    )
    .unwrap();
    let cases = Cases::parse(
        r#"
        [given.measured]
        isolation = "agent"
        [given.measured.job]
        issuer = "https://issuer.example"
        repository_id = "74"
        event = "push"
        ref_protected = true
        exact = true
        [[case]]
        name = "its own"
        ask = "sign key prod/release"
        expect = "allow"
        by = "release"
        [[case]]
        name = "another's"
        ask = "sign key prod/release"
        expect = "deny"
        measured.job.repository_id = "75"
        [[case]]
        name = "no job"
        ask = "sign key prod/release"
        expect = "deny"
        no_job = true
        [[case]]
        name = "wrong on purpose"
        ask = "sign key prod/release"
        expect = "deny"
        "#,
    )
    .unwrap();
    let passed: Vec<_> = cases.0.iter().map(|case| policy.test(case).unwrap().passed).collect();
    assert_eq!(passed, [true, true, true, false]);
    // A rule that is not there is a slip of the pen, not a case that fails.
    let mut by_nobody = cases.0[0].clone();
    by_nobody.by = Some("other".into());
    assert!(policy.test(&by_nobody).unwrap_err().contains("there is none"));
    assert_eq!(Cases::parse(""), Err(CasesError::None));
    for wrong in [
        "[[case]]\nname = \"a\"\nask = \"sign key prod/a\"",
        "[[case]]\nname = \"a\"\nask = \"sing key prod/a\"\nexpect = \"deny\"",
        "[[case]]\nname = \"a\"\nask = \"sign key prod/a\"\nexpect = \"deny\"\nmeasured.tpm = \"x\"",
        "x = 1",
    ] {
        assert!(matches!(Cases::parse(wrong), Err(CasesError::Malformed(_))), "{wrong}");
    }
}

#[test]
fn both_forms_of_the_schema_say_the_same() {
    let (schema, _) = cedar_policy::SchemaFragment::from_cedarschema_str(SCHEMA).unwrap();
    let meant = schema.to_json_value().unwrap();
    let is: serde_json::Value = serde_json::from_str(SCHEMA_JSON).unwrap();
    assert!(is == meant, "schema.json should be:\n{}", serde_json::to_string_pretty(&meant).unwrap());
}
