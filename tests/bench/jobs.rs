//! CI jobs: a token verified beside its signature check alone; a job that begins, beside the raw round trips.

use crate::support::{Broker, Issuer, IssuerKey, Rig, Runner, Users};
use crate::{in_turn_by_the_hundred, median, row};
use attest_appraisal::ci::{Algorithm, Issuer as Listed, IssuerKind, KeySet, UnverifiedToken};
use attest_evidence::UnixSeconds;
use rsa::traits::SignatureScheme as _;
use serde_json::{Value, json};
use sha2::Digest as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Claims in the shape and size that GitHub writes.
fn claims(issuer: &str, job: usize) -> Value {
    json!({
        "iss": issuer, "aud": "broker", "jti": format!("3f1f5a52-7d40-4c5e-9d6c-{job:012}"), "exp": 4_000_000_300_u64,
        "nbf": 4_000_000_000_u64, "iat": 4_000_000_000_u64, "sub": "repo:octo-org/octo-repo:ref:refs/heads/main",
        "repository": "octo-org/octo-repo", "repository_id": "74", "repository_owner": "octo-org",
        "repository_owner_id": "65", "repository_visibility": "private", "run_id": "10001", "run_number": "10",
        "run_attempt": "2", "check_run_id": job.to_string(), "event_name": "push", "ref": "refs/heads/main",
        "ref_type": "branch", "ref_protected": "true", "sha": "f1d2d2f924e986ac86fdf7b36c94bcdf32beec15",
        "workflow": "release", "workflow_ref": "octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main",
        "workflow_sha": "f1d2d2f924e986ac86fdf7b36c94bcdf32beec15", "job_workflow_ref":
        "octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main", "runner_environment": "self-hosted",
        "actor": "octocat", "actor_id": "12", "environment": "release", "head_ref": "", "base_ref": "",
    })
}

pub(crate) fn token() {
    let url = "https://token.actions.githubusercontent.com";
    let (rsa_key, p256_key) = (IssuerKey::rsa(), IssuerKey::p256());
    let keys = json!({ "keys": [rsa_key.jwk("rsa-1"), p256_key.jwk("p256-1")] });
    let keys = KeySet::parse(keys.to_string().as_bytes()).unwrap();
    let issuer = Listed {
        url: url.to_owned(),
        kind: IssuerKind::GitHub,
        audience: "broker".to_owned(),
        algorithms: Algorithm::ALL.to_vec(),
    };
    let now = UnixSeconds(4_000_000_001);
    for (name, key, header) in [
        ("RS256", &rsa_key, r#"{"typ":"JWT","alg":"RS256","kid":"rsa-1"}"#),
        ("ES256", &p256_key, r#"{"typ":"JWT","alg":"ES256","kid":"p256-1"}"#),
    ] {
        let token = key.sign(header, &claims(url, 1).to_string());
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = data_encoding::BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        // The signature check alone, by the same library: its digest, and the public-key operation.
        let alone: Box<dyn Fn()> = match key {
            IssuerKey::Rsa(key) => {
                let key = key.to_public_key();
                Box::new(move || {
                    let digest = sha2::Sha256::digest(signed.as_bytes());
                    rsa::Pkcs1v15Sign::new::<rsa::sha2::Sha256>().verify(&key, &digest, &signature).unwrap();
                })
            }
            IssuerKey::P256(key) => {
                use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
                let key = *key.verifying_key();
                Box::new(move || {
                    let digest = sha2::Sha256::digest(signed.as_bytes());
                    let signature = p256::ecdsa::Signature::from_slice(&signature).unwrap();
                    key.verify_prehash(&digest, &signature).unwrap();
                })
            }
        };
        let ours = || drop(UnverifiedToken::parse(&token).unwrap().verify(&issuer, &keys, now).unwrap());
        let (ours, theirs) = in_turn_by_the_hundred(30, ours, alone);
        row(&format!("a CI token, {name}, keys warm"), ours, "its signature check", theirs);
    }
}

/// A job that begins: redeemed over one connection, and through an agent by the command that a hook runs.
pub(crate) async fn redeem() {
    const JOBS: usize = 200;
    let broker = Broker::start();
    let issuer = Issuer::start().await;
    let key = IssuerKey::p256();
    issuer.publish(vec![key.jwk("p256-1")]);
    let authority = broker.state().parent().unwrap().join("issuer.pem");
    std::fs::write(&authority, &issuer.authority).unwrap();
    let add = ["issuer", "add", &issuer.url, "--kind", "github", "--audience", "broker", "--authority"];
    broker.admin(&[&add[..], &[authority.to_str().unwrap()]].concat()).ok();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let token = |job: usize| {
        let mut claims = claims(&issuer.url, job);
        (claims["exp"], claims["nbf"], claims["iat"]) = (json!(now + 3000), json!(now), json!(now));
        key.sign(r#"{"alg":"ES256","kid":"p256-1"}"#, &claims.to_string())
    };
    let rig = Rig::enrolled(&broker, "rig").await;
    rig.redeem(&token(0)).await.unwrap();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for job in 1..JOBS {
        let token = token(job);
        let began = Instant::now();
        rig.redeem(&token).await.unwrap();
        ours.push(began.elapsed());
        let began = Instant::now();
        for _ in 0..2 {
            rig.client.health().await.unwrap();
        }
        theirs.push(began.elapsed());
    }
    row(
        "a job begins: challenge, quote, redemption",
        median(ours),
        "two round trips of the same connection",
        median(theirs),
    );

    let runner = tokio::task::block_in_place(|| Runner::enrolled(&broker, "bench"));
    let mut commands = Vec::new();
    for job in JOBS..JOBS + 40 {
        let mut command = Command::new(crate::support::programs().join("attest-run"));
        use std::os::unix::process::CommandExt as _;
        command.arg("--socket").arg(runner.path("run/agent.sock")).args(["job", "start"]);
        command.uid(Users::JOB).gid(Users::JOB).env_clear().env("HOME", runner.path("home")).current_dir("/");
        command.env("ATTEST_RUN_ID_TOKEN", token(job)).stdout(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        assert!(tokio::task::block_in_place(|| command.status()).unwrap().success());
        commands.push(began.elapsed());
    }
    let show = |time: Duration| time.as_secs_f64() * 1000.0;
    println!("{:44} {:>9.3} ms", "the same as a command: attest-run job start", show(median(commands)));
}
