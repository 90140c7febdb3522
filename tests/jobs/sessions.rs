//! C03, C04 and C05: a job is who redeemed first, and its session is good for that runner, once for each component.

use super::{Scene, with};
use crate::support::{Broker, Held, Rig, Tracer, Webhook, refusal};
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::{Request, SecretRequest, SecretUse};
use attest_evidence::name::JobSessionId;
use serde_json::json;
use std::time::Duration;

fn of_session(rig: &Rig, session: &JobSessionId, component: &[u8]) -> Request {
    Request { session: Some(session.clone()), component: Sha256Digest::of(component), ..rig.request() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_redeemed_once_and_by_one() {
    let scene = Scene::set("github").await;
    let webhook = Webhook::start(0).await;
    scene.broker.admin(&["alarm", "webhook", "set", &webhook.url]).ok();
    let thief = Rig::enrolled(&scene.broker, "thief").await;
    let token = scene.token(&scene.claims(1));
    let opened = scene.rig.redeem(&token).await.unwrap();
    assert_eq!(opened.job, "74:10001:2:1");
    // The same token again, by the same runner and by another; and a fresh token of the same job.
    assert_eq!(refusal(scene.rig.redeem(&token).await), "AR-J303");
    assert_eq!(refusal(thief.redeem(&token).await), "AR-J303");
    let fresh = scene.token(&with(scene.claims(1), "jti", json!("another")));
    assert_eq!(refusal(thief.redeem(&fresh).await), "AR-J303");
    // By the runner that has its session, that is no alarm, and no second session either.
    assert_eq!(refusal(scene.rig.redeem(&fresh).await), "AR-J306");
    assert_eq!(refusal(thief.redeem(&token).await), "AR-J303");
    let (kind, body) = scene.broker.audit().await.pop().unwrap();
    assert_eq!((kind.as_str(), &body["report"]["code"]), ("refused", &"AR-J303".into()));
    assert!(scene.broker.log().contains("alarm=\"second-redemption\""));
    let told = webhook.deliveries(1).await[0].json();
    assert_eq!(
        (&told["type"], &told["subject"]),
        (&"attest-run.alarm.second-redemption".into(), &"74:10001:2:1".into())
    );
    // The token stands nowhere: what it said does.
    let database = std::fs::read(scene.broker.state().join("broker.db-wal")).unwrap();
    let signature = token.rsplit_once('.').unwrap().1.as_bytes();
    assert!(!database.windows(40).any(|window| window == &signature[..40]));
    assert!(!scene.broker.log().contains(&token[..60]));
    // Of two at once, one.
    let token = scene.token(&scene.claims(2));
    let (one, other) = tokio::join!(scene.rig.redeem(&token), thief.redeem(&token));
    assert_eq!([&one, &other].iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(refusal(if one.is_ok() { other } else { one }), "AR-J303");
    // Another job, another session.
    let second = scene.rig.redeem(&scene.token(&scene.claims(3))).await.unwrap();
    assert_ne!(opened.session, second.session);
}

#[tokio::test(flavor = "multi_thread")]
async fn c04_a_session_is_nothing_in_another_s_hands() {
    let scene = Scene::set("github").await;
    let thief = Rig::enrolled(&scene.broker, "thief").await;
    let session = scene.rig.redeem(&scene.token(&scene.claims(1))).await.unwrap().session;
    let stolen = of_session(&thief, &session, b"component");
    assert_eq!(refusal(thief.send(thief.exchange(&stolen).await).await), "AR-J301");
    let unknown = of_session(&scene.rig, &JobSessionId::from_bytes([1; 16]), b"component");
    assert_eq!(refusal(scene.rig.send(scene.rig.exchange(&unknown).await).await), "AR-J301");
    let grant = scene.rig.send(scene.rig.exchange(&of_session(&scene.rig, &session, b"component")).await).await;
    grant.unwrap();
    let (_, body) = scene.broker.audit().await.into_iter().rfind(|(kind, _)| kind == "granted").unwrap();
    assert_eq!(body["job"], json!([scene.issuer.url, "74:10001:2:1"]));
    // A redemption is no exchange, and an exchange no redemption, though both are quoted over one challenge.
    let redemption = scene.rig.redemption(&scene.token(&scene.claims(2))).await;
    assert_eq!(refusal(scene.rig.send(redemption.clone()).await), "AR-X101");
    assert_eq!(refusal(scene.rig.client.redeem(redemption).await), "AR-X104");
    let exchange = scene.rig.exchange(&scene.rig.request()).await;
    assert_eq!(refusal(scene.rig.client.redeem(exchange).await), "AR-X101");
}

#[tokio::test(flavor = "multi_thread")]
async fn c05_a_component_has_one_lease_in_a_job() {
    let scene = Scene::set("github").await;
    let webhook = Webhook::start(0).await;
    scene.broker.admin(&["alarm", "webhook", "set", &webhook.url]).ok();
    let session = scene.rig.redeem(&scene.token(&scene.claims(1))).await.unwrap().session;
    let ask = async |request: &Request| scene.rig.send(scene.rig.exchange(request).await).await;
    let genuine = of_session(&scene.rig, &session, b"component");
    let first = ask(&genuine).await.unwrap();
    // A neighbour runs the genuine component on inputs of its own.
    let neighbour = Request { arguments: vec!["--publish".to_owned(), "./stolen".to_owned()], ..genuine.clone() };
    assert_eq!(refusal(ask(&neighbour).await), "AR-J305");
    let (_, body) = scene.broker.audit().await.pop().unwrap();
    assert_eq!(body["report"]["facts"][0]["value"], first.lease.as_str());
    assert_eq!(body["asked"]["arguments"][0], "--publish");
    assert!(scene.broker.log().contains("alarm=\"second-lease\""));
    let told = webhook.deliveries(1).await[0].json();
    assert_eq!((&told["type"], &told["subject"]), (&"attest-run.alarm.second-lease".into(), &"74:10001:2:1".into()));
    // Nobody hides it behind as many other refusals as are written down in a minute.
    let mut denied = of_session(&scene.rig, &session, b"noise");
    denied.step.stage = attest_evidence::name::Stage::Prod;
    denied.secrets =
        vec![SecretRequest { name: "npm".parse().unwrap(), usage: SecretUse::Reveal, why: "noise".to_owned() }];
    for _ in 0..65 {
        assert_eq!(refusal(ask(&denied).await), "AR-P402");
    }
    let recorded = scene.broker.audit().await.into_iter().filter(|(kind, _)| kind == "refused").count();
    assert!((60..=63).contains(&recorded), "{recorded}");
    assert_eq!(refusal(ask(&neighbour).await), "AR-J305");
    let (_, body) = scene.broker.audit().await.pop().unwrap();
    assert_eq!(body["report"]["code"], "AR-J305");
    // Another component of the job, and the same in another job.
    ask(&of_session(&scene.rig, &session, b"other component")).await.unwrap();
    let other = scene.rig.redeem(&scene.token(&scene.claims(2))).await.unwrap().session;
    ask(&of_session(&scene.rig, &other, b"component")).await.unwrap();
    // At once, by two connections: the database decides.
    let third = scene.rig.redeem(&scene.token(&scene.claims(3))).await.unwrap().session;
    let request = of_session(&scene.rig, &third, b"component");
    let (one, two) = (scene.rig.exchange(&request).await, scene.rig.exchange(&request).await);
    let (one, two) = tokio::join!(scene.rig.send(one), scene.rig.send(two));
    assert_eq!([&one, &two].iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(refusal(if one.is_ok() { two } else { one }), "AR-J305");
    let leases = scene.broker.rows("SELECT count(*), count(DISTINCT session || component) FROM leases").await;
    assert_eq!(leases, [["4", "4"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn c03_jobs_that_strangers_decide_about_get_nothing_by_default() {
    let scene = Scene::set("github").await;
    scene.broker.set_secret("dev", "npm", "npm_secret_of_dev");
    scene.give_dev_to_jobs();
    let secret =
        || SecretRequest { name: "npm".parse().unwrap(), usage: SecretUse::Reveal, why: "for the test".to_owned() };
    let ask = async |job: u64, event: &str, secrets: Vec<SecretRequest>| {
        let token = scene.token(&with(scene.claims(job), "event_name", json!(event)));
        let session = scene.rig.redeem(&token).await.unwrap().session;
        let request = Request { secrets, ..of_session(&scene.rig, &session, b"component") };
        scene.rig.send(scene.rig.exchange(&request).await).await
    };
    for (job, event) in [(1, "pull_request"), (2, "pull_request_target"), (3, "workflow_run")] {
        assert_eq!(refusal(ask(job, event, vec![secret()]).await), "AR-P407", "{event}");
        // A step that wants nothing may run.
        ask(job + 10, event, Vec::new()).await.unwrap();
    }
    for (job, event) in [(4, "push"), (5, "release"), (6, "workflow_dispatch"), (7, "schedule")] {
        ask(job, event, vec![secret()]).await.unwrap();
    }
    // A rule that means it says so.
    scene.broker.apply_policy(&format!(
        "permit (principal in Repository::\"{}#74\", action == Action::\"reveal\", resource == Secret::\"dev/npm\") \
         when {{ context.measured has job && context.measured.job.event == \"pull_request\" }};",
        scene.issuer.url
    ));
    ask(8, "pull_request", vec![secret()]).await.unwrap();
    assert_eq!(refusal(ask(9, "pull_request_target", vec![secret()]).await), "AR-P402");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_job_takes_its_leases_and_is_its_runner_s_alone() {
    let scene = Scene::set("github").await;
    let thief = Rig::enrolled(&scene.broker, "thief").await;
    let open = async |job| scene.rig.redeem(&scene.token(&scene.claims(job))).await.unwrap().session;
    let (session, other) = (open(1).await, open(2).await);
    let held = Held::ask(&scene.rig, &of_session(&scene.rig, &session, b"component")).await.unwrap();
    let others = Held::ask(&scene.rig, &of_session(&scene.rig, &other, b"component")).await.unwrap();
    // Not by another runner, nor by evidence that was made for something else.
    assert_eq!(refusal(thief.client.end_session(thief.session_end(&session).await).await), "AR-J301");
    let exchange = scene.rig.exchange(&of_session(&scene.rig, &session, b"second")).await;
    assert_eq!(refusal(scene.rig.client.end_session(exchange).await), "AR-X101");
    assert_eq!(refusal(scene.rig.send(scene.rig.session_end(&session).await).await), "AR-X101");
    // Its holder is told at once.
    let both = [&held, &others];
    let (told, ended) = tokio::join!(others.watch(&scene.rig, &both), async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        scene.rig.client.end_session(scene.rig.session_end(&session).await).await
    });
    ended.unwrap();
    let told = told.unwrap();
    assert_eq!((told.len(), &told[0].lease, told[0].how.as_str()), (1, held.id(), "job-ended"));
    assert_eq!(held.beat(&scene.rig, 1).await.as_deref(), Some("job-ended"));
    assert_eq!(others.beat(&scene.rig, 1).await, None);
    let again = of_session(&scene.rig, &session, b"third");
    assert_eq!(refusal(scene.rig.send(scene.rig.exchange(&again).await).await), "AR-J302");
    assert_eq!(refusal(scene.rig.client.end_session(scene.rig.session_end(&session).await).await), "AR-J302");
    let audit = scene.broker.audit().await;
    let ended: Vec<_> = audit.iter().filter(|(kind, _)| kind == "session-ended").collect();
    assert!(ended.len() == 1 && ended[0].1["job"] == "74:10001:2:1", "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_leases_outlive_a_broker_s_death() {
    let mut scene = Scene::set("github").await;
    let token = scene.token(&scene.claims(1));
    let session = scene.rig.redeem(&token).await.unwrap().session;
    scene.rig.send(scene.rig.exchange(&of_session(&scene.rig, &session, b"component")).await).await.unwrap();
    scene.broker.kill();
    Broker::serve(&mut scene.broker);
    assert_eq!(refusal(scene.rig.redeem(&token).await), "AR-J303");
    let again = of_session(&scene.rig, &session, b"component");
    assert_eq!(refusal(scene.rig.send(scene.rig.exchange(&again).await).await), "AR-J305");
    let other = of_session(&scene.rig, &session, b"other");
    scene.rig.send(scene.rig.exchange(&other).await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_outlives_its_token_and_ends_in_its_own_time() {
    let scene = Scene::set_with("github", &["--session-seconds", "7"]).await;
    // A token that is believed for three more seconds, by the minute that clocks may be apart.
    let claims = |job| {
        let claims = with(scene.claims(job), "exp", json!(super::now() - 57));
        with(claims, "iat", json!(super::now() - 100))
    };
    let late = scene.token(&claims(2));
    let opened = scene.rig.redeem(&scene.token(&claims(1))).await.unwrap();
    assert_eq!(opened.seconds, 7);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(refusal(scene.rig.redeem(&late).await), "AR-J107");
    let ask = async |component: &[u8]| {
        scene.rig.send(scene.rig.exchange(&of_session(&scene.rig, &opened.session, component)).await).await
    };
    ask(b"one").await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(refusal(ask(b"two").await), "AR-J302");
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_are_listed_shown_and_revoked() {
    let scene = Scene::set("github").await;
    let ask = async |job: u64, component: &[u8]| {
        let session = scene.rig.redeem(&scene.token(&scene.claims(job))).await.unwrap().session;
        scene.rig.send(scene.rig.exchange(&of_session(&scene.rig, &session, component)).await).await.unwrap()
    };
    let grants = [ask(1, b"one").await, ask(2, b"two").await, ask(3, b"three").await, ask(4, b"four").await];
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&scene.broker.admin(&[arguments, &["--json"]].concat()).ok().stdout).unwrap()
    };
    let listed = json(&["lease", "list"]);
    assert_eq!(listed["leases"].as_array().unwrap().len(), 4);
    assert_eq!(listed["leases"][0]["job"], "74:10001:2:1");
    // By the lease's id, and by the audit id that the step's log names.
    for id in [grants[0].lease.as_str(), grants[0].audit.as_str()] {
        let shown = json(&["lease", "show", id]);
        assert_eq!(
            (&shown["entries"][0]["kind"], &shown["entries"][0]["body"]["job"][1]),
            (&"granted".into(), &"74:10001:2:1".into())
        );
    }
    scene.broker.admin(&["lease", "show", "lse_none"]).refused(1, "AR-B305");
    assert_eq!(scene.broker.admin(&["lease", "revoke"]).status, 2);

    let revoked = |arguments: &[&str]| json(&[&["lease", "revoke"], arguments].concat())["revoked"].clone();
    assert_eq!(revoked(&[grants[0].lease.as_str()]), json!([grants[0].lease]));
    scene.broker.admin(&["lease", "revoke", grants[0].lease.as_str()]).refused(1, "AR-B015");
    assert_eq!(revoked(&["--job", "74:10001:2:2"]), json!([grants[1].lease]));
    let three = Sha256Digest::of(b"three").to_string();
    scene.broker.admin(&["lease", "revoke", "--component", &three, "--runner", "nobody"]).refused(1, "AR-B015");
    assert_eq!(revoked(&["--component", &three]), json!([grants[2].lease]));
    assert_eq!(revoked(&["--runner", "r"]), json!([grants[3].lease]));
    assert_eq!(json(&["lease", "list"])["leases"], json!([]));
    assert_eq!(json(&["lease", "list", "--all"])["leases"].as_array().unwrap().len(), 4);
    let shown = json(&["lease", "show", grants[3].lease.as_str()]);
    assert_eq!(
        (&shown["entries"][1]["kind"], &shown["entries"][1]["body"]["how"]),
        (&"lease-ended".into(), &"revoked".into())
    );
}

/// R03, for redemptions: whatever moment the broker dies at, a token opens one session, and none without its entry.
#[tokio::test(flavor = "multi_thread")]
async fn r03_a_broker_killed_at_any_call_of_a_redemption_opens_no_session_twice() {
    let mut scene = Scene::set("github").await;
    scene.rig.redeem(&scene.token(&scene.claims(1))).await.unwrap();
    let (mut job, mut unheard, mut untaken) = (1, 0, 0);
    for calls in ["pwrite64", "fdatasync", "writev,sendto"] {
        for call in 1.. {
            assert!(call <= 60, "a redemption takes more calls of {calls} than the test made");
            job += 1;
            let token = scene.token(&scene.claims(job));
            let redemption = scene.rig.redemption(&token).await;
            let tracer = Tracer::kill_at(scene.broker.pid(), calls, call);
            let first = scene.rig.client.redeem(redemption.clone()).await;
            let survived = !scene.broker.has_ended();
            if survived {
                tracer.detach();
            } else {
                scene.broker.restart().await;
            }
            let key = format!("74:10001:2:{job}");
            let sessions = scene.broker.rows("SELECT job FROM job_sessions").await;
            let audit = scene.broker.audit().await;
            let entries = audit.iter().filter(|(kind, _)| kind == "session").count();
            assert_eq!(sessions.len(), entries, "{calls} number {call}");
            let opened = sessions.iter().any(|row| row[0] == key);
            assert!(opened || first.is_err(), "{calls} number {call}: a session that is not on the disk");
            // The token once more: it opens the session that it has not opened yet, and then none.
            match scene.rig.redeem(&token).await {
                Ok(_) => assert!(!opened, "{calls} number {call}: redeemed twice"),
                again => {
                    assert!(opened, "{calls} number {call}");
                    assert_eq!(refusal(again), "AR-J303", "{calls} number {call}");
                }
            }
            assert_eq!(refusal(scene.rig.redeem(&token).await), "AR-J303");
            (unheard, untaken) = (unheard + u32::from(opened && first.is_err()), untaken + u32::from(!opened));
            if survived {
                assert!(first.is_ok(), "{first:?}");
                break;
            }
        }
    }
    // Killed before anything was on the disk, and between the disk and the answer.
    assert!(unheard > 0 && untaken > 0, "{unheard} {untaken}");
}
