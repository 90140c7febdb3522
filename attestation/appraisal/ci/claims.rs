//! What a token says of its job, as far as it counts.

use super::Members;
use super::token::TokenRefused;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// Which CI system an issuer belongs to: how its claims are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IssuerKind {
    /// GitHub: github.com, GitHub Enterprise Server, ghe.com.
    GitHub,
    /// GitLab.
    GitLab,
}

impl IssuerKind {
    /// As text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
        }
    }
}

impl std::str::FromStr for IssuerKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::GitHub, Self::GitLab]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no CI system: `github` or `gitlab` is wanted"))
    }
}

/// One job's execution, among all of its issuer's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobKey(String);

impl JobKey {
    /// As text: ids with `:` between them.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// What a verified token says of its job, in one vocabulary for both systems. Absent is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobClaims {
    /// `repository_id`, `project_id`.
    pub repository_id: String,
    /// `repository_owner_id`, `namespace_id`.
    pub owner_id: String,
    /// `run_id`, `pipeline_id`.
    pub run_id: String,
    /// Whether the token names the very job. Old GitHub Enterprise Servers name the run alone.
    pub exact: bool,
    /// `event_name`, `pipeline_source`.
    pub event: String,
    /// `ref`, `ref_path`: `refs/heads/…`.
    pub git_ref: String,
    /// `ref_protected`: only `true` is protected.
    pub ref_protected: bool,
    /// `workflow_ref`, `ci_config_ref_uri`: the file that says what the job does, and at which ref.
    pub workflow_ref: String,
    /// `job_workflow_ref`: that of the reusable workflow that the job is in; GitHub alone.
    #[serde(default)]
    pub job_workflow_ref: String,
    /// `sha`.
    pub commit: String,
    /// `environment`, if the job has one.
    pub environment: String,
    /// `runner_environment`: `self-hosted` here.
    pub runner_environment: String,
    /// `actor_id`, `user_id`.
    pub actor_id: String,
    /// `repository`, `project_path`: for people. It can be given to others.
    pub repository: String,
    /// Where people find the job, made of what its issuer says.
    #[serde(default)]
    pub run_url: String,
}

/// Longest claim that is believed: a ref, a path.
const LONGEST_CLAIM: usize = 1024;

/// A claim that may be text or a number: both are seen.
fn scalar(members: &Members, name: &'static str) -> Result<Option<String>, TokenRefused> {
    let text = match members.0.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) if number.is_u64() => number.to_string(),
        Some(Value::Bool(value)) => value.to_string(),
        Some(_) => return Err(TokenRefused::Claim { name, reason: "it is neither text nor a whole number" }),
    };
    if text.len() > LONGEST_CLAIM || text.chars().any(char::is_control) {
        return Err(TokenRefused::Claim { name, reason: "it is too long, or holds control characters" });
    }
    Ok(Some(text))
}

/// An id: digits, or whatever an issuer makes of them, but nothing that could be taken for two ids.
fn id(members: &Members, name: &'static str) -> Result<Option<String>, TokenRefused> {
    let Some(text) = scalar(members, name)? else { return Ok(None) };
    let plain = |character: char| character.is_ascii_alphanumeric() || character == '-' || character == '_';
    if text.is_empty() || text.len() > 64 || !text.chars().all(plain) {
        return Err(TokenRefused::Claim { name, reason: "it is no id" });
    }
    Ok(Some(text))
}

impl JobClaims {
    /// Reads the claims of a token whose signature has been verified. What every token of its system has, this must have:
    /// a claim that is not there is not an empty one.
    ///
    /// The third issuer, for people at their own machines, goes here: a kind of its own, whose key is a login.
    pub(super) fn read(
        kind: IssuerKind,
        issuer: &str,
        members: &Members,
        jti: &str,
    ) -> Result<(Self, JobKey), TokenRefused> {
        let missing = |name| TokenRefused::Claim { name, reason: "it is missing" };
        let id = |name| id(members, name)?.ok_or(missing(name));
        let text = |name| scalar(members, name)?.ok_or(missing(name));
        let optional = |name| Ok(scalar(members, name)?.unwrap_or_default());
        match kind {
            IssuerKind::GitHub => {
                text("repository_owner")?;
                text("repository_visibility")?;
                let (repository_id, run_id, attempt) = (id("repository_id")?, id("run_id")?, id("run_attempt")?);
                let (repository, job) = (text("repository")?, self::id(members, "check_run_id")?);
                // Without the job's own id each token is a job of its own: policy may ask for `exact`.
                let last = job.as_ref().map_or_else(|| format!("token-{jti}"), Clone::clone);
                let key = JobKey(format!("{repository_id}:{run_id}:{attempt}:{last}"));
                let place = job.as_ref().map_or_else(|| format!("/attempts/{attempt}"), |job| format!("/job/{job}"));
                let claims = Self {
                    owner_id: id("repository_owner_id")?,
                    exact: job.is_some(),
                    event: text("event_name")?,
                    git_ref: text("ref")?,
                    ref_protected: optional("ref_protected")? == "true",
                    workflow_ref: text("workflow_ref")?,
                    job_workflow_ref: optional("job_workflow_ref")?,
                    commit: text("sha")?,
                    environment: optional("environment")?,
                    runner_environment: text("runner_environment")?,
                    actor_id: optional("actor_id")?,
                    run_url: url(&github_server(issuer), &repository, &format!("/actions/runs/{run_id}{place}")),
                    repository,
                    repository_id,
                    run_id,
                };
                Ok((claims, key))
            }
            IssuerKind::GitLab => {
                let (repository_id, run_id, job) = (id("project_id")?, id("pipeline_id")?, id("job_id")?);
                let repository = text("project_path")?;
                text("ref")?;
                let key = JobKey(format!("{repository_id}:{run_id}:{job}"));
                let claims = Self {
                    owner_id: id("namespace_id")?,
                    exact: true,
                    event: text("pipeline_source")?,
                    git_ref: optional("ref_path")?,
                    ref_protected: optional("ref_protected")? == "true",
                    workflow_ref: optional("ci_config_ref_uri")?,
                    job_workflow_ref: String::new(),
                    commit: text("sha")?,
                    environment: optional("environment")?,
                    runner_environment: optional("runner_environment")?,
                    actor_id: optional("user_id")?,
                    run_url: url(issuer, &repository, &format!("/-/jobs/{job}")),
                    repository,
                    repository_id,
                    run_id,
                };
                Ok((claims, key))
            }
        }
    }
}

/// Where GitHub's pages are, by who issues its tokens: github.com, `SUB.ghe.com`, or an Enterprise Server.
fn github_server(issuer: &str) -> String {
    let host = issuer.trim_start_matches("https://").split('/').next().unwrap_or_default();
    match host.strip_prefix("token.actions.") {
        Some("githubusercontent.com") => "https://github.com".to_owned(),
        Some(host) => format!("https://{host}"),
        None => format!("https://{host}"),
    }
}

/// A URL of a job; empty if the repository's name has characters that stand in no repository's name.
fn url(server: &str, repository: &str, path: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./".contains(character);
    if repository.chars().all(plain) && !repository.contains("..") {
        format!("{}/{repository}{path}", server.trim_end_matches('/'))
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_find_the_job_at_its_system_s_own_address() {
        for (issuer, server) in [
            ("https://token.actions.githubusercontent.com", "https://github.com"),
            ("https://token.actions.githubusercontent.com/avocado-corp", "https://github.com"),
            ("https://token.actions.octo.ghe.com", "https://octo.ghe.com"),
            ("https://ghes.example:8443/_services/token", "https://ghes.example:8443"),
        ] {
            assert_eq!(github_server(issuer), server);
        }
        assert_eq!(url("https://gitlab.example/", "g/p", "/-/jobs/1"), "https://gitlab.example/g/p/-/jobs/1");
        assert_eq!(url("https://gitlab.example", "g/p?x=<y>", "/-/jobs/1"), "");
        assert_eq!(url("https://gitlab.example", "../p", "/-/jobs/1"), "");
    }
}
