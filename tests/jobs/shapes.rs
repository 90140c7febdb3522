//! Claims as they are in the world: those that Fulcio is tested with, with its verdicts, and GitHub's own example.

use super::{Scene, now, with};
use crate::support::refusal;
use serde_json::{Value, json};

/// The claims of a case, with what every token has and the cases leave out.
fn token_of(scene: &Scene, at: usize, claims: &Value) -> String {
    let mut claims = claims.clone();
    for (name, value) in [
        ("iss", json!(scene.issuer.url)),
        ("aud", json!("broker")),
        ("exp", json!(now() + 300)),
        ("jti", json!(format!("case-{at}"))),
    ] {
        claims[name] = value;
    }
    scene.token(&claims)
}

async fn cases(kind: &str, text: &str, least: (usize, usize)) {
    let scene = Scene::set(kind).await;
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    let mut counts = (0, 0);
    for (at, case) in cases.iter().enumerate() {
        // Of each case another job, so that only what it is about decides.
        let mut claims = case["claims"].clone();
        let id = if kind == "github" { "run_id" } else { "job_id" };
        if !claims[id].is_null() {
            claims[id] = json!(format!("{}", 5000 + at));
        }
        let redeemed = scene.rig.redeem(&token_of(&scene, at, &claims)).await;
        let name = case["name"].as_str().unwrap();
        if case["want_err"].as_bool().unwrap() {
            counts.1 += 1;
            assert_eq!(refusal(redeemed), "AR-J108", "{name}");
            // For that claim, and no other.
            let (_, body) = scene.broker.audit().await.pop().unwrap();
            let missing = format!("`{}`", case["err_contains"].as_str().unwrap());
            assert!(body["report"]["what"].as_str().unwrap().contains(&missing), "{name}: {body}");
        } else {
            counts.0 += 1;
            redeemed.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    assert!(counts.0 >= least.0 && counts.1 >= least.1, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn github_s_claims_are_judged_as_fulcio_judges_them() {
    cases("github", include_str!("../testdata/oidc/fulcio-github-claim-cases.json"), (1, 8)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gitlab_s_claims_are_judged_as_fulcio_judges_them() {
    cases("gitlab", include_str!("../testdata/oidc/fulcio-gitlab-claim-cases.json"), (3, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn github_s_example_is_read_and_its_job_found() {
    let scene = Scene::set("github").await;
    let example: Value = serde_json::from_str(include_str!("../testdata/oidc/github-docs-example.json")).unwrap();
    let claims = example["payload"].clone();
    // The example is older than `workflow_ref`, which every token has by now.
    assert_eq!(
        refusal(scene.rig.redeem(&token_of(&scene, 1, &with(claims.clone(), "nbf", json!(now())))).await),
        "AR-J108"
    );
    let whole = with(
        with(claims, "nbf", json!(now())),
        "workflow_ref",
        json!("octo-org/octo-repo/.github/workflows/x.yml@refs/heads/main"),
    );
    let whole = with(whole, "iat", json!(now()));
    let opened = scene.rig.redeem(&token_of(&scene, 2, &whole)).await.unwrap();
    assert!(opened.job.starts_with("74:example-run-id:2:token-"), "{}", opened.job);
    assert_eq!(
        opened.run_url,
        format!("{}/octo-org/octo-repo/actions/runs/example-run-id/attempts/2", scene.issuer.url)
    );
    let claims = &scene.broker.rows("SELECT claims FROM job_sessions").await[0][0];
    let claims: Value = serde_json::from_str(claims).unwrap();
    // A reusable workflow of another repository is kept apart from the job's own.
    assert_eq!(claims["job_workflow_ref"], "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main");
    assert_eq!((&claims["environment"], &claims["exact"]), (&json!("prod"), &json!(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_may_have_a_path_and_sign_with_ps256() {
    let broker = crate::support::Broker::start();
    let issuer = crate::support::Issuer::start_at("/_services/token").await;
    issuer.sign_with(vec!["PS256"]);
    let scene = Scene::of("github", broker, issuer).await;
    let sign = |header: &str, job| scene.rsa.sign(header, &scene.claims(job).to_string());
    let opened = scene.rig.redeem(&sign(r#"{"alg":"PS256","kid":"rsa-1"}"#, 1)).await.unwrap();
    assert_eq!(opened.job, "74:10001:2:1");
    assert_eq!(refusal(scene.rig.redeem(&sign(r#"{"alg":"RS256","kid":"rsa-1"}"#, 2)).await), "AR-J103");
    // At the same host, and not below that path: another issuer.
    let root = scene.issuer.url.strip_suffix("/_services/token").unwrap();
    let elsewhere = scene.token(&with(scene.claims(3), "iss", json!(root)));
    assert_eq!(refusal(scene.rig.redeem(&elsewhere).await), "AR-J102");
}

/// The same ids at another issuer are another repository's, and another job's.
#[tokio::test(flavor = "multi_thread")]
async fn two_issuers_share_nothing() {
    let scene = Scene::set("github").await;
    let other = crate::support::Issuer::start().await;
    other.publish(vec![scene.rsa.jwk("rsa-1")]);
    let authority = scene.broker.state().parent().unwrap().join("other.pem");
    std::fs::write(&authority, &other.authority).unwrap();
    let add = ["issuer", "add", &other.url, "--kind", "github", "--audience", "broker", "--authority"];
    scene.broker.admin(&[&add[..], &[authority.to_str().unwrap()]].concat()).ok();
    scene.broker.set_secret("prod", "npm", "npm_secret_of_prod");
    scene.broker.apply_policy(&format!(
        "permit (principal in Repository::\"{}#74\", action == Action::\"reveal\", resource == Secret::\"prod/npm\");",
        scene.issuer.url
    ));
    // One job key, token id and all: two jobs, of which one may.
    scene.ask_for_npm(&scene.claims(1)).await.unwrap();
    assert_eq!(refusal(scene.ask_for_npm(&with(scene.claims(1), "iss", json!(other.url))).await), "AR-P402");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_says_which_algorithms_an_issuer_may_use() {
    let scene = Scene::set("github").await;
    let es256 = |job| scene.p256.sign(r#"{"alg":"ES256","kid":"p256-1"}"#, &scene.claims(job).to_string());
    scene.rig.redeem(&es256(1)).await.unwrap();
    let authority = scene.broker.state().parent().unwrap().join("issuer.pem");
    let add = ["issuer", "add", &scene.issuer.url, "--kind", "github", "--audience", "broker", "--authority"];
    let only = [&add[..], &[authority.to_str().unwrap(), "--algorithm", "RS256"]].concat();
    scene.broker.admin(&only).ok();
    // Of what the issuer names, and of what its key could.
    assert_eq!(refusal(scene.rig.redeem(&es256(2)).await), "AR-J103");
    scene.rig.redeem(&scene.token(&scene.claims(3))).await.unwrap();
    let listed = scene.broker.admin(&["issuer", "list"]).ok().stdout;
    assert!(listed.trim_end().ends_with("aud broker  RS256"), "{listed}");
    let none = [&add[..], &[authority.to_str().unwrap(), "--algorithm", "HS256"]].concat();
    assert_eq!(scene.broker.admin(&none).status, 2);
}
