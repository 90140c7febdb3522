//! The exchange: from bytes that anybody may have sent to a grant, or to a refusal with its reason.

mod challenged;
mod closing;
mod grant;
mod job;
mod leased;
mod session;
mod token;
mod verdict;

use grant::Handles;
pub use grant::{Grant, GrantError};
pub use job::{Job, JobRefused, VerifiedJob};
use leased::LeasedKeys;
use session::SessionRefused;
use token::MintRefused;
use verdict::Concluded;

use crate::alarms::{Alarm, AlarmKind};
use crate::audit::{Entry, Kind};
use crate::boots::LogsUnusable;
use crate::broker::{Broker, PolicyInForceError};
use crate::policy::{Decision, Denied, Questions, questions};
use crate::refusals::Recorded;
use crate::secrets::{self, Destinations};
use crate::server::Refusal;
use crate::signatures::AwsLc;
use crate::store::{RecordAlarm, RunnerRow, StoreError, Transaction, record};
use attest_appraisal::ear::{Ear, EarRefused};
use attest_appraisal::{
    AppraisedHost, CertificationRefused, Continuity, HostEvidence, HostRefused, MeasurementsRefused, Purpose,
    QuoteRefused, QuotedHost,
};
use attest_evidence::exchange::logs::Logs;
use attest_evidence::exchange::{
    Challenge, ChallengeRefused, ChallengeRequest, Exchange, Nonce, Request, SecretUse, StepIdentity,
};
use attest_evidence::name::{JobSessionId, LeaseId, RunnerName, SecretName};
use attest_evidence::report::{Escaped, Explain, Fault, Report};
use attest_evidence::tpm::ClockInfo;
use attest_evidence::{Malformed, SecretBytes, Sha256Digest};
pub(crate) use challenged::{Challenged, InAnswer};
use data_encoding::BASE64;
use serde::Serialize;
use sqlx::{Row as _, SqliteConnection};
use std::sync::Arc;

/// How often one exchange is decided: other steps of the same machine change what is known of it meanwhile.
const MOST_DECISIONS: usize = 8;

impl Broker {
    /// A challenge for whoever says it holds this attestation key. Nothing is remembered.
    ///
    /// # Errors
    /// The operating system gave no randomness.
    pub(crate) fn challenge(&self, request: ChallengeRequest) -> Result<Challenge, Refusal> {
        let nonce = Nonce::random().map_err(|_| Refusal::internal("no randomness"))?;
        let expires = self.now().plus(self.settings.challenge_seconds);
        Ok(self.keys.challenge().challenge(nonce, self.keys.id().clone(), request.ak, self.settings.pcrs, expires))
    }

    /// Answers an exchange: the signed grant, once it is on the disk.
    ///
    /// # Errors
    /// The refusal, once that is on the disk.
    pub(crate) async fn exchange(self: &Arc<Self>, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
        let challenged = self.challenged(bytes).await?;
        // What a decision rests on may change while it is made. Then it is made once more.
        let mut result = self.decide(bytes, &challenged).await;
        for _ in 1..MOST_DECISIONS {
            if !matches!(&result, Err(refused) if refused.is_stale()) {
                break;
            }
            result = self.decide(bytes, &challenged).await;
        }
        self.answer(challenged, bytes, result).await
    }

    /// Whether `bytes` begin with a challenge of ours that is good still, for a runner. Nothing is taken out of use: there is
    /// more to come.
    pub(crate) async fn check_challenged(&self, bytes: &[u8]) -> Result<(), Refusal> {
        let challenge = Exchange::challenge_of(bytes).map_err(|malformed| Refusal::of(&malformed_report(malformed)))?;
        let checked = self.keys.challenge().check(&challenge, self.now());
        checked.map_err(|refused| Refusal::of(&challenge_report(refused)))?;
        match self.store.runner_by_key(&challenge.ak).await? {
            Some(_) => Ok(()),
            None => Err(Refusal::of(&Refused::UnknownRunner.report())),
        }
    }

    /// From a challenge to a grant that is on the disk.
    async fn decide(self: &Arc<Self>, bytes: &[u8], challenged: &Challenged) -> Result<Vec<u8>, Refused> {
        let exchange = Exchange::parse(bytes)?;
        let request = Request::parse(exchange.request)?;
        let row = self.store.runner_by_key(&exchange.challenge.ak).await?.ok_or(Refused::UnknownRunner)?;
        let host = QuotedHost::verify(&exchange, Purpose::Grant, request.isolation, &row.runner, &AwsLc)?;
        let (host, references_version) = self.appraise(host, row.id, &exchange.evidence.logs).await?;
        let job = VerifiedJob::identify(self, request.session.as_ref(), host.quoted(), row.id).await?;
        let leased = LeasedKeys::verify(&request, &row.runner.key, &self.keys)?;
        let policy = self.policy().await?;
        let mut decision = Decision::ask(&policy, &host, &job, &request);
        if let Err(Denied::Policy { explanation, .. }) = &mut decision {
            self.store.keep_real(&mut explanation.twins).await?;
        }
        let decision = decision?;
        let secrets = self.open_secrets(&request).await?;
        let minting = self.minting(&host, &job, &request).await?;
        let handles = Handles { leased: &leased, values: &secrets, minting: minting.as_ref() };
        let grant = Grant::issue(self, &host, &job, &decision, &request, &handles)?;

        let (references, nonce) = (references_version, &exchange.challenge.nonce);
        let concluded = Concluded { host: &host, job: &job, decision: &decision, request: &request, nonce, references };
        let issued = self.wall();
        let verdict = concluded.verdict(issued, issued.plus(self.settings.lease_seconds))?;
        let entry = Entry::with_id(
            grant.body().audit.clone(),
            issued,
            Kind::Granted,
            &GrantedEntry {
                quote: (exchange.evidence.quote, exchange.evidence.signature),
                grant: &grant,
                host: &host,
                job: &job,
                decision: &decision,
                request: &request,
                verdict: &verdict,
            },
        )?;
        let signed = grant.sign(&self.keys);
        let record = RecordGrant {
            runner: row,
            policy_version: decision.policy_version(),
            references_version,
            session: request.session.clone(),
            most: decision.leases(),
            lease: grant.into_lease(),
            clock: host.quote().clock(),
            entry,
        };
        match challenged.commit(record).await? {
            None => Ok(signed),
            Some(first) => {
                let job = job.job().map(|job| job.key.clone()).unwrap_or_default();
                Err(Refused::SecondLease { job, first, most: decision.leases() })
            }
        }
    }

    /// The clock and counts that a quote of this runner has to follow, and does.
    pub(crate) async fn followed(&self, host: &QuotedHost, runner: i64) -> Result<Option<Continuity>, Refused> {
        let last = self.store.continuity(runner).await?;
        if let Some(last) = last {
            last.followed_by(host.quote().clock()).map_err(HostRefused::from)?;
        }
        Ok(last)
    }

    /// From a quote to what the machine is and booted. What it booted is remembered, whether or not it is allowed: an
    /// admin decides about what was seen.
    pub(crate) async fn appraise(
        &self,
        host: QuotedHost,
        runner: i64,
        logs: &[(u16, &[u8])],
    ) -> Result<(AppraisedHost, i64), Refused> {
        let last = self.followed(&host, runner).await?;
        let Logs { event_log, measurements } = Logs::read(logs).map_err(LogsUnusable::from)?;
        let log = self.event_log(event_log).await?;
        let leads = log.as_ref().is_none_or(|log| log.replayed.verify(host.quote().pcrs()).is_ok());
        if leads {
            self.see_boot(runner, &host, log.as_ref()).await?;
        }
        let (version, references) = self.references().await?;
        let measurements = match measurements {
            Some(sent) => self.follow_measurements(runner, &host, sent, (version, &references)).await?,
            None => None,
        };
        let evidence = HostEvidence {
            event_log: log.as_ref().map(|log| (log.digest, &*log.replayed)),
            measurements: measurements.as_ref(),
            references: &references,
            last,
        };
        Ok((host.appraise(evidence, self.wall())?, version))
    }

    /// The values of the secrets asked for, after policy has said yes.
    async fn open_secrets(&self, request: &Request) -> Result<Vec<GrantedValue>, Refused> {
        let stage = request.step.stage;
        let mut values = Vec::with_capacity(request.secrets.len());
        for asked in &request.secrets {
            let missing = || Refused::NoSecret(format!("{stage}/{}", asked.name));
            let row = self.store.secret(stage, &asked.name).await?.ok_or_else(missing)?;
            if asked.usage == SecretUse::Http && row.destinations.is_empty() {
                return Err(Refused::NoDestination(format!("{stage}/{}", asked.name)));
            }
            let value =
                secrets::open(self.keys.root(), stage, &asked.name, row.version, &row.destinations, &row.sealed)
                    .map_err(|error| Refused::Grant(GrantError::Keys(error)))?;
            let (name, usage) = (asked.name.clone(), asked.usage);
            values.push(GrantedValue { name, version: row.version, usage, destinations: row.destinations, value });
        }
        Ok(values)
    }

    /// Says to the caller what was refused and why, and writes it down. A refusal that may be anybody's doing is
    /// written down with little of what was claimed, and not without end: see [`refusals`](crate::refusals).
    pub(crate) async fn refuse(&self, challenge: &Challenge, bytes: &[u8], refused: &Refused) -> Refusal {
        let report = refused.report();
        let now = self.wall();
        let request = Exchange::parse(bytes).ok().and_then(|exchange| Request::parse(exchange.request).ok());
        let mut entry = RefusedEntry {
            ak: challenge.ak.to_string(),
            report: &report,
            asked: None,
            claimed: None,
            runner: None,
            job: None,
            run_url: None,
            questions: None,
            policy_version: None,
            unrecorded_before: 0,
        };
        let known = match self.store.runner_by_key(&challenge.ak).await {
            Ok(known) => known.map(|row| row.runner.name),
            Err(error) => return error.into(),
        };
        // What its own quote vouches for is counted apart: nobody else can use that up. And what is an alarm for each job
        // and by itself: nobody hides a theft behind other refusals.
        let subject = match refused.alarm() {
            _ if !refused.after_quote() => entry.ak.to_string(),
            Some((kind, job)) => format!("{} {} {}", entry.ak, kind.as_str(), job.unwrap_or_default()),
            None => format!("{} itself", entry.ak),
        };
        match self.refusals.count(known.is_some().then_some(&*subject), now) {
            Recorded::No => return Refusal::of(&report),
            Recorded::Yes { unrecorded_before } => entry.unrecorded_before = unrecorded_before,
        }
        if known.is_none() {
            let unsaid = entry.unrecorded_before;
            tracing::warn!(code = %report.code, ak = %challenge.ak, what = %Escaped(&report.what), unsaid, "nobody's exchange refused");
            return Refusal::of(&report);
        }
        if refused.after_quote() {
            entry.asked = request.as_ref();
            entry.runner = known;
            // In a job, if it named its session.
            if let Some(session) = request.as_ref().and_then(|request| request.session.as_ref()) {
                match self.store.session(session).await {
                    Ok(Some(session)) => {
                        entry.run_url = Some(session.claims.run_url);
                        entry.job = Some((session.issuer, session.job));
                    }
                    Ok(None) => {}
                    Err(error) => return error.into(),
                }
            }
            if let Refused::Denied(Denied::Policy { all, policy_version, .. }) = refused {
                entry.questions = Some(Questions::of(all));
                entry.policy_version = Some(*policy_version);
            }
        } else {
            entry.claimed =
                request.as_ref().map(|request| Claimed { step: &request.step, component: &request.component });
        }
        tracing::warn!(code = %report.code, ak = %challenge.ak, what = %Escaped(&report.what), "exchange refused");
        let entry = match Entry::new(now, Kind::Refused, &entry) {
            Ok(entry) => entry,
            Err(error) => return error.into(),
        };
        let audit = entry.id.clone();
        let alarm = refused.alarm().map(|(kind, subject)| {
            let facts = serde_json::json!({ "ak": challenge.ak.to_string(), "code": report.code, "what": report.what, "facts": report.facts });
            Alarm::about(&entry, kind, subject.unwrap_or_else(|| challenge.ak.to_string()), facts)
        });
        match self.store.commit(RecordAlarm(entry, alarm)).await {
            Ok(()) => Refusal::recorded(&report, audit),
            Err(error) => {
                tracing::error!(%error, "a refusal could not be recorded");
                Refusal::of(&report)
            }
        }
    }
}

/// A secret that was granted, opened.
pub(crate) struct GrantedValue {
    pub(crate) name: SecretName,
    pub(crate) version: u64,
    pub(crate) usage: SecretUse,
    pub(crate) destinations: Destinations,
    pub(crate) value: SecretBytes,
}

/// Why an exchange, whose challenge was ours, gets no grant.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the nonce of this challenge has been used")]
    Replayed,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("no runner has this attestation key")]
    UnknownRunner,
    #[error(transparent)]
    Host(#[from] attest_appraisal::HostRefused),
    #[error(transparent)]
    Logs(#[from] LogsUnusable),
    #[error(transparent)]
    Job(#[from] JobRefused),
    #[error("the policy in force can't be used")]
    Policy(#[from] PolicyInForceError),
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Key(#[from] CertificationRefused),
    #[error(transparent)]
    Session(#[from] SessionRefused),
    #[error("this component has had {} in CI job {job}", if *most == 1 { "its lease".to_owned() } else { format!("its {most} leases") })]
    SecondLease { job: String, first: LeaseId, most: u32 },
    #[error("there is no secret `{0}`")]
    NoSecret(String),
    #[error("secret `{0}` may go nowhere: it has no destination")]
    NoDestination(String),
    #[error(transparent)]
    Token(#[from] MintRefused),
    #[error(transparent)]
    Grant(#[from] GrantError),
    #[error("what was concluded can't be written down: {0}")]
    Verdict(#[from] EarRefused),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Refused {
    /// Whether the quote had been verified when it was refused.
    const fn after_quote(&self) -> bool {
        match self {
            Self::Replayed | Self::Malformed(_) | Self::UnknownRunner => false,
            Self::Host(refused) => refused.after_quote(),
            Self::Logs(_) => true,
            // A store may refuse before the quote is looked at, and nothing is claimed by that.
            Self::Store(_) => false,
            Self::Job(_) | Self::Key(_) | Self::Session(_) | Self::SecondLease { .. } => true,
            Self::Policy(_)
            | Self::Denied(_)
            | Self::NoSecret(_)
            | Self::NoDestination(_)
            | Self::Token(_)
            | Self::Grant(_)
            | Self::Verdict(_) => true,
        }
    }
}

impl Refused {
    /// Whether it was decided by what has changed meanwhile.
    const fn is_stale(&self) -> bool {
        matches!(self, Self::Store(StoreError::Stale) | Self::Logs(LogsUnusable::Store(StoreError::Stale)))
    }

    /// Whether the agent sends by itself what is missing.
    const fn wants_more(&self) -> bool {
        matches!(
            self,
            Self::Logs(LogsUnusable::NotHere | LogsUnusable::Measurements(MeasurementsRefused::NotJoined { .. }))
        )
    }

    /// Whether somebody should look, and at what.
    fn alarm(&self) -> Option<(AlarmKind, Option<String>)> {
        match self {
            Self::Session(SessionRefused::RedeemedBefore { job } | SessionRefused::RedeemedHere { job }) => {
                Some((AlarmKind::SecondRedemption, Some(job.clone())))
            }
            Self::SecondLease { job, .. } => Some((AlarmKind::SecondLease, Some(job.clone()))),
            Self::Host(HostRefused::Continuity(_)) => Some((AlarmKind::TpmWentBack, None)),
            Self::Host(HostRefused::Quote(QuoteRefused::Binding { .. })) => Some((AlarmKind::BindingMismatch, None)),
            _ => None,
        }
    }
}

impl Explain for Refused {
    fn report(&self) -> Report {
        let report = |code, fault| Report::new(code, fault, self.to_string());
        match self {
            Self::Replayed => report("AR-X104", Fault::Identity)
                .hint("each exchange needs a challenge of its own. If nobody replays, a proxy sends requests twice"),
            Self::Malformed(malformed) => malformed_report(*malformed),
            Self::UnknownRunner => report("AR-X105", Fault::Identity)
                .hint("enroll this runner: `attest-run enroll --broker URL --token -`"),
            Self::Host(refused) => refused.report(),
            Self::Logs(unusable) => unusable.report(),
            Self::Job(refused) => refused.report(),
            Self::Key(refused) => refused.report(),
            Self::Session(refused) => refused.report(),
            Self::SecondLease { first, .. } => report("AR-J305", Fault::Identity).fact("first lease", first).hint(
                "a component gets one lease in a job. If the job runs it once only, another step of it ran it first: tell whoever runs the broker",
            ),
            Self::Policy(PolicyInForceError::None) => {
                Report::new("AR-P401", Fault::Refused, "no policy has been applied").hint(
                    "an admin applies one: `attest-broker policy apply FILE`. Without a policy nothing is released",
                )
            }
            Self::Policy(PolicyInForceError::Store(error)) | Self::Store(error) => Refusal::from(error.clone()).report,
            Self::Policy(error @ (PolicyInForceError::Policy(_) | PolicyInForceError::Crashed)) => {
                tracing::error!(%error, "the policy in force can't be used");
                report("AR-P404", Fault::Unreachable).hint("nothing was granted. The broker's log says what is wrong")
            }
            Self::Denied(denied) => denied.report(),
            Self::NoDestination(name) => report("AR-P409", Fault::Refused).hint(format!(
                "an admin says where it may go: `attest-broker secret destinations {} --stage {} --to https://HOST/PATH`",
                name.split_once('/').map_or("NAME", |(_, name)| name),
                name.split_once('/').map_or("STAGE", |(stage, _)| stage),
            )),
            Self::NoSecret(_) => report("AR-P403", Fault::Refused)
                .hint("an admin sets it: `attest-broker secret set NAME --stage STAGE`"),
            Self::Token(refused) => refused.report(),
            Self::Grant(error) => error.report(),
            Self::Verdict(_) => report("AR-X304", Fault::Bug),
        }
    }
}

fn malformed_report(malformed: Malformed) -> Report {
    Report::new("AR-X101", Fault::Identity, malformed.to_string())
        .fact("structure", malformed.structure)
        .fact("byte", malformed.offset)
        .hint("agent and broker of one version understand each other")
}

fn challenge_report(refused: ChallengeRefused) -> Report {
    match refused {
        ChallengeRefused::NotOurs => {
            Report::new("AR-X102", Fault::Identity, refused.to_string()).hint("is the agent enrolled with this broker?")
        }
        ChallengeRefused::Expired { expires, now } => Report::new("AR-X103", Fault::Identity, refused.to_string())
            .fact("expired", expires)
            .fact("broker's clock", now)
            .hint("try again; a quote must follow its challenge within a minute"),
    }
}

/// Commits a grant: its lease and its audit entry, if runner and policy are still what the decision saw.
struct RecordGrant {
    runner: RunnerRow,
    policy_version: i64,
    references_version: i64,
    session: Option<JobSessionId>,
    /// How many leases the component may have in the job.
    most: u32,
    lease: crate::store::LeaseRow,
    /// Where its TPM is now.
    clock: ClockInfo,
    entry: Entry,
}

impl Transaction for RecordGrant {
    /// The lease that the job's component has had before; then nothing was committed.
    type Output = Option<LeaseId>;

    async fn run(self, connection: &mut SqliteConnection) -> Result<Option<LeaseId>, StoreError> {
        let row = sqlx::query(
            "SELECT (SELECT state FROM runners WHERE id = ?), (SELECT coalesce(max(version), 0) FROM policies WHERE NOT waiting),
                    (SELECT coalesce(max(version), 0) FROM boot_references)",
        )
        .bind(self.runner.id)
        .fetch_one(&mut *connection)
        .await?;
        let state: Option<String> = row.get(0);
        let versions: (i64, i64) = (row.get(1), row.get(2));
        let unchanged = versions == (self.policy_version, self.references_version);
        if state.as_deref() != Some(self.runner.runner.state.as_str()) || !unchanged {
            return Err(StoreError::Stale);
        }
        let mut ordinal = 1;
        if let Some(session) = &self.session {
            // The session may have ended while the decision was made.
            let row = sqlx::query("SELECT 1 FROM job_sessions WHERE id = ? AND ended IS NULL")
                .bind(session.as_str())
                .fetch_optional(&mut *connection)
                .await?;
            if row.is_none() {
                return Err(StoreError::Stale);
            }
            if let Some((first, had)) = crate::store::lease_of(connection, session, &self.lease.component).await? {
                if had >= self.most {
                    return Ok(Some(first));
                }
                ordinal = had + 1;
            }
        }
        crate::store::remember(connection, self.runner.id, self.clock).await?;
        crate::store::insert_lease(connection, &self.lease, self.runner.id, self.session.as_ref(), ordinal).await?;
        record(connection, &self.entry).await?;
        Ok(None)
    }
}

/// What the audit log says of a grant.
struct GrantedEntry<'a> {
    grant: &'a Grant,
    host: &'a AppraisedHost,
    job: &'a VerifiedJob,
    decision: &'a Decision,
    request: &'a Request,
    verdict: &'a Ear,
    /// `TPMS_ATTEST` and `TPMT_SIGNATURE`: what the verdict rests on can be looked at once more.
    quote: (&'a [u8], &'a [u8]),
}

impl Serialize for GrantedEntry<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let body = self.grant.body();
        let names: Vec<_> = body.secrets.iter().map(|secret| (&secret.name, secret.version, secret.usage)).collect();
        let keys: Vec<_> = body.keys.iter().map(|key| (&key.name, key.public_key)).collect();
        let clock = self.host.quote().clock();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("runner", self.host.runner())?;
        map.serialize_entry("job", &self.job.job().map(|job| (&job.issuer, &job.key)))?;
        map.serialize_entry("run_url", &self.job.job().map(|job| &job.claims.run_url))?;
        map.serialize_entry("tpm_class", self.host.class().as_str())?;
        map.serialize_entry("isolation", &self.host.isolation())?;
        map.serialize_entry("boot_state", &self.host.quote().boot_pcrs().digest())?;
        map.serialize_entry("boot", &self.host.boot().map(|boot| boot.name()))?;
        map.serialize_entry("secure_boot", &self.host.secure_boot())?;
        map.serialize_entry("event_log", &self.host.event_log())?;
        map.serialize_entry("rebooted", &self.host.rebooted())?;
        let measured = self.host.measurements();
        map.serialize_entry("measurements", &measured.map(|all| (all.quoted.count, all.quoted.value, all.violations)))?;
        map.serialize_entry("tpm_clock", &(clock.clock, clock.reset_count, clock.restart_count, clock.safe))?;
        map.serialize_entry("bound", &body.bound)?;
        map.serialize_entry("lease", &body.lease)?;
        map.serialize_entry("expires", &body.expires)?;
        map.serialize_entry("request", self.request)?;
        map.serialize_entry("secrets", &names)?;
        map.serialize_entry("tokens", self.grant.minted())?;
        map.serialize_entry("keys", &keys)?;
        map.serialize_entry("policy_version", &self.decision.policy_version())?;
        map.serialize_entry("rules", self.decision.rules())?;
        map.serialize_entry("questions", &Questions::of(&questions(self.host, self.job, self.request)))?;
        let (message, signature) = self.quote;
        map.serialize_entry("quote", &(BASE64.encode(message), BASE64.encode(signature)))?;
        map.serialize_entry("ear", &self.verdict.to_value())?;
        map.end()
    }
}

/// What the audit log says of a refusal.
#[derive(Serialize)]
struct RefusedEntry<'a> {
    ak: String,
    report: &'a Report,
    /// What was asked, once a verified quote has vouched for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<&'a Request>,
    /// What was claimed before that, as far as it can be told; nobody vouches for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed: Option<Claimed<'a>>,
    /// Whose it was, once a verified quote has said so, and in which CI job.
    #[serde(skip_serializing_if = "Option::is_none")]
    runner: Option<RunnerName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_url: Option<String>,
    /// What policy was asked and said no to.
    #[serde(skip_serializing_if = "Option::is_none")]
    questions: Option<Questions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_version: Option<i64>,
    /// Refusals of this runner that went unrecorded before this one: there were too many.
    #[serde(skip_serializing_if = "is_zero")]
    unrecorded_before: u64,
}

#[derive(Serialize)]
struct Claimed<'a> {
    step: &'a StepIdentity,
    component: &'a Sha256Digest,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
