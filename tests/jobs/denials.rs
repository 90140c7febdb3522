//! What a job is told when policy says no: to its own repository's, the rule, the claim, what it wants and what it got;
//! to anybody else, a code and an audit id.

use super::{Scene, with};
use attest_agent::BrokerError;
use attest_evidence::exchange::{Request, SecretRequest, SecretUse};
use attest_evidence::report::Report;
use serde_json::{Value, json};

const RELEASE: &str = "octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main";

fn policy(scene: &Scene, repository: &str) -> String {
    let own = format!("{}#{repository}", scene.issuer.url);
    format!(
        "// Who may publish.\n\n@id(\"publish\")\npermit (principal, action == Action::\"reveal\", resource == Secret::\"prod/npm\")\n\
         when {{ context.measured has job && principal in Repository::\"{own}\"\n\
         && context.measured.job.workflow_ref == \"{RELEASE}\" }};\n\
         @id(\"try\") permit (principal, action == Action::\"reveal\", resource == Secret::\"staging/npm\")\n\
         when {{ context.measured.isolation == \"direct\" }};"
    )
}

/// The refusal of a step that asks for `prod/npm`.
async fn ask(scene: &Scene, claims: Option<&Value>) -> Result<Report, BrokerError> {
    match scene.ask_for_npm(claims).await {
        Err(BrokerError::Refused(report, Some(audit))) => Ok(report.fact("audit", audit)),
        Err(other) => Err(other),
        Ok(grant) => panic!("{grant:?}"),
    }
}

fn fact<'a>(report: &'a Report, name: &str) -> Option<&'a str> {
    report.facts.iter().find(|fact| fact.name == name).map(|fact| fact.value.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_the_repository_is_told_what_the_rule_wants_and_nobody_else_is() {
    let scene = Scene::set("github").await;
    scene.broker.set_secret("prod", "npm", "npm_secret_of_prod");
    scene.broker.set_secret("staging", "npm", "npm_secret_of_staging");
    let file = scene.broker.state().parent().unwrap().join("release.cedar");
    std::fs::write(&file, policy(&scene, "74")).unwrap();
    scene.broker.admin(&["policy", "apply", file.to_str().unwrap()]).ok();
    let ci = "octo-org/octo-repo/.github/workflows/ci.yml@refs/heads/main";
    let own = with(scene.claims(1), "workflow_ref", json!(ci));
    let report = ask(&scene, Some(&own)).await.unwrap();
    assert_eq!(report.code.to_string(), "AR-P402");
    assert_eq!(fact(&report, "rule"), Some("publish (line 3)"));
    assert_eq!(fact(&report, "failed"), Some(&*format!("job.workflow_ref: want `{RELEASE}`, got `{ci}`")));
    assert_eq!(fact(&report, "passed"), Some("job, repository"));
    let hint = report.hint.as_deref().unwrap();
    assert!(hint.contains(&format!("run it in the workflow that may: `{RELEASE}`")), "{hint}");
    assert!(hint.contains("its twin `staging/npm` is allowed: `--stage staging`"), "{hint}");
    assert_eq!(report.details.len(), 1);

    // Another repository's job, and no job at all: nothing that the rule says.
    let foreign = with(scene.claims(2), "repository_id", json!("75"));
    for claims in [Some(&foreign), None] {
        let report = ask(&scene, claims).await.unwrap();
        assert_eq!(report.code.to_string(), "AR-P402");
        let names: Vec<_> = report.facts.iter().map(|fact| fact.name.as_str()).collect();
        assert_eq!(names, ["audit"], "{report}");
        let text = serde_json::to_string(&report).unwrap();
        for secret in ["release.yml", "staging", "publish\"", "repository_id"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        // Whoever runs the broker sees it all, by the id that the job was told.
        let explained = scene.broker.admin(&["policy", "explain", fact(&report, "audit").unwrap()]).ok().stdout;
        assert!(
            explained.contains("reveal secret prod/npm: denied") && explained.contains("publish (line 3)"),
            "{explained}"
        );
        assert!(explained.contains(&format!("repository: want {}#74", scene.issuer.url)), "{explained}");
    }
    // The fact that a job is of the repository counts, not that it says so: a claim is not enough without the signature.
    let grant = scene.ask_for_npm(&scene.claims(3)).await.unwrap();
    assert_eq!((grant.rules, grant.policy_version), (vec!["publish".to_owned()], 2));
    // A grant is explained as a refusal is, by audit id and by lease.
    for id in [grant.audit.as_str(), grant.lease.as_str()] {
        let explained: Value =
            serde_json::from_str(&scene.broker.admin(&["policy", "explain", id, "--json"]).ok().stdout).unwrap();
        assert_eq!((&explained["was"], &explained["questions"][0]["allowed"]), (&"granted".into(), &true.into()));
        assert_eq!(explained["questions"][0]["trials"][0]["rule"], "publish");
    }
    // With the policy that was in force then, and with that of now.
    std::fs::write(&file, policy(&scene, "99")).unwrap();
    scene.broker.admin(&["policy", "apply", file.to_str().unwrap()]).ok();
    let id = grant.audit.as_str();
    assert!(scene.broker.admin(&["policy", "explain", id]).ok().stdout.contains("prod/npm: allowed"));
    assert!(scene.broker.admin(&["policy", "explain", id, "--now"]).ok().stdout.contains("prod/npm: denied"));
    scene.broker.admin(&["policy", "explain", "aud_none"]).refused(1, "AR-B305");
    // And what the change would have changed, of all that was ever asked.
    std::fs::write(&file, policy(&scene, "74")).unwrap();
    let diff = scene.broker.admin(&["policy", "diff", file.to_str().unwrap(), "--json"]).ok();
    let diff: Value = serde_json::from_str(&diff.stdout).unwrap();
    assert_eq!(diff["requests"], 4, "{diff}");
    let changes = diff["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{diff}");
    assert_eq!(
        (&changes[0]["before"], &changes[0]["after"], &changes[0]["audit"]),
        (&false.into(), &true.into(), &id.into())
    );
    assert!(
        scene
            .broker
            .admin(&["policy", "diff", file.to_str().unwrap()])
            .ok()
            .stdout
            .contains("deny -> allow  reveal secret prod/npm")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_prod_goes_to_an_unprotected_ref_unless_a_rule_says_so() {
    let scene = Scene::set("github").await;
    scene.broker.set_secret("prod", "npm", "npm_secret_of_prod");
    scene.broker.apply_policy(&policy(&scene, "74"));
    let topic = with(scene.claims(1), "ref_protected", json!("false"));
    let report = ask(&scene, Some(&topic)).await.unwrap();
    assert_eq!(report.code.to_string(), "AR-P407");
    assert!(fact(&report, "reason").unwrap().contains("unprotected ref"), "{report}");
    // Absent is not protected.
    let absent = with(scene.claims(2), "ref_protected", Value::Null);
    assert_eq!(ask(&scene, Some(&absent)).await.unwrap().code.to_string(), "AR-P407");
    let named = policy(&scene, "74").replace(
        "&& context.measured.job.workflow_ref",
        "&& !context.measured.job.ref_protected && context.measured.job.workflow_ref",
    );
    scene.broker.apply_policy(&named);
    let claims = with(scene.claims(3), "ref_protected", json!(false));
    scene.ask_for_npm(&claims).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_may_give_a_component_more_leases_in_a_job() {
    let scene = Scene::set("github").await;
    scene.broker.set_secret("dev", "npm", "npm_secret_of_dev");
    scene.broker.apply_policy(&format!(
        "@id(\"shards\") @leases(\"3\") permit (principal in Repository::\"{}#74\", action == Action::\"reveal\", resource == Secret::\"dev/npm\");",
        scene.issuer.url
    ));
    let session = scene.rig.redeem(&scene.token(&scene.claims(1))).await.unwrap().session;
    let ask = async |secrets: bool| {
        let mut request = Request { session: Some(session.clone()), ..scene.rig.request() };
        if secrets {
            request.secrets =
                vec![SecretRequest { name: "npm".parse().unwrap(), usage: SecretUse::Reveal, why: "x".to_owned() }];
        }
        scene.rig.send(scene.rig.exchange(&request).await).await
    };
    let (one, two) = tokio::join!(ask(true), ask(true));
    one.unwrap();
    two.unwrap();
    ask(true).await.unwrap();
    let Err(BrokerError::Refused(report, _)) = ask(true).await else { panic!() };
    assert_eq!(report.code.to_string(), "AR-J305");
    assert!(report.what.contains("its 3 leases"), "{report}");
    // What is asked for without that rule has the one lease that everything has, and it is gone.
    assert_eq!(crate::support::refusal(ask(false).await), "AR-J305");
}
