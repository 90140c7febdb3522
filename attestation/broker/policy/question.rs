//! A question to the policy: what is asked for, by whom, and what is known of them. In Rust, in JSON (the audit log), in
//! TOML (test cases) and in Cedar it has the same words: those of `schema.cedarschema`.

use super::groups::Groups;
use attest_appraisal::ci::JobClaims;
use attest_evidence::exchange::Origin;
use attest_evidence::name::{KeyName, SecretName, Stage};
use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request as CedarRequest, RestrictedExpression,
    Schema,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::str::FromStr;

/// What may be done, as the schema names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// See the bytes of a secret.
    Reveal,
    /// Have the host put a secret into a request; have a directory.
    Use,
    /// Sign with a key.
    Sign,
    /// Have a symmetric key derived.
    Derive,
    /// Have a token minted.
    Mint,
    /// Send requests.
    Send,
}

/// What it is done to: kinds of resources, as the schema names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A secret.
    Secret,
    /// A key.
    Key,
    /// A directory.
    Directory,
    /// An audience of tokens.
    Audience,
    /// A destination of requests.
    Destination,
}

impl Action {
    /// Every action, with every kind that it may be done to.
    pub const ALL: [(Self, Kind); 7] = [
        (Self::Reveal, Kind::Secret),
        (Self::Use, Kind::Secret),
        (Self::Use, Kind::Directory),
        (Self::Sign, Kind::Key),
        (Self::Derive, Kind::Key),
        (Self::Mint, Kind::Audience),
        (Self::Send, Kind::Destination),
    ];

    /// As text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reveal => "reveal",
            Self::Use => "use",
            Self::Sign => "sign",
            Self::Derive => "derive",
            Self::Mint => "mint",
            Self::Send => "send",
        }
    }
}

impl Kind {
    /// The name of its entities.
    pub const fn entity(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::Key => "Key",
            Self::Directory => "Directory",
            Self::Audience => "Audience",
            Self::Destination => "Destination",
        }
    }

    /// As text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Key => "key",
            Self::Directory => "directory",
            Self::Audience => "audience",
            Self::Destination => "destination",
        }
    }
}

/// `ACTION KIND STAGE/NAME`: what is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Asked {
    /// What shall be done.
    pub action: Action,
    /// What to.
    pub kind: Kind,
    /// Of which stage.
    pub stage: Stage,
    /// Its name within the stage.
    pub name: String,
}

impl Asked {
    /// `STAGE/NAME`.
    pub fn resource(&self) -> String {
        format!("{}/{}", self.stage, self.name)
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} {}", self.action.as_str(), self.kind.as_str(), self.resource())
    }
}

impl From<Asked> for String {
    fn from(asked: Asked) -> Self {
        asked.to_string()
    }
}

impl TryFrom<String> for Asked {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted =
            || format!("`{text}` is no question: `ACTION KIND STAGE/NAME` is wanted, as in `sign key prod/release`");
        let mut words = text.split(' ');
        let (Some(action), Some(kind), Some(resource), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(wanted());
        };
        let (action, kind) = Action::ALL
            .into_iter()
            .find(|(known, of)| known.as_str() == action && of.as_str() == kind)
            .ok_or_else(wanted)?;
        let (stage, name) = resource.split_once('/').ok_or_else(wanted)?;
        let stage = stage.parse().map_err(|_| wanted())?;
        let checked = match kind {
            Kind::Secret | Kind::Audience => name.parse::<SecretName>().map(drop),
            Kind::Key | Kind::Directory => name.parse::<KeyName>().map(drop),
            Kind::Destination => {
                return match Origin::try_from(name.to_owned()) {
                    Ok(_) => Ok(Self { action, kind, stage, name: name.to_owned() }),
                    Err(error) => Err(format!("{}: {error}", wanted())),
                };
            }
        };
        checked.map_err(|error| format!("{}: {error}", wanted()))?;
        Ok(Self { action, kind, stage, name: name.to_owned() })
    }
}

/// What was proved. Absent is empty, and an empty proof is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Measured {
    /// The runner's name.
    pub runner: String,
    /// The class of its TPM.
    pub tpm_class: String,
    /// How its agent is separated from the jobs, as an admin approved it.
    pub isolation: String,
    /// SHA-256 over the quoted PCRs, hexadecimal.
    pub boot_state: String,
    /// The name of the reference values that what it booted fits; empty where no admin has said what it may boot.
    pub boot: String,
    /// `on` or `off`, by its event log; empty where that says nothing of it that was measured.
    pub secure_boot: String,
    /// `approved` or `measured`, by what its kernel measured; empty where nothing is known of that.
    pub executables: String,
    /// `none` or `some`: whether files could not be measured reliably; empty where nothing is known of that.
    pub violations: String,
    /// SHA-256 of the component, hexadecimal.
    pub component: String,
    /// SHA-256 of its manifest, hexadecimal.
    pub manifest: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The CI job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<CiJob>,
}

/// What the CI system says of its job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the words are the schema's, and explained there")]
pub struct CiJob {
    pub issuer: String,
    /// The issuer's ids for this one execution.
    pub key: String,
    pub repository_id: String,
    pub owner_id: String,
    pub run_id: String,
    pub exact: bool,
    pub event: String,
    pub git_ref: String,
    pub ref_protected: bool,
    pub workflow_ref: String,
    pub job_workflow_ref: String,
    pub commit: String,
    pub environment: String,
    pub runner_environment: String,
    pub actor_id: String,
    pub repository: String,
}

impl CiJob {
    /// The job of these claims.
    pub fn of(issuer: &str, key: &str, claims: &JobClaims) -> Self {
        let JobClaims {
            repository_id,
            owner_id,
            run_id,
            exact,
            event,
            git_ref,
            ref_protected,
            workflow_ref,
            job_workflow_ref,
            commit,
            environment,
            runner_environment,
            actor_id,
            repository,
            run_url: _,
        } = claims.clone();
        Self {
            issuer: issuer.to_owned(),
            key: key.to_owned(),
            repository_id,
            owner_id,
            run_id,
            exact,
            event,
            git_ref,
            ref_protected,
            workflow_ref,
            job_workflow_ref,
            commit,
            environment,
            runner_environment,
            actor_id,
            repository,
        }
    }

    fn texts(&self) -> [(&'static str, &str); 13] {
        [
            ("issuer", &self.issuer),
            ("repository_id", &self.repository_id),
            ("owner_id", &self.owner_id),
            ("run_id", &self.run_id),
            ("event", &self.event),
            ("git_ref", &self.git_ref),
            ("workflow_ref", &self.workflow_ref),
            ("job_workflow_ref", &self.job_workflow_ref),
            ("commit", &self.commit),
            ("environment", &self.environment),
            ("runner_environment", &self.runner_environment),
            ("actor_id", &self.actor_id),
            ("repository", &self.repository),
        ]
    }
}

impl Measured {
    /// What is text in it, by the schema's words.
    fn texts(&self) -> [(&'static str, &str); 10] {
        [
            ("runner", &self.runner),
            ("tpm_class", &self.tpm_class),
            ("isolation", &self.isolation),
            ("boot_state", &self.boot_state),
            ("boot", &self.boot),
            ("secure_boot", &self.secure_boot),
            ("executables", &self.executables),
            ("violations", &self.violations),
            ("component", &self.component),
            ("manifest", &self.manifest),
        ]
    }
}

/// What was merely said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Claimed {
    /// What the manifest calls the step.
    pub step: String,
    /// Why it asks.
    pub why: String,
}

/// A question to the policy. It proves nothing by itself: [`Decision::ask`](super::Decision::ask) makes it of what was
/// appraised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// What is asked for.
    pub ask: Asked,
    /// What was proved.
    #[serde(default)]
    pub measured: Measured,
    /// What was said.
    #[serde(default)]
    pub claimed: Claimed,
    /// In which formats it shall sign.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub formats: BTreeSet<String>,
    /// Whether the TPM uses the key only by the broker's signature, for a key that shall sign.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leased: bool,
    /// `read` or `write`, for a directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Whether it may lie in a private network, for a destination.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
}

/// All that one request was asked about, as the audit log keeps it: what was measured stands there once, and the
/// arguments stand in the request beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Questions {
    measured: Measured,
    step: String,
    asked: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    ask: Asked,
    why: String,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    formats: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    leased: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    private: bool,
}

impl Questions {
    /// The questions of one request.
    pub fn of(questions: &[Question]) -> Self {
        let first = questions.first();
        let measured = first.map(|first| Measured { arguments: Vec::new(), ..first.measured.clone() });
        let asked = questions.iter().map(|question| Part {
            ask: question.ask.clone(),
            why: question.claimed.why.clone(),
            formats: question.formats.clone(),
            leased: question.leased,
            mode: question.mode.clone(),
            private: question.private,
        });
        Self {
            measured: measured.unwrap_or_default(),
            step: first.map(|first| first.claimed.step.clone()).unwrap_or_default(),
            asked: asked.collect(),
        }
    }

    /// The same with the arguments of the request.
    pub fn with_arguments(self, arguments: &[String]) -> Vec<Question> {
        let Self { measured, step, asked } = self;
        let measured = Measured { arguments: arguments.to_vec(), ..measured };
        let whole = |Part { ask, why, formats, leased, mode, private }| Question {
            ask,
            measured: measured.clone(),
            claimed: Claimed { step: step.clone(), why },
            formats,
            leased,
            mode,
            private,
        };
        asked.into_iter().map(whole).collect()
    }
}

/// A question as Cedar asks it.
pub(super) struct Prepared {
    pub(super) request: CedarRequest,
    pub(super) entities: Entities,
    /// The resource, and everything that it is in.
    pub(super) resource: Vec<EntityUid>,
    /// The step, and everything that it is in.
    pub(super) principal: Vec<EntityUid>,
}

/// An entity's name.
pub(super) fn uid(kind: &str, id: &str) -> Result<EntityUid, String> {
    let kind: EntityTypeName = kind.parse().map_err(|error: cedar_policy::ParseErrors| error.to_string())?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn record(fields: Vec<(&'static str, RestrictedExpression)>) -> Result<RestrictedExpression, String> {
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
    RestrictedExpression::new_record(fields).map_err(|error| error.to_string())
}

impl Question {
    /// The question for Cedar. `schema`, if it is given, is held against it: what this function makes of a question always
    /// fits, so that only tests ask for that.
    pub(super) fn prepare(&self, groups: &Groups, schema: Option<&Schema>) -> Result<Prepared, String> {
        let Measured { runner, component, arguments, job, .. } = &self.measured;
        let mut measured: Vec<_> = self.measured.texts().into_iter().map(|(name, value)| (name, text(value))).collect();
        let arguments = RestrictedExpression::new_set(arguments.iter().map(|argument| text(argument)));
        measured.push(("arguments", arguments));
        if let Some(job) = job {
            let mut fields: Vec<_> = job.texts().into_iter().map(|(name, value)| (name, text(value))).collect();
            fields.push(("exact", RestrictedExpression::new_bool(job.exact)));
            fields.push(("ref_protected", RestrictedExpression::new_bool(job.ref_protected)));
            measured.push(("job", record(fields)?));
        }
        let claimed = vec![("step", text(&self.claimed.step)), ("why", text(&self.claimed.why))];
        let mut context = vec![("measured".to_owned(), record(measured)?), ("claimed".to_owned(), record(claimed)?)];
        if self.ask.action == Action::Sign {
            let formats = self.formats.iter().map(|format| text(format));
            context.push(("formats".to_owned(), RestrictedExpression::new_set(formats)));
            context.push(("leased".to_owned(), RestrictedExpression::new_bool(self.leased)));
        }
        if self.ask.action == Action::Send {
            context.push(("private".to_owned(), RestrictedExpression::new_bool(self.private)));
        }
        if let Some(mode) = &self.mode {
            context.push(("mode".to_owned(), text(mode)));
        }
        let context = Context::from_pairs(context).map_err(|error| error.to_string())?;

        let stage = uid("Stage", self.ask.stage.as_str())?;
        let mut entities = Vec::with_capacity(8);
        let mut add = |uid: EntityUid, parents: &[&[EntityUid]]| {
            let mut all: Vec<EntityUid> = parents.concat();
            all.extend_from_slice(groups.of(&uid));
            entities.push(Entity::new_no_attrs(uid.clone(), all.iter().cloned().collect::<HashSet<_>>()));
            all.insert(0, uid);
            all
        };
        let runner = add(uid("Runner", runner)?, &[]);
        let stage = add(stage, &[]);
        let job = match job {
            Some(job) => {
                let of = |id: &str| format!("{}#{id}", job.issuer);
                let owner = add(uid("Owner", &of(&job.owner_id))?, &[]);
                let repository = add(uid("Repository", &of(&job.repository_id))?, &[&owner]);
                add(uid("Job", &of(&job.key))?, &[&repository])
            }
            None => Vec::new(),
        };
        let principal = add(uid("Step", component)?, &[&runner, &job, &stage]);
        let resource = add(uid(self.ask.kind.entity(), &self.ask.resource())?, &[&stage]);
        let action = uid("Action", self.ask.action.as_str())?;
        // Every entity has all that it is in as a parent: there is nothing left to close over.
        let entities = Entities::from_entities(entities, schema).map_err(|error| error.to_string())?;
        let (Some(step), Some(asked)) = (principal.first().cloned(), resource.first().cloned()) else {
            return Err("a question has a step and a resource".to_owned());
        };
        let request = CedarRequest::new(step, action, asked, context, schema).map_err(|error| error.to_string())?;
        Ok(Prepared { request, entities, resource, principal })
    }

    /// The value of `context.…` as text, if it is there.
    pub(super) fn value(&self, path: &[&str]) -> Option<String> {
        let list =
            |values: &mut dyn Iterator<Item = &String>| format!("[{}]", values.cloned().collect::<Vec<_>>().join(", "));
        match path {
            ["claimed", "step"] => Some(self.claimed.step.clone()),
            ["claimed", "why"] => Some(self.claimed.why.clone()),
            ["formats"] => Some(list(&mut self.formats.iter())),
            ["leased"] => Some(self.leased.to_string()),
            ["mode"] => self.mode.clone(),
            ["private"] => Some(self.private.to_string()),
            ["measured", "arguments"] => Some(list(&mut self.measured.arguments.iter())),
            ["measured", "job"] => self.measured.job.as_ref().map(|job| job.key.clone()),
            ["measured", "job", "exact"] => self.measured.job.as_ref().map(|job| job.exact.to_string()),
            ["measured", "job", "ref_protected"] => self.measured.job.as_ref().map(|job| job.ref_protected.to_string()),
            ["measured", "job", name] => {
                let texts = self.measured.job.as_ref()?.texts();
                texts.iter().find(|(known, _)| known == name).map(|(_, value)| (*value).to_owned())
            }
            ["measured", name] => {
                let texts = self.measured.texts();
                texts.iter().find(|(known, _)| known == name).map(|(_, value)| (*value).to_owned())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(in super::super) fn full(ask: &str) -> Question {
        let job = CiJob { issuer: "https://issuer.example".into(), repository_id: "74".into(), ..CiJob::default() };
        let ask: Asked = ask.parse().unwrap();
        Question {
            mode: (ask.kind == Kind::Directory).then(|| "read".to_owned()),
            ask,
            measured: Measured {
                runner: "r".into(),
                arguments: vec!["a".into()],
                job: Some(job),
                ..Measured::default()
            },
            claimed: Claimed::default(),
            formats: BTreeSet::from(["raw".to_owned()]),
            leased: true,
            private: false,
        }
    }

    #[test]
    fn every_question_fits_the_schema_with_a_job_and_without() {
        let schema = super::super::schema().unwrap();
        let groups = Groups::parse(
            r#"[{"uid": {"type": "Runner", "id": "r"}, "attrs": {}, "parents": [{"type": "RunnerGroup", "id": "g"}]}]"#,
        )
        .unwrap();
        for (action, kind) in Action::ALL {
            let name = if kind == Kind::Destination { "https://example.com" } else { "name" };
            let mut question = full(&format!("{} {} prod/{name}", action.as_str(), kind.as_str()));
            let prepared = question.prepare(&groups, Some(schema)).unwrap();
            assert!(prepared.principal.iter().any(|uid| uid.to_string() == "RunnerGroup::\"g\""));
            assert!(
                prepared.principal.iter().any(|uid| uid.to_string() == "Repository::\"https://issuer.example#74\"")
            );
            question.measured.job = None;
            question.prepare(&groups, Some(schema)).unwrap();
        }
    }

    #[test]
    fn what_is_asked_for_has_one_spelling() {
        for text in [
            "sign key prod/release",
            "reveal secret dev/a/b",
            "use directory staging/dist",
            "mint audience prod/release/sts",
            "send destination dev/https://example.com",
        ] {
            assert_eq!(text.parse::<Asked>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "sign key",
            "sign secret prod/a",
            "sing key prod/a",
            "sign key production/a",
            "sign key prod/",
            "sign  key prod/a",
            "sign key prod/A",
            "reveal secret prod/a/../b",
            "use directory prod/*",
            "mint audience prod/https://sts.example",
            "use audience prod/sts",
            "send destination dev/example.com",
            "send destination dev/https://Example.com",
        ] {
            assert!(text.parse::<Asked>().is_err(), "{text}");
        }
    }
}
