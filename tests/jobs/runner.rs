//! C04, on a runner: jobs one after the other, users beside each other, and what is left of a job.

use super::{Scene, with};
use crate::support::{Output, Runner, Users, run};
use serde_json::{Value, json};

/// A runner of a broker that believes an issuer.
pub(super) struct Shop {
    pub(super) scene: Scene,
    pub(super) runner: Runner,
}

impl Shop {
    pub(super) async fn open() -> Self {
        let scene = Scene::set("github").await;
        let runner = tokio::task::block_in_place(|| {
            let runner = Runner::enrolled(&scene.broker, "builder");
            runner.step("hello");
            runner.step("hostile");
            runner
        });
        Self { scene, runner }
    }

    /// What a user's process gets with these variables. Nothing may be stuck while it runs: the issuer is in this
    /// process.
    pub(super) fn attest_run(&self, uid: u32, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
        let mut command = self.runner.command(uid, "attest-run", arguments);
        command.envs(variables.iter().copied());
        tokio::task::block_in_place(|| run(&mut command))
    }

    /// Runs `hello`: one component, so that it gets one lease in a job.
    pub(super) fn hello(&self, uid: u32, token: Option<&str>) -> Output {
        let step = self.runner.path("steps/hello/hello.wasm");
        let variables: Vec<_> = token.map(|token| ("ATTEST_RUN_ID_TOKEN", token)).into_iter().collect();
        self.attest_run(uid, &variables, &[step.to_str().unwrap()])
    }

    /// The job of the last grant, as the audit log has it.
    pub(super) async fn last_job(&self) -> Value {
        let granted = self.scene.broker.audit().await.into_iter().rfind(|(kind, _)| kind == "granted").unwrap();
        granted.1["job"][1].clone()
    }

    async fn sessions(&self) -> usize {
        self.scene.broker.rows("SELECT id FROM job_sessions").await.len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c04_each_job_has_its_own_session_and_what_is_left_of_it_has_none() {
    let shop = Shop::open().await;
    let token = |job| shop.scene.token(&shop.scene.claims(job));
    let (a, b) = (token(1), token(2));
    // Without a token there is no job.
    shop.hello(Users::JOB, None).ok();
    assert_eq!(shop.last_job().await, Value::Null);

    // The first step redeems; the second of the same component is one too many.
    let out = shop.hello(Users::JOB, Some(&a)).ok();
    assert!(!out.stderr.contains(&a) && !shop.runner.log().contains(&a));
    assert_eq!(shop.last_job().await, "74:10001:2:1");
    shop.hello(Users::JOB, Some(&a)).refused(126, "AR-J305");
    assert_eq!(shop.sessions().await, 1);
    // Another user of the machine with the job's token, and with a fresh one of the same job.
    shop.hello(Users::STRANGER, Some(&a)).refused(126, "AR-J303");
    let fresh = shop.scene.token(&with(shop.scene.claims(1), "jti", json!("fresh")));
    shop.hello(Users::STRANGER, Some(&fresh)).refused(126, "AR-J306");
    // The job itself may come with a fresh one: its next step asks GitHub again.
    shop.hello(Users::JOB, Some(&fresh)).refused(126, "AR-J305");

    // The next job of the same user. What is left of the first comes too late, with its token and without.
    shop.hello(Users::JOB, Some(&b)).ok();
    assert_eq!(shop.last_job().await, "74:10001:2:2");
    shop.hello(Users::JOB, Some(&a)).refused(126, "AR-J303");
    shop.hello(Users::JOB, None).ok();
    assert_eq!(shop.last_job().await, Value::Null);

    // A token that nobody believes stops the step; one of an issuer that the broker does not know is no job.
    let forged = shop.scene.token(&with(shop.scene.claims(3), "aud", json!("other")));
    shop.hello(Users::JOB, Some(&forged)).refused(126, "AR-J106");
    let long = shop.scene.token(&with(shop.scene.claims(3), "padding", json!("x".repeat(90_000))));
    shop.hello(Users::JOB, Some(&long)).refused(126, "AR-J101");
    let foreign = shop.scene.token(&with(shop.scene.claims(3), "iss", json!("https://elsewhere.example")));
    shop.hello(Users::JOB, Some(&foreign)).ok();
    assert_eq!(shop.last_job().await, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_redeems_before_any_step_can() {
    let mut shop = Shop::open().await;
    let token = shop.scene.token(&shop.scene.claims(1));
    let variables = [("ATTEST_RUN_ID_TOKEN", token.as_str())];
    shop.attest_run(Users::JOB, &[], &["job", "start"]).refused(3, "AR-J403");
    let out = shop.attest_run(Users::JOB, &variables, &["--json", "job", "start"]).ok();
    let session: Value = serde_json::from_str(&out.stdout).unwrap();
    assert!(session["session"].as_str().unwrap().starts_with("job_"));
    // Its steps need no token; other users have no part in it; and the agent remembers when it is started anew.
    shop.hello(Users::STRANGER, None).ok();
    assert_eq!(shop.last_job().await, Value::Null);
    tokio::task::block_in_place(|| {
        shop.runner.stop_agent();
        shop.runner.start_agent();
    });
    shop.hello(Users::JOB, None).ok();
    assert_eq!(shop.last_job().await, "74:10001:2:1");
    shop.hello(Users::JOB, None).refused(126, "AR-J305");
    // The end.
    shop.attest_run(Users::JOB, &[], &["job", "end"]).ok();
    shop.hello(Users::JOB, None).ok();
    assert_eq!(shop.last_job().await, Value::Null);
    shop.hello(Users::JOB, Some(&token)).refused(126, "AR-J303");
    let state = std::fs::read_to_string(shop.runner.path("state/jobs.json")).unwrap();
    assert!(!state.contains(&token[token.len() - 40..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_github_job_asks_for_its_token() {
    let shop = Shop::open().await;
    shop.scene.issuer.give(&shop.scene.token(&shop.scene.claims(7)));
    let authority = shop.runner.path("home").join("issuer.pem");
    std::fs::write(&authority, &shop.scene.issuer.authority).unwrap();
    let url = format!("{}/token?api-version=2.0", shop.scene.issuer.url);
    let step = shop.runner.path("steps/hello/hello.wasm");
    let ask = |bearer: &str, audience: &str| {
        let variables = [
            ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", bearer),
            ("SSL_CERT_FILE", authority.to_str().unwrap()),
        ];
        shop.attest_run(Users::JOB, &variables, &["--audience", audience, step.to_str().unwrap()])
    };
    ask("job-secret", "broker").ok();
    assert_eq!(shop.last_job().await, "74:10001:2:7");
    let out = ask("another", "broker").refused(125, "AR-J402");
    assert!(out.stderr.contains("401") && !out.stderr.contains("another"), "{}", out.stderr);
    ask("job-secret", "somebody else").refused(125, "AR-J402");
}
