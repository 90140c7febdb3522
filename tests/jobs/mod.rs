//! CI jobs: tokens of a real issuer, redeemed into sessions.

mod denials;
mod issuers;
mod minted;
mod neighbours;
mod runner;
mod sessions;
mod shapes;
mod tokens;

use crate::support::{Broker, Issuer, IssuerKey, Rig};
use attest_agent::BrokerError;
use attest_evidence::exchange::{GrantBody, Request, SecretRequest, SecretUse};
use attest_evidence::name::Stage;
use serde_json::{Value, json};

/// Seconds since 1970.
fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// A broker that believes an issuer with one key of each kind, and a runner.
struct Scene {
    broker: Broker,
    issuer: Issuer,
    rsa: IssuerKey,
    p256: IssuerKey,
    rig: Rig,
}

impl Scene {
    async fn set(kind: &str) -> Self {
        Self::set_with(kind, &[]).await
    }

    /// The same, of a broker that is served with options.
    async fn set_with(kind: &str, options: &[&str]) -> Self {
        Self::of(kind, Broker::start_with(options), Issuer::start().await).await
    }

    /// The same with a given issuer.
    async fn of(kind: &str, broker: Broker, issuer: Issuer) -> Self {
        let (rsa, p256) = (IssuerKey::rsa(), IssuerKey::p256());
        issuer.publish(vec![rsa.jwk("rsa-1"), p256.jwk("p256-1")]);
        let authority = broker.state().parent().unwrap().join("issuer.pem");
        std::fs::write(&authority, &issuer.authority).unwrap();
        let arguments = ["issuer", "add", &issuer.url, "--kind", kind, "--audience", "broker"];
        broker.admin(&[&arguments[..], &["--authority", authority.to_str().unwrap()]].concat()).ok();
        let rig = Rig::enrolled(&broker, "r").await;
        Self { broker, issuer, rsa, p256, rig }
    }

    /// A policy whose jobs of the repository may have everything of stage `dev`.
    fn give_dev_to_jobs(&self) {
        self.broker.apply_policy(&format!(
            "permit (principal in Repository::\"{}#74\", action \
             in [Action::\"sign\", Action::\"use\", Action::\"reveal\"], resource in Stage::\"dev\") when {{ context.measured has job }};",
            self.issuer.url
        ));
    }

    /// Claims of a GitHub job that may have everything, in the shapes that GitHub writes.
    fn claims(&self, job: u64) -> Value {
        json!({
            "iss": self.issuer.url, "aud": "broker", "jti": format!("token-{job}-{}", now()), "exp": now() + 300,
            "nbf": now() - 10, "iat": now(), "sub": "repo:octo-org/octo-repo:ref:refs/heads/main",
            "repository": "octo-org/octo-repo", "repository_id": "74", "repository_owner": "octo-org",
            "repository_owner_id": "65", "run_id": "10001", "run_number": "10", "run_attempt": "2",
            "check_run_id": job.to_string(), "event_name": "push", "ref": "refs/heads/main", "ref_type": "branch",
            "ref_protected": "true", "sha": "f1d2d2f924e986ac86fdf7b36c94bcdf32beec15",
            "workflow_ref": "octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main",
            "runner_environment": "self-hosted", "actor_id": "12", "repository_visibility": "private",
        })
    }

    /// What a job of these claims, or a step without a job, gets that asks for the secret `prod/npm`.
    async fn ask_for_npm(&self, claims: impl Into<Option<&Value>>) -> Result<GrantBody, BrokerError> {
        let session = match claims.into() {
            Some(claims) => Some(self.rig.redeem(&self.token(claims)).await?.session),
            None => None,
        };
        let mut request = Request { session, ..self.rig.request() };
        request.step.stage = Stage::Prod;
        let why = "publishes the package".to_owned();
        request.secrets = vec![SecretRequest { name: "npm".parse().unwrap(), usage: SecretUse::Reveal, why }];
        self.rig.send(self.rig.exchange(&request).await).await
    }

    fn token(&self, claims: &Value) -> String {
        self.rsa.sign(r#"{"typ":"JWT","alg":"RS256","kid":"rsa-1"}"#, &claims.to_string())
    }
}

/// A claim changed, or, with `null`, left out.
fn with(mut claims: Value, name: &str, value: Value) -> Value {
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}
