//! Putting a policy in force, alone or by two.

use super::files::PolicyFiles;
use crate::admin::state::{State, admin_act, admin_entry};
use crate::admin::{Global, print, who};
use crate::policy::{DEVELOPMENT, POLICY_APPLY, POLICY_APPROVE};
use crate::store::{ApplyPolicy, ApprovePolicy, Approved, Store};
use attest_evidence::Sha256Digest;
use attest_evidence::report::{Explain as _, Fault, Report};
use serde_json::json;

/// Applies the policy of a new broker.
pub(in crate::admin) async fn apply_development(store: &Store) -> Result<(), Report> {
    let audit = admin_entry(POLICY_APPLY, &("development", Sha256Digest::of(DEVELOPMENT.as_bytes())))?;
    let (text, entities) = (DEVELOPMENT.to_owned(), String::new());
    let apply = ApplyPolicy { text, entities, two_persons: Some(false), by: who::admin(), audit };
    store.commit(apply).await.map(drop).map_err(|error| error.report())
}

pub(super) async fn apply(
    global: &Global,
    state: &State,
    files: &PolicyFiles,
    two_persons: Option<bool>,
) -> Result<(), Report> {
    let (policy, texts) = files.compile()?;
    let by = who::admin();
    let store = state.store().await?;
    let version = store.policy_version().await.map_err(|error| error.report())?;
    let in_force = store.policy(version).await.map_err(|error| error.report())?;
    let two = two_persons.unwrap_or(in_force.is_some_and(|row| row.two_persons));
    policy.check_admins(&by, two, who::exists).map_err(|error| error.report())?;
    let digests = (Sha256Digest::of(texts.policy.as_bytes()), Sha256Digest::of(texts.entities.as_bytes()));
    let audit = admin_act(&store, POLICY_APPLY, &(files.policy.display().to_string(), digests, two_persons)).await?;
    let apply = ApplyPolicy { text: texts.policy, entities: texts.entities, two_persons, by, audit };
    let applied = store.commit(apply).await.map_err(|error| error.report())?;
    let version = applied.version;
    if applied.waiting {
        narrate!("version {version} waits for a second person: `attest-broker policy approve {version}`");
    } else {
        narrate!("version {version} is in force");
    }
    if applied.two_persons {
        narrate!("changes to it need two persons");
    }
    let data = json!({ "version": version, "waiting": applied.waiting, "two_persons": applied.two_persons });
    print(global, "attest-run/policy-applied/v1", &data, String::new);
    Ok(())
}

pub(super) async fn approve(global: &Global, state: &State, version: i64) -> Result<(), Report> {
    let store = state.store().await?;
    let by = who::admin();
    let audit = admin_act(&store, POLICY_APPROVE, &version).await?;
    let approve = ApprovePolicy { version, by: by.clone(), audit };
    let refused = |what: String| Report::new("AR-P117", Fault::Refused, what).fact("version", version);
    match store.commit(approve).await.map_err(|error| error.report())? {
        Approved::Yes { two_persons: true } => narrate!("changes to it need two persons"),
        Approved::Yes { two_persons: false } => narrate!("changes to it need one person from now on"),
        Approved::NotWaiting => return Err(refused("this version waits for nobody".to_owned())),
        Approved::SamePerson => {
            return Err(refused("whoever applied it can't be the second person".to_owned())
                .fact("both times", by)
                .hint("somebody else who may administer the broker approves it"));
        }
        Approved::Overtaken(newest) => {
            return Err(refused("a newer version has been put in force since".to_owned())
                .fact("in force", newest)
                .hint("apply it once more, on top of that one"));
        }
    }
    narrate!("version {version} is in force");
    print(global, "attest-run/policy-approved/v1", &json!({ "version": version }), String::new);
    Ok(())
}
