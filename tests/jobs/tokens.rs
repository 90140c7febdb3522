//! C01 and C02: tokens that must not be believed, each with the one that is.

use super::{Scene, now, with};
use crate::support::{IssuerKey, refusal};
use attest_agent::BrokerError;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn c01_a_token_is_believed_for_its_issuer_s_signature_and_words() {
    let scene = Scene::set("github").await;
    let mut job = 0;
    let mut claims = || {
        job += 1;
        scene.claims(job)
    };
    let refused = async |token: String| refusal(scene.rig.redeem(&token).await);

    // The controls: each algorithm that the issuer names, with a key of its kind.
    scene.rig.redeem(&scene.token(&claims())).await.unwrap();
    let es256 = scene.p256.sign(r#"{"alg":"ES256","kid":"p256-1"}"#, &claims().to_string());
    scene.rig.redeem(&es256).await.unwrap();
    scene.rig.redeem(&scene.token(&with(claims(), "aud", json!(["other", "broker"])))).await.unwrap();

    // Algorithms.
    let body = claims().to_string();
    let none = scene.rsa.sign(r#"{"alg":"none","kid":"rsa-1"}"#, &body);
    assert_eq!(refused(none.clone()).await, "AR-J103");
    assert_eq!(refused(format!("{}.", none.rsplit_once('.').unwrap().0)).await, "AR-J103");
    // Not named by the issuer, though its key could.
    assert_eq!(refused(scene.rsa.sign(r#"{"alg":"PS256","kid":"rsa-1"}"#, &body)).await, "AR-J103");
    // The public key taken for a shared secret.
    assert_eq!(refused(scene.rsa.sign(r#"{"alg":"HS256","kid":"rsa-1"}"#, &body)).await, "AR-J103");
    assert_eq!(refused(scene.p256.sign(r#"{"alg":"RS256","kid":"p256-1"}"#, &body)).await, "AR-J103");
    assert_eq!(refused(scene.rsa.sign(r#"{"alg":"ES256","kid":"rsa-1"}"#, &body)).await, "AR-J103");
    // Keys.
    assert_eq!(refused(scene.rsa.sign(r#"{"alg":"RS256","kid":"rsa-2"}"#, &body)).await, "AR-J104");
    assert_eq!(refused(IssuerKey::rsa().sign(r#"{"alg":"RS256","kid":"rsa-1"}"#, &body)).await, "AR-J105");
    assert_eq!(refused(IssuerKey::p256().sign(r#"{"alg":"ES256","kid":"p256-1"}"#, &body)).await, "AR-J105");
    // Header.
    let crit = r#"{"alg":"RS256","kid":"rsa-1","crit":["exp"]}"#;
    assert_eq!(refused(scene.rsa.sign(crit, &body)).await, "AR-J101");
    assert_eq!(refused(scene.rsa.sign(r#"{"alg":"RS256"}"#, &body)).await, "AR-J101");
    assert_eq!(refused(scene.rsa.sign(r#"{"alg":"RS256","alg":"none","kid":"rsa-1"}"#, &body)).await, "AR-J101");
    // Claims: once each, not too many, not too long, not nonsense.
    let twice = body.replacen('{', r#"{"repository_id":"1","#, 1);
    assert_eq!(refused(scene.rsa.sign(r#"{"alg":"RS256","kid":"rsa-1"}"#, &twice)).await, "AR-J101");
    let many: Value =
        (0..1000).map(|index| (format!("c{index}"), json!(index))).collect::<serde_json::Map<_, _>>().into();
    assert_eq!(refused(scene.token(&many)).await, "AR-J101");
    assert_eq!(refused(scene.token(&with(claims(), "padding", json!("x".repeat(20_000))))).await, "AR-J101");
    assert_eq!(refused(scene.token(&with(claims(), "nested", deep(200)))).await, "AR-J101");
    // A name that a refusal would repeat is short.
    for long in [
        scene.token(&with(claims(), "iss", json!(format!("https://{}", "x".repeat(2000))))),
        scene.rsa.sign(&json!({ "alg": "RS256", "kid": "k".repeat(2000) }).to_string(), &body),
        scene.rsa.sign(&json!({ "alg": "a".repeat(2000), "kid": "rsa-1" }).to_string(), &body),
    ] {
        assert!(["AR-J101", "AR-J108"].contains(&refused(long).await.as_str()));
    }
    for nonsense in ["", ".", "..", "a.b.c", "e30.e30", "e30.e30.", "e30.e30.e30"] {
        assert_eq!(refused(nonsense.to_owned()).await, "AR-J101", "{nonsense}");
    }
    // Every bit of the signature, some of the words.
    let token = scene.token(&claims());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let bytes = data_encoding::BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    for bit in (0..bytes.len() * 8).step_by(97) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let token = format!("{signed}.{}", data_encoding::BASE64URL_NOPAD.encode(&flipped));
        assert_eq!(refused(token).await, "AR-J105", "bit {bit}");
    }

    // Audience, time, identity.
    for (name, value, code) in [
        ("aud", json!("other"), "AR-J106"),
        ("aud", json!(["other"]), "AR-J106"),
        ("aud", json!("broker2"), "AR-J106"),
        ("aud", Value::Null, "AR-J106"),
        ("exp", json!(now() - 120), "AR-J107"),
        ("exp", json!(now() + 365 * 24 * 3600), "AR-J107"),
        ("exp", json!("soon"), "AR-J108"),
        ("exp", Value::Null, "AR-J108"),
        ("nbf", json!(now() + 600), "AR-J107"),
        ("iat", json!(now() + 600), "AR-J107"),
        ("jti", Value::Null, "AR-J108"),
        ("jti", json!(""), "AR-J108"),
        ("iss", Value::Null, "AR-J108"),
        ("repository_id", Value::Null, "AR-J108"),
        ("repository_owner_id", Value::Null, "AR-J108"),
        ("run_id", Value::Null, "AR-J108"),
        ("run_attempt", json!({}), "AR-J108"),
        ("repository_id", json!("74:1"), "AR-J108"),
        ("repository_id", json!("74\n"), "AR-J108"),
        ("repository_id", json!(-1), "AR-J108"),
    ] {
        assert_eq!(refused(scene.token(&with(claims(), name, value.clone()))).await, code, "{name}: {value}");
    }
    // Numbers as text and text as numbers, both seen in the wild.
    scene.rig.redeem(&scene.token(&with(claims(), "repository_id", json!(74)))).await.unwrap();
}

/// Ten thousand claims, a claim as long as a redemption may be, and a megabyte of anything: refused before anything is
/// fetched for them.
#[tokio::test(flavor = "multi_thread")]
async fn c01_a_token_s_size_costs_its_sender_alone() {
    let scene = Scene::set("github").await;
    let many: serde_json::Map<_, _> = (0..10_000).map(|index| (format!("{index:x}"), json!(0))).collect();
    for claims in [many.into(), with(scene.claims(1), "padding", json!("x".repeat(90_000)))] {
        let began = std::time::Instant::now();
        assert_eq!(refusal(scene.rig.redeem(&scene.token(&claims)).await), "AR-J101");
        assert!(began.elapsed() < std::time::Duration::from_secs(2));
    }
    // The broker reads no more of it than it may have, and closes: before all of it is written, or after.
    match scene.rig.client.redeem(vec![b'x'; 1 << 20]).await {
        Err(BrokerError::Refused(report, None)) => assert_eq!(report.code.to_string(), "AR-B104"),
        Err(BrokerError::Unreachable { .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(scene.broker.rows("SELECT id FROM job_sessions").await.len(), 0);
    assert_eq!(scene.issuer.requests(), 0);
    scene.rig.redeem(&scene.token(&scene.claims(1))).await.unwrap();
}

/// Arrays in arrays.
fn deep(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| json!([inner]))
}

#[tokio::test(flavor = "multi_thread")]
async fn c01_nothing_is_fetched_for_an_issuer_that_is_not_on_the_list() {
    let scene = Scene::set("github").await;
    let stranger = crate::support::Issuer::start().await;
    stranger.publish(vec![scene.rsa.jwk("rsa-1")]);
    let token = scene.token(&with(scene.claims(1), "iss", json!(stranger.url)));
    assert_eq!(refusal(scene.rig.redeem(&token).await), "AR-J102");
    for alike in
        [format!("{}/", scene.issuer.url), scene.issuer.url.to_uppercase(), scene.issuer.url.replace("https", "http")]
    {
        let token = scene.token(&with(scene.claims(1), "iss", json!(alike)));
        assert_eq!(refusal(scene.rig.redeem(&token).await), "AR-J102", "{alike}");
    }
    assert_eq!((stranger.requests(), scene.issuer.requests()), (0, 0));
    // The control: for one on the list, metadata and keys.
    scene.rig.redeem(&scene.token(&scene.claims(1))).await.unwrap();
    assert_eq!(scene.issuer.requests(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn c02_a_repository_is_its_id_whatever_it_is_called() {
    let scene = Scene::set("github").await;
    scene.broker.set_secret("prod", "npm", "npm_secret_of_prod");
    scene.broker.apply_policy(&format!(
        "@id(\"release\") permit (principal, action == Action::\"reveal\", resource == Secret::\"prod/npm\")
           when {{ context.measured has job && context.measured.job.issuer == \"{}\"
                  && context.measured.job.repository_id == \"74\" && context.measured.job.owner_id == \"65\"
                  && context.measured.job.exact }};",
        scene.issuer.url
    ));
    scene.ask_for_npm(&scene.claims(1)).await.unwrap();
    // Its own, under another name: renamed.
    let renamed = with(scene.claims(2), "repository", json!("new-org/new-name"));
    scene.ask_for_npm(&with(renamed, "sub", json!("repo:new-org@65/new-name@74:ref:refs/heads/main"))).await.unwrap();
    // Another's, under its name and its `sub`: recycled, or made to look alike.
    for (job, id) in [(3, "75"), (4, "074"), (5, "7")] {
        assert_eq!(
            refusal(scene.ask_for_npm(&with(scene.claims(job), "repository_id", json!(id))).await),
            "AR-P402",
            "{id}"
        );
    }
    let look_alike = with(scene.claims(6), "repository_id", json!("99"));
    let look_alike = with(look_alike, "sub", json!("repo:octo-org/octo-repo:ref:refs/heads/main:x%3A74"));
    assert_eq!(refusal(scene.ask_for_npm(&look_alike).await), "AR-P402");
    assert_eq!(refusal(scene.ask_for_npm(&with(scene.claims(7), "repository_owner_id", json!("66"))).await), "AR-P402");
    // A server that does not name the job.
    assert_eq!(refusal(scene.ask_for_npm(&with(scene.claims(8), "check_run_id", Value::Null)).await), "AR-P402");
}

#[tokio::test(flavor = "multi_thread")]
async fn gitlab_s_tokens_are_read_as_gitlab_writes_them() {
    let scene = Scene::set("gitlab").await;
    let claims = json!({
        "iss": scene.issuer.url, "aud": "broker", "jti": "a-b-c", "exp": now() + 3600, "nbf": now() - 5, "iat": now(),
        "sub": "project_path:group/project:ref_type:branch:ref:main", "project_id": "42831435",
        "project_path": "group/project", "namespace_id": "1730270", "namespace_path": "group",
        "pipeline_id": "757451528", "pipeline_source": "push", "job_id": "3659681386", "ref": "main",
        "ref_type": "branch", "ref_path": "refs/heads/main", "ref_protected": "true", "runner_id": 1,
        "runner_environment": "self-hosted", "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
        "ci_config_ref_uri": "gitlab.example/group/project//.gitlab-ci.yml@refs/heads/main", "user_id": "7",
    });
    let opened = scene.rig.redeem(&scene.token(&claims)).await.unwrap();
    assert_eq!(opened.job, "42831435:757451528:3659681386");
    let (kind, body) = scene.broker.audit().await.pop().unwrap();
    assert_eq!(kind, "session");
    let wanted = [("event", json!("push")), ("git_ref", json!("refs/heads/main")), ("ref_protected", json!(true))];
    for (name, value) in wanted {
        assert_eq!(body["claims"][name], value, "{name}");
    }
    for name in ["project_id", "pipeline_id", "job_id", "namespace_id"] {
        let token = scene.token(&with(claims.clone(), name, Value::Null));
        assert_eq!(refusal(scene.rig.redeem(&token).await), "AR-J108", "{name}");
    }
    // A GitHub token of the same issuer would be another language.
    assert_eq!(refusal(scene.rig.redeem(&scene.token(&scene.claims(1))).await), "AR-J108");
}
