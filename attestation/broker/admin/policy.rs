//! `policy`: tried before it counts.

mod apply;
mod explain;
mod files;
mod trying;

pub(super) use apply::apply_development;

use super::Global;
use super::print;
use super::state::State;
use attest_evidence::report::{Explain as _, Fault, Report};
use clap::Subcommand;
use files::PolicyFiles;
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Check a policy: syntax, types against the schema, and that each rule is safe and reached
    Check {
        #[command(flatten)]
        files: PolicyFiles,
    },
    /// Try a policy with cases whose answers are known
    Test {
        #[command(flatten)]
        files: PolicyFiles,
        /// The cases, TOML
        cases: PathBuf,
    },
    /// Say which known requests would be answered otherwise than by the policy in force
    Diff {
        #[command(flatten)]
        files: PolicyFiles,
        /// How many of the newest requests in the audit log are tried
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        most: u32,
    },
    /// Say why a request was granted or refused: every rule about it, what each wants, and what it got
    Explain {
        /// The audit id or the lease that the step's log names
        id: String,
        /// By the policy in force now, not by the one that was in force then
        #[arg(long)]
        now: bool,
    },
    /// Check a policy and put it in force
    Apply {
        #[command(flatten)]
        files: PolicyFiles,
        /// From then on, changes need a second person: `policy approve`
        #[arg(long)]
        two_persons: bool,
        /// From then on, they don't any more
        #[arg(long, conflicts_with = "two_persons")]
        one_person: bool,
    },
    /// Put a policy in force that waits for a second person
    Approve {
        /// Its version, as `policy apply` said
        version: i64,
    },
    /// Print the schema that policies are checked against
    Schema,
    /// Print the policy in force, or another version
    Show {
        /// Its version
        version: Option<i64>,
    },
}

impl Policy {
    pub(super) async fn run(self, global: &Global) -> Result<(), Report> {
        match self {
            Self::Check { files } => {
                let (policy, _) = files.compile()?;
                narrate!("{} is a policy of {} rules", files.policy.display(), policy.rules());
                let checked = json!({ "rules": policy.rules(), "entities": policy.entities() });
                print(global, "attest-run/policy-checked/v1", &checked, String::new);
                Ok(())
            }
            Self::Test { files, cases } => trying::test(global, &files, &cases),
            Self::Diff { files, most } => trying::diff(global, &State::of(global)?, &files, most).await,
            Self::Explain { id, now } => explain::explain(global, &State::of(global)?, &id, now).await,
            Self::Apply { files, two_persons, one_person } => {
                let two_persons = if one_person { Some(false) } else { two_persons.then_some(true) };
                apply::apply(global, &State::of(global)?, &files, two_persons).await
            }
            Self::Approve { version } => apply::approve(global, &State::of(global)?, version).await,
            Self::Schema => {
                print(global, "attest-run/policy-schema/v1", &json!({ "text": crate::policy::SCHEMA }), || {
                    crate::policy::SCHEMA.to_owned()
                });
                Ok(())
            }
            Self::Show { version } => show(global, &State::of(global)?, version).await,
        }
    }
}

async fn show(global: &Global, state: &State, version: Option<i64>) -> Result<(), Report> {
    let store = state.store().await?;
    let in_force = store.policy_version().await.map_err(|error| error.report())?;
    let version = version.unwrap_or(in_force);
    let row = store.policy(version).await.map_err(|error| error.report())?;
    let row =
        row.ok_or_else(|| Report::new("AR-B305", Fault::Refused, format!("there is no policy version `{version}`")))?;
    let data = json!({
        "version": version, "in_force": version == in_force, "waiting": row.waiting, "two_persons": row.two_persons,
        "applied_by": row.applied_by, "approved_by": row.approved_by, "text": row.text, "entities": row.entities,
    });
    print(global, "attest-run/policy/v1", &data, || row.text.clone());
    let what = if row.waiting {
        "waits for a second person"
    } else if version == in_force {
        "is in force"
    } else {
        "was in force once"
    };
    if !row.entities.is_empty() {
        narrate!("it has entities, too: `--json` shows them");
    }
    if row.two_persons {
        narrate!("changes to it need two persons");
    }
    narrate!("version {version} {what}; applied by {}", row.applied_by);
    Ok(())
}
