//! Making a token (RFC 7519) of what was proved.

use super::{LEEWAY, LONGEST_TOKEN, Registration, TokenIssuer, TokenKey};
use crate::exchange::{Job, VerifiedJob};
use attest_appraisal::AppraisedHost;
use attest_evidence::exchange::{Audience, Isolation, Request};
use attest_evidence::name::{AuditId, LeaseId, RunnerName, SecretName, Stage};
use attest_evidence::{SecretBytes, Sha256Digest, UnixSeconds};
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use zeroize::Zeroizing;

/// The longest subject (Core 1.0 §2).
pub(crate) const LONGEST_SUBJECT: usize = 255;

/// A token that is to be minted.
pub(crate) struct Wanted {
    pub(crate) registration: Registration,
    /// Made by [`subject`].
    pub(crate) subject: String,
}

/// What tokens are minted with.
pub(crate) struct Minting {
    pub(crate) issuer: TokenIssuer,
    pub(crate) key: TokenKey,
    pub(crate) wanted: Vec<Wanted>,
    /// The wall clock: whoever reads a token has no other.
    pub(crate) now: UnixSeconds,
    /// For how long the lease is.
    pub(crate) lease_seconds: u64,
}

/// Who holds the lease that tokens are minted for.
pub(crate) struct Holder<'a> {
    pub(crate) lease: &'a LeaseId,
    pub(crate) audit: &'a AuditId,
    pub(crate) host: &'a AppraisedHost,
    pub(crate) job: &'a VerifiedJob,
    pub(crate) request: &'a Request,
}

/// What may be said of a token: all but the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Minted {
    pub(crate) name: SecretName,
    pub(crate) audience: Audience,
    pub(crate) subject: String,
    pub(crate) jti: String,
    pub(crate) kid: String,
    pub(crate) expires: UnixSeconds,
}

/// A token.
pub(crate) struct MintedToken {
    pub(crate) minted: Minted,
    pub(crate) registration: Registration,
    pub(crate) value: SecretBytes,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    kid: &'a str,
    typ: &'static str,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a Audience,
    exp: UnixSeconds,
    nbf: UnixSeconds,
    iat: UnixSeconds,
    jti: &'a str,
    attest: Attest<'a>,
}

/// What was proved.
#[derive(Serialize)]
struct Attest<'a> {
    lease: &'a LeaseId,
    audit: &'a AuditId,
    runner: &'a RunnerName,
    class: &'static str,
    isolation: Isolation,
    stage: Stage,
    component: &'a Sha256Digest,
    manifest: &'a Sha256Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secure_boot: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<AttestJob<'a>>,
}

/// The CI job, by the word of its issuer. Names that can be given to another are left out: `repository` among them.
#[derive(Serialize)]
struct AttestJob<'a> {
    issuer: &'a str,
    key: &'a str,
    repository_id: &'a str,
    owner_id: &'a str,
    run_id: &'a str,
    exact: bool,
    event: &'a str,
    #[serde(rename = "ref")]
    git_ref: &'a str,
    ref_protected: bool,
    workflow_ref: &'a str,
    job_workflow_ref: &'a str,
    commit: &'a str,
    environment: &'a str,
    runner_environment: &'a str,
    actor_id: &'a str,
}

impl<'a> AttestJob<'a> {
    fn of(job: &'a Job) -> Self {
        let claims = &job.claims;
        Self {
            issuer: &job.issuer,
            key: &job.key,
            repository_id: &claims.repository_id,
            owner_id: &claims.owner_id,
            run_id: &claims.run_id,
            exact: claims.exact,
            event: &claims.event,
            git_ref: &claims.git_ref,
            ref_protected: claims.ref_protected,
            workflow_ref: &claims.workflow_ref,
            job_workflow_ref: &claims.job_workflow_ref,
            commit: &claims.commit,
            environment: &claims.environment,
            runner_environment: &claims.runner_environment,
            actor_id: &claims.actor_id,
        }
    }
}

/// What a token says in `sub`: for many relying parties, all that they can compare beside `iss` and `aud`.
///
/// `repository/ISSUER#ID/step/STAGE/NAME` in a CI job, else `runner/RUNNER/step/STAGE/NAME`. NAME is that of the audience, an
/// admin's word: what a step calls itself is the job's to choose, and would be whatever a relying party waits for. A
/// repository's id has neither `/` nor `#`, and neither has a runner's name, so that no one of them can be read as two.
pub(crate) fn subject(runner: &RunnerName, job: Option<&Job>, stage: Stage, name: &SecretName) -> String {
    let who = match job {
        Some(job) => format!("repository/{}#{}", job.issuer, job.claims.repository_id),
        None => format!("runner/{runner}"),
    };
    format!("{who}/step/{stage}/{name}")
}

impl Minting {
    /// Mints all that is wanted, in its order. [`Grant::issue`](crate::exchange::Grant) is the only caller, with what it has
    /// found to be about one request.
    pub(crate) fn mint(&self, holder: &Holder<'_>) -> Vec<MintedToken> {
        self.wanted.iter().map(|wanted| self.mint_one(holder, wanted)).collect()
    }

    fn mint_one(&self, holder: &Holder<'_>, wanted: &Wanted) -> MintedToken {
        let Registration { name, audience, stage, .. } = &wanted.registration;
        let (host, request) = (holder.host, holder.request);
        let expires = self.now.plus(self.lease_seconds.min(LONGEST_TOKEN));
        let minted = Minted {
            name: name.clone(),
            audience: audience.clone(),
            subject: wanted.subject.clone(),
            // One token for each handle of a lease.
            jti: format!("{}/{name}", holder.lease),
            kid: self.key.id().to_owned(),
            expires,
        };
        let claims = Claims {
            iss: self.issuer.as_str(),
            sub: &minted.subject,
            aud: audience,
            exp: expires,
            // For clocks that lag behind this one. It is in nobody's hands before it was made.
            nbf: UnixSeconds(self.now.0.saturating_sub(LEEWAY)),
            iat: self.now,
            jti: &minted.jti,
            attest: Attest {
                lease: holder.lease,
                audit: holder.audit,
                runner: host.runner(),
                class: host.class().as_str(),
                isolation: host.isolation(),
                stage: *stage,
                component: &request.component,
                manifest: &request.manifest,
                boot: host.boot().map(|boot| boot.name()),
                secure_boot: host.secure_boot(),
                job: holder.job.job().map(AttestJob::of),
            },
        };
        let header = Header { alg: "ES256", kid: self.key.id(), typ: "JWT" };
        let value = compact(&header, &claims, |signed| self.key.sign(signed));
        MintedToken { minted, registration: wanted.registration.clone(), value }
    }
}

/// A compact JWS (RFC 7515 §7.1).
#[expect(clippy::expect_used, reason = "plain structures with text keys always serialize")]
fn compact(header: &impl Serialize, claims: &impl Serialize, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> SecretBytes {
    let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let header = serde_json::to_vec(header).expect("plain structures with text keys always serialize");
    let claims = serde_json::to_vec(claims).expect("plain structures with text keys always serialize");
    let signed = format!("{}.{}", text(&header), text(&claims));
    // The signature makes a secret of it: from here on no copy is left behind.
    let signature = Zeroizing::new(text(&sign(signed.as_bytes())));
    let mut token = Vec::with_capacity(signed.len() + 1 + signature.len());
    token.extend_from_slice(signed.as_bytes());
    token.push(b'.');
    token.extend_from_slice(signature.as_bytes());
    SecretBytes::new(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use attest_appraisal::ci::JobClaims;
    use attest_evidence::name::JobSessionId;

    fn job(issuer: &str, repository_id: &str) -> Job {
        let claims = serde_json::json!({
            "repository_id": repository_id, "owner_id": "65", "run_id": "1", "exact": true, "event": "push",
            "git_ref": "refs/heads/main", "ref_protected": true, "workflow_ref": "o/r/w@refs/heads/main", "commit": "c",
            "environment": "", "runner_environment": "self-hosted", "actor_id": "2", "repository": "o/r",
        });
        let claims: JobClaims = serde_json::from_value(claims).unwrap();
        let session = JobSessionId::from_bytes([1; 16]);
        Job { session, issuer: issuer.to_owned(), key: "74:1:1".to_owned(), claims, token_digest: None }
    }

    #[test]
    fn a_subject_is_of_what_was_proved_and_reads_in_one_way() {
        let (runner, name) = ("builder".parse().unwrap(), "release/sts".parse().unwrap());
        assert_eq!(subject(&runner, None, Stage::Dev, &name), "runner/builder/step/dev/release/sts");
        let github = job("https://token.actions.githubusercontent.com", "74");
        assert_eq!(
            subject(&runner, Some(&github), Stage::Prod, &name),
            "repository/https://token.actions.githubusercontent.com#74/step/prod/release/sts"
        );
    }

    #[test]
    fn what_is_told_of_a_job_has_no_name_that_can_be_given_to_another() {
        let github = job("https://token.actions.githubusercontent.com", "74");
        let told = serde_json::to_value(AttestJob::of(&github)).unwrap();
        assert_eq!((&told["repository_id"], &told["ref"]), (&"74".into(), &"refs/heads/main".into()));
        assert!(told.get("repository").is_none() && told.get("run_url").is_none());
    }

    #[test]
    fn a_token_is_three_parts_of_which_the_last_signs_the_others() {
        let value = compact(&serde_json::json!({"a": 1}), &serde_json::json!({"b": 2}), |signed| {
            assert_eq!(signed, b"eyJhIjoxfQ.eyJiIjoyfQ");
            [0; 64]
        });
        value.expose(|token| {
            assert_eq!(token, format!("eyJhIjoxfQ.eyJiIjoyfQ.{}", "A".repeat(86)).as_bytes());
        });
    }
}
