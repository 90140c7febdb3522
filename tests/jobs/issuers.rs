//! Issuers that are slow, mad or somebody else.

use super::Scene;
use crate::support::{IssuerKey, Mood, refusal};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_does_not_answer_as_itself_is_not_believed() {
    for (mood, about_keys, code) in [
        (Mood::Silent, false, "AR-J201"),
        (Mood::Redirecting, false, "AR-J201"),
        (Mood::Html, false, "AR-J201"),
        (Mood::Huge, false, "AR-J201"),
        (Mood::Another, false, "AR-J202"),
        (Mood::Elsewhere, false, "AR-J202"),
        (Mood::Silent, true, "AR-J201"),
        (Mood::Redirecting, true, "AR-J201"),
        (Mood::Html, true, "AR-J201"),
        (Mood::Huge, true, "AR-J201"),
    ] {
        let scene = Scene::set("github").await;
        if about_keys {
            scene.issuer.be_about_keys(mood.clone());
        } else {
            scene.issuer.be(mood.clone());
        }
        let began = Instant::now();
        assert_eq!(refusal(scene.rig.redeem(&scene.token(&scene.claims(1))).await), code, "{mood:?}");
        assert!(began.elapsed() < Duration::from_secs(8), "{mood:?}");
        // For a second everybody is told the same, at once.
        let (began, requests) = (Instant::now(), scene.issuer.requests());
        assert_eq!(refusal(scene.rig.redeem(&scene.token(&scene.claims(1))).await), code, "{mood:?}");
        assert!(began.elapsed() < Duration::from_secs(1) && scene.issuer.requests() == requests, "{mood:?}");
        tokio::time::sleep(Duration::from_millis(1100)).await;
        // It comes to its senses, and the job is none the worse for it.
        scene.issuer.be(Mood::Well);
        scene.rig.redeem(&scene.token(&scene.claims(1))).await.unwrap();
    }
    // More keys than anybody has.
    let scene = Scene::set("github").await;
    scene.issuer.publish((0..65).map(|at| scene.rsa.jwk(&format!("rsa-{at}"))).collect());
    assert_eq!(refusal(scene.rig.redeem(&scene.token(&scene.claims(1))).await), "AR-J202");
    // Another at its address: its TLS is not the one that was named.
    let scene = Scene::set("github").await;
    // The keys that were fetched from the first are not used for what the admin says now.
    scene.rig.redeem(&scene.token(&scene.claims(1))).await.unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let file = scene.broker.state().parent().unwrap().join("other.pem");
    std::fs::write(&file, other).unwrap();
    let arguments = ["issuer", "add", &scene.issuer.url, "--kind", "github", "--audience", "broker", "--authority"];
    scene.broker.admin(&[&arguments[..], &[file.to_str().unwrap()]].concat()).ok();
    assert_eq!(refusal(scene.rig.redeem(&scene.token(&scene.claims(2))).await), "AR-J201");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_kept_rolled_over_and_not_asked_for_without_end() {
    let scene = Scene::set("github").await;
    scene.rig.redeem(&scene.token(&scene.claims(1))).await.unwrap();
    assert_eq!(scene.issuer.requests(), 2);
    // Kept: also while the issuer is away.
    scene.issuer.be(Mood::Silent);
    scene.rig.redeem(&scene.token(&scene.claims(2))).await.unwrap();
    assert_eq!(scene.issuer.requests(), 2);
    scene.issuer.be(Mood::Well);
    // Made-up key ids, many at once: within ten seconds nothing more is asked for them.
    for _ in 0..20 {
        let token = scene.rsa.sign(r#"{"alg":"RS256","kid":"made-up"}"#, &scene.claims(3).to_string());
        assert_eq!(refusal(scene.rig.redeem(&token).await), "AR-J104");
    }
    assert_eq!(scene.issuer.requests(), 2);
    // A new key: fetched when it is first seen, once the pause is over.
    let fresh = IssuerKey::p256();
    scene.issuer.publish(vec![fresh.jwk("p256-2")]);
    let token = fresh.sign(r#"{"alg":"ES256","kid":"p256-2"}"#, &scene.claims(4).to_string());
    assert_eq!(refusal(scene.rig.redeem(&token).await), "AR-J104");
    tokio::time::sleep(Duration::from_secs(11)).await;
    scene.rig.redeem(&token).await.unwrap();
    assert_eq!(scene.issuer.requests(), 4);
    // And the old one is gone.
    assert_eq!(refusal(scene.rig.redeem(&scene.token(&scene.claims(5))).await), "AR-J104");
}

#[test]
fn only_https_can_be_an_issuer() {
    let broker = crate::support::Broker::start();
    for url in ["http://issuer.example", "issuer.example", "https://user@issuer.example", "https://issuer.example/?x=y"]
    {
        broker.admin(&["issuer", "add", url, "--kind", "github"]).refused(2, "AR-J203");
    }
    broker.admin(&["issuer", "add", "https://issuer.example/path", "--kind", "github"]).ok();
    assert!(
        broker.admin(&["issuer", "list"]).ok().stdout.contains("https://issuer.example/path  github  aud attest-run")
    );
    broker.admin(&["issuer", "remove", "https://issuer.example/path"]).ok();
    broker.admin(&["issuer", "remove", "https://issuer.example/path"]).refused(1, "AR-B305");
}
