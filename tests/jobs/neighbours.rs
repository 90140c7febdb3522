//! The hostile neighbour: another step of the same job, another job, another user, what is left of a job. What it gets is
//! nothing, or what is its own (C04, C05, R01, R02).

use super::runner::Shop;
use super::with;
use crate::support::{Output, Users, run};
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

async fn wait_until(mut condition: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < Duration::from_secs(10), "it did not come to pass");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}

impl Shop {
    /// The genuine step of a job, at work for as long as nobody stops it.
    async fn genuine(&self) -> Child {
        self.scene.broker.set_secret("dev", "release/npm-token", "npm_secret_of_dev");
        self.scene.give_dev_to_jobs();
        self.runner.as_user(0, &["keys", "create", "release"]).ok();
        let mut command = self.runner.hostile_command("seconds = 50", &["loop"]);
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        wait_until(async || self.runner.at_work().len() == 1).await;
        child
    }

    /// The same component on inputs of a neighbour's own.
    fn neighbour(&self, arguments: &[&str]) -> Output {
        let mut command = self.runner.hostile_command("seconds = 49", arguments);
        tokio::task::block_in_place(|| run(&mut command))
    }

    fn start_job(&self, uid: u32, job: u64) -> Output {
        let token = self.scene.token(&self.scene.claims(job));
        self.attest_run(uid, &[("ATTEST_RUN_ID_TOKEN", &token)], &["job", "start"])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c05_a_neighbour_runs_the_genuine_component_on_inputs_of_its_own() {
    let shop = Shop::open().await;
    shop.start_job(Users::JOB, 1).ok();
    let mut genuine = shop.genuine().await;
    // While it runs, and with another manifest around the same component.
    let out = shop.neighbour(&["secret"]).refused(126, "AR-J305");
    assert!(out.stderr.contains("aud_"), "{}", out.stderr);
    assert_eq!(shop.runner.workers().len(), 1);
    // It waits for the end of the genuine one, and comes too late all the same.
    genuine.kill().unwrap();
    genuine.wait().unwrap();
    wait_until(async || shop.runner.workers().is_empty()).await;
    shop.neighbour(&["secret"]).refused(126, "AR-J305");
    let alarms = shop.scene.broker.rows("SELECT kind, subject, times FROM alarms").await;
    assert_eq!(alarms, [["second-lease", "74:10001:2:1", "2"]]);
    let (_, body) = shop.scene.broker.audit().await.into_iter().rfind(|(kind, _)| kind == "refused").unwrap();
    assert_eq!(body["asked"]["arguments"], json!(["secret"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn c04_two_jobs_of_two_users_are_two_jobs_whoever_comes_first() {
    let shop = Shop::open().await;
    let mut job = 0;
    for (first, second) in [(Users::JOB, Users::STRANGER), (Users::STRANGER, Users::JOB)] {
        job += 2;
        let token = |job: u64| shop.scene.token(&shop.scene.claims(job));
        let (one, two) = (token(job), token(job + 1));
        let key = |job: u64| Value::from(format!("74:10001:2:{job}"));
        shop.hello(first, Some(&one)).ok();
        assert_eq!(shop.last_job().await, key(job));
        shop.hello(second, Some(&two)).ok();
        assert_eq!(shop.last_job().await, key(job + 1));
        // Each with the other's token, and with a fresh one of the other's job.
        shop.hello(first, Some(&two)).refused(126, "AR-J303");
        shop.hello(second, Some(&one)).refused(126, "AR-J303");
        let fresh = |job: u64| shop.scene.token(&with(shop.scene.claims(job), "jti", json!(format!("fresh-{job}"))));
        shop.hello(first, Some(&fresh(job + 1))).refused(126, "AR-J306");
        shop.hello(second, Some(&fresh(job))).refused(126, "AR-J306");
        // Without one there is no job to be in, though both are known here.
        for uid in [first, second] {
            shop.hello(uid, None).ok();
            assert_eq!(shop.last_job().await, Value::Null);
        }
        // The end of one is not the end of the other.
        shop.attest_run(first, &[], &["job", "end"]).ok();
        let ended = shop.scene.broker.rows("SELECT job FROM job_sessions WHERE ended IS NOT NULL ORDER BY job").await;
        assert!(
            ended.contains(&vec![format!("74:10001:2:{job}")])
                && !ended.contains(&vec![format!("74:10001:2:{}", job + 1)])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c04_the_end_of_a_job_ends_what_is_left_of_it() {
    let shop = Shop::open().await;
    shop.start_job(Users::JOB, 1).ok();
    let child = shop.genuine().await;
    // Whoever is not of the job can't end it.
    let out = shop.attest_run(Users::STRANGER, &[], &["job", "end"]).ok();
    assert!(out.stderr.contains("the job had no session"), "{}", out.stderr);
    assert_eq!(shop.runner.workers().len(), 1);
    let ended = shop.attest_run(Users::JOB, &[], &["job", "end"]);
    let took = wait_until(async || shop.runner.workers().is_empty()).await;
    ended.ok();
    assert!(took < Duration::from_secs(1), "{took:?}");
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("error[AR-J307]"), "{output:?}");
    assert_eq!(output.status.code(), Some(126));
    // At the broker, too, whether it heard first of the step's end or of the job's.
    let states = shop.scene.broker.rows("SELECT state FROM leases").await;
    assert!(["failed", "job-ended"].contains(&states[0][0].as_str()), "{states:?}");
    let audit = shop.scene.broker.audit().await;
    let count = |wanted: &str| audit.iter().filter(|(kind, _)| kind == wanted).count();
    assert_eq!((count("lease-ended"), count("session-ended")), (1, 1));
    // A process that is left comes without a job, and with the token of one that is over.
    shop.hello(Users::JOB, None).ok();
    assert_eq!(shop.last_job().await, Value::Null);
    let token = shop.scene.token(&with(shop.scene.claims(1), "jti", json!("fresh")));
    shop.hello(Users::JOB, Some(&token)).refused(126, "AR-J306");
    // A second end ends nothing.
    assert!(shop.attest_run(Users::JOB, &[], &["job", "end"]).ok().stderr.contains("had no session"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statement_about_the_environment_names_the_job_of_whoever_asks() {
    let shop = Shop::open().await;
    let job = |user: u32| {
        let out = shop.attest_run(user, &[], &["measure"]).ok().stdout;
        serde_json::from_str::<Value>(&out).unwrap()["predicate"]["job"].clone()
    };
    assert_eq!(job(Users::JOB), Value::Null);
    shop.start_job(Users::JOB, 1).ok();
    let told = job(Users::JOB);
    let sessions = shop.scene.broker.rows("SELECT id FROM job_sessions").await;
    assert_eq!((told["session"].as_str(), told["job"].as_str()), (Some(&*sessions[0][0]), Some("74:10001:2:1")));
    assert_eq!(job(Users::STRANGER), Value::Null);
    shop.attest_run(Users::JOB, &[], &["job", "end"]).ok();
    assert_eq!(job(Users::JOB), Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_ends_here_though_the_broker_is_away() {
    let mut shop = Shop::open().await;
    shop.start_job(Users::JOB, 1).ok();
    let child = shop.genuine().await;
    shop.scene.broker.kill();
    shop.attest_run(Users::JOB, &[], &["job", "end"]).refused(5, "AR-B501");
    wait_until(async || shop.runner.workers().is_empty()).await;
    assert!(String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr).contains("AR-J307"));
    shop.scene.broker.serve();
    shop.hello(Users::JOB, None).ok();
    assert_eq!(shop.last_job().await, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn r01_nobody_takes_the_agent_s_place_or_turns_its_clients_elsewhere() {
    let shop = Shop::open().await;
    let token = shop.scene.token(&shop.scene.claims(1));
    let socket = shop.runner.path("run/agent.sock");
    // The socket can't be moved away, and nothing put in its place, by a job's user.
    for script in [format!("rm -f {0}", socket.display()), format!("mv {0} {0}.old", socket.display())] {
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={}", Users::JOB), &format!("--regid={}", Users::JOB), "--clear-groups"]);
        let out = tokio::task::block_in_place(|| run(command.args(["sh", "-c", &script])));
        assert_ne!(out.status, 0, "{script}: {}", out.stderr);
    }
    // Somebody else's socket, broker, state, TPM and roots, in the environment and in the repository.
    let mine = shop.runner.work().join("evil");
    std::fs::create_dir_all(mine.join(".config/attest-run")).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(mine.join("agent.sock")).unwrap();
    listener.set_nonblocking(true).unwrap();
    let evil = mine.join("agent.sock").display().to_string();
    std::fs::write(mine.join(".config/attest-run/config.toml"), format!("socket = \"{evil}\"\n")).unwrap();
    std::fs::write(mine.join("step.toml"), "broker = \"https://127.0.0.1:1\"\n").unwrap();
    run(Command::new("chmod").args(["-R", "a+rwX", mine.to_str().unwrap()])).ok();
    let folder = mine.display().to_string();
    let config = mine.join(".config").display().to_string();
    let variables = [
        ("ATTEST_RUN_ID_TOKEN", token.as_str()),
        ("ATTEST_RUN_SOCKET", evil.as_str()),
        ("ATTEST_RUN_STATE", folder.as_str()),
        ("ATTEST_RUN_TPM", "embedded:/tmp/evil"),
        ("ATTEST_RUN_BROKER", "https://127.0.0.1:1"),
        ("ATTEST_RUN_MODE", "direct"),
        ("XDG_CONFIG_HOME", config.as_str()),
        ("HOME", folder.as_str()),
        ("SSL_CERT_FILE", "/dev/null"),
    ];
    let step = shop.runner.path("steps/hello/hello.wasm");
    shop.attest_run(Users::JOB, &variables, &[step.to_str().unwrap()]).ok();
    assert_eq!(shop.last_job().await, "74:10001:2:1");
    let granted = shop.scene.broker.audit().await.into_iter().rfind(|(kind, _)| kind == "granted").unwrap();
    assert_eq!((&granted.1["runner"], &granted.1["isolation"]), (&"builder".into(), &"agent".into()));
    assert!(listener.accept().is_err(), "somebody came to the wrong socket");
    for flag in ["--socket", "--state", "--tpm"] {
        shop.attest_run(Users::JOB, &[], &[flag, &evil, step.to_str().unwrap()]).refused(125, "AR-C001");
    }
    // What another user says of itself counts for nothing: it is who the kernel says.
    shop.attest_run(Users::STRANGER, &[("USER", "root"), ("SUDO_UID", "0"), ("LOGNAME", "ar-job")], &["job", "end"])
        .ok();
    shop.attest_run(Users::STRANGER, &[("SUDO_UID", "0")], &["keys", "create", "x"]).refused(1, "AR-C402");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_and_its_steps_do_not_follow_the_agent_s_wall_clock() {
    let mut shop = Shop::open().await;
    tokio::task::block_in_place(|| {
        shop.runner.stop_agent();
        shop.runner.start_agent_with_clock();
    });
    shop.start_job(Users::JOB, 1).ok();
    let mut child = shop.genuine().await;
    for set in [3600, -3600] {
        shop.runner.clock().set(set);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(shop.runner.workers().len(), 1, "set by {set}");
        assert!(child.try_wait().unwrap().is_none(), "set by {set}");
        // New connections, new quotes; and the job is still that job.
        if set > 0 {
            shop.hello(Users::JOB, None).ok();
            assert_eq!(shop.last_job().await, "74:10001:2:1");
        } else {
            shop.hello(Users::JOB, None).refused(126, "AR-J305");
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until(async || shop.runner.workers().is_empty()).await;
    wait_until(async || shop.scene.broker.rows("SELECT state FROM leases WHERE state = 'active'").await.is_empty())
        .await;
}
