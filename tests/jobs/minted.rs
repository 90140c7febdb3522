//! Tokens that the broker mints for steps of CI jobs: what they say of the job is what its issuer said.

use super::{Scene, with};
use crate::support::{Held, RelyingParty, refusal};
use attest_evidence::exchange::{Request, TokenRequest};
use attest_evidence::name::JobSessionId;
use serde_json::json;

const ISSUER: &str = "https://tokens.example";

/// A broker that is an issuer, with an audience of stage `dev` for jobs of the repository.
async fn scene() -> Scene {
    let scene = Scene::set_with("github", &["--token-issuer", ISSUER, "--lease-seconds", "45"]).await;
    scene.broker.apply_policy(&format!(
        "permit (principal in Repository::\"{}#74\", action == Action::\"mint\", resource == Audience::\"dev/cloud\")
         when {{ context.measured has job && context.measured.job.git_ref == \"refs/heads/main\" }};",
        scene.issuer.url
    ));
    let to = ["--audience", "sts.example", "--to", "https://sts.example"];
    scene.broker.admin(&[&["audience", "set", "cloud", "--stage", "dev"], &to[..]].concat()).ok();
    scene
}

fn request(scene: &Scene, session: Option<JobSessionId>) -> Request {
    let (name, audience) = ("cloud".parse().unwrap(), "sts.example".parse().unwrap());
    let tokens = vec![TokenRequest { name, audience, why: "is exchanged for a role".to_owned() }];
    Request { session, tokens, ..scene.rig.request() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_a_job_names_the_job_by_its_issuers_ids() {
    let scene = scene().await;
    let session = scene.rig.redeem(&scene.token(&scene.claims(1))).await.unwrap().session;
    let held = Held::ask(&scene.rig, &request(&scene, Some(session))).await.unwrap();
    let token = held.token(&scene.rig);
    let claims = RelyingParty(&scene.broker).verify(&token).unwrap();
    assert_eq!(claims["sub"], format!("repository/{}#74/step/dev/cloud", scene.issuer.url));
    let job = &claims["attest"]["job"];
    for (name, value) in [
        ("issuer", scene.issuer.url.as_str()),
        ("key", "74:10001:2:1"),
        ("repository_id", "74"),
        ("owner_id", "65"),
        ("run_id", "10001"),
        ("event", "push"),
        ("ref", "refs/heads/main"),
        ("workflow_ref", "octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main"),
        ("commit", "f1d2d2f924e986ac86fdf7b36c94bcdf32beec15"),
    ] {
        assert_eq!(job[name], value, "{name}");
    }
    assert_eq!((&job["ref_protected"], &job["exact"]), (&true.into(), &true.into()));
    // A name that can be given to another is not told.
    assert!(job.get("repository").is_none());
    // It ends with its lease, where that is the shorter.
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 45);
    assert_eq!(held.grant.tokens[0].destinations[0].origin.to_string(), "https://sts.example");

    // Who holds it can be found, and the lease taken.
    let revoked = scene.broker.admin(&["lease", "revoke", "--token", "dev/cloud"]).ok();
    assert!(revoked.stderr.contains(held.id().as_str()), "{}", revoked.stderr);
    assert_eq!(held.beat(&scene.rig, 1).await.as_deref(), Some("revoked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_policys_to_give_by_what_is_known_of_the_job() {
    let scene = scene().await;
    let ask = async |job: u64, name: &str, value: serde_json::Value| {
        let claims = with(scene.claims(job), name, value);
        let session = scene.rig.redeem(&scene.token(&claims)).await.unwrap().session;
        Held::ask(&scene.rig, &request(&scene, Some(session))).await.map(|held| held.grant.tokens.len())
    };
    // The control.
    assert_eq!(ask(1, "repository", json!("octo-org/renamed")).await.unwrap(), 1);
    assert_eq!(refusal(ask(2, "ref", json!("refs/heads/topic")).await), "AR-P402");
    assert_eq!(refusal(ask(3, "repository_id", json!("75")).await), "AR-P402");
    // Below every policy: what strangers may have written, and a step without a job.
    assert_eq!(refusal(ask(4, "event_name", json!("pull_request")).await), "AR-P407");
    assert_eq!(refusal(Held::ask(&scene.rig, &request(&scene, None)).await.map(drop)), "AR-P402");
}
