//! Every kind of handle, end to end: a step that uses it well and badly, real servers, a real broker.

mod code;
mod commands;
mod derived;
mod echoes;
mod ledger;
mod masking;
mod page;
mod requests;
mod tokens;
mod undeclared;

pub(crate) use commands::cli;

use crate::support::{Broker, Output, Runner, Server, run};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The value of `token`, which goes into requests.
const TOKEN: &str = "tok_9f3kQ2m7Lx0Rz5Vb8Nc1";
/// The value of `seen`, which the step is shown.
const SEEN: &str = "correct horse battery staple";

/// The policy of a new broker, and one rule more: servers of this machine.
fn policy() -> String {
    let development = include_str!("../../attestation/broker/policy/development.cedar");
    format!(
        "{development}\n@id(\"here\") permit (principal, action == Action::\"send\", resource in Stage::\"dev\")\n\
         when {{ [\"agent\", \"direct\"].contains(context.measured.isolation) && context.private && \
         !(context.measured has job) }};\n"
    )
}

/// A runner, a broker, and a step with every kind of handle.
pub(crate) struct Scene {
    pub(crate) broker: Broker,
    pub(crate) runner: Runner,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// The same with a broker that is served with these options.
    fn with(options: &[&str]) -> Self {
        let broker = Broker::start_with(options);
        broker.apply_policy(&policy());
        let runner = Runner::enrolled(&broker, "builder");
        broker.set_secret("dev", "seen", SEEN);
        broker.set_secret_with("dev", "token", TOKEN, &["--to", "http://127.0.0.1:1", "--private"]);
        runner.write("inner/inside", "inside\n");
        Self { broker, runner }
    }

    /// What the audit log says of the last step, once the ledgers of all are told: one that could not be quoted in time follows.
    async fn told(&self) -> Value {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let audit = self.broker.audit().await;
            let granted = audit.iter().filter(|(kind, _)| kind == "granted").count();
            let mut told: Vec<_> =
                audit.iter().map(|(_, body)| body).filter(|body| body["ledger"].is_object()).collect();
            if told.len() == granted
                && let Some(last) = told.pop()
            {
                return last.clone();
            }
            assert!(Instant::now() < deadline, "no ledger came: {audit:#?}\n{}", self.runner.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Has `token` go to this server, in every place.
    pub(crate) fn send_token_to(&self, server: &Server, options: &[&str]) {
        let to = server.origin();
        let mut all = vec!["secret", "destinations", "token", "--stage", "dev", "--to", &to, "--private"];
        all.extend(options);
        self.broker.admin(&all).ok();
    }

    /// The step, with these lines more in its manifest.
    fn step(&self, more: &str) -> PathBuf {
        let step = self.runner.step("requester");
        let manifest = step.with_file_name("step.toml");
        let text = std::fs::read_to_string(&manifest).unwrap();
        let text = text.split("\n[http]").next().unwrap();
        std::fs::write(&manifest, format!("{text}\n{more}\n")).unwrap();
        step
    }

    fn command(&self, more: &str, options: &[&str], arguments: &[&str]) -> Command {
        self.command_of(&self.step(more), options, arguments)
    }

    fn command_of(&self, step: &Path, options: &[&str], arguments: &[&str]) -> Command {
        let work = format!("work={}", self.runner.work().join("inner").display());
        let mut all = options.to_vec();
        all.extend(["--dir", &work, step.to_str().unwrap(), "--"]);
        all.extend(arguments);
        let mut command = self.runner.command(crate::support::Users::JOB, "attest-run", &all);
        command.stdin(Stdio::null());
        command
    }

    /// Runs the step, which may send requests to these.
    pub(crate) fn run(&self, servers: &[&Server], arguments: &[&str]) -> Output {
        run(&mut self.command(&http(servers), &[], arguments))
    }
}

/// The declaration of requests to these, which lie on this machine.
fn http(servers: &[&Server]) -> String {
    let mut origins: Vec<String> = servers.iter().map(|server| format!("\"{}\"", server.origin())).collect();
    if origins.is_empty() {
        origins.push("\"http://127.0.0.1:1\"".to_owned());
    }
    format!("[http]\nprivate = [{}]\nwhy = \"sends requests in tests\"", origins.join(", "))
}
