//! `policy`: checked before it counts.

use super::state::{State, admin_entry};
use super::{Global, print};
use crate::policy::{LONGEST_POLICY, Policy as Compiled};
use crate::store::{ApplyPolicy, Store};
use attest_evidence::Sha256Digest;
use attest_evidence::report::{Explain as _, Fault, Report};
use clap::Subcommand;
use serde_json::json;
use std::io::Read as _;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Check a policy: syntax, types against the schema, and that it allows something
    Check {
        /// Cedar text
        file: PathBuf,
    },
    /// Check a policy and put it in force
    Apply {
        /// Cedar text
        file: PathBuf,
    },
    /// Print the schema that policies are checked against
    Schema,
    /// Print the policy in force
    Show,
}

impl Policy {
    pub(super) async fn run(self, global: &Global) -> Result<(), Report> {
        match self {
            Self::Check { file } => {
                let policy = Compiled::compile(0, &read(&file)?).map_err(|error| at(&file, error.report()))?;
                narrate!("{} is a policy of {} rules", file.display(), policy.rules());
                print(global, "attest-run/policy-checked/v1", &json!({ "rules": policy.rules() }), String::new);
            }
            Self::Apply { file } => {
                let text = read(&file)?;
                Compiled::compile(0, &text).map_err(|error| at(&file, error.report()))?;
                let store = State::of(global)?.store().await?;
                let version = apply(&store, &text, &file.display().to_string()).await?;
                narrate!("version {version} is in force");
                print(global, "attest-run/policy-applied/v1", &json!({ "version": version }), String::new);
            }
            Self::Schema => {
                print(global, "attest-run/policy-schema/v1", &json!({ "text": crate::policy::SCHEMA }), || {
                    crate::policy::SCHEMA.to_owned()
                });
            }
            Self::Show => {
                let store = State::of(global)?.store().await?;
                let version = store.policy_version().await.map_err(|error| error.report())?;
                let row = store.policy(version).await.map_err(|error| error.report())?;
                let text = row.map(|row| row.text).unwrap_or_default();
                print(global, "attest-run/policy/v1", &json!({ "version": version, "text": text }), || text.clone());
                narrate!("version {version}");
            }
        }
        Ok(())
    }
}

/// Puts a policy in force that has been checked.
pub(super) async fn apply(store: &Store, text: &str, from: &str) -> Result<i64, Report> {
    let audit = admin_entry("policy apply", &(from, Sha256Digest::of(text.as_bytes())))?;
    store.commit(ApplyPolicy { text: text.to_owned(), audit }).await.map_err(|error| error.report())
}

fn read(file: &Path) -> Result<String, Report> {
    let limit = u64::try_from(LONGEST_POLICY + 1).unwrap_or(u64::MAX);
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|file| file.take(limit).read_to_string(&mut text))
        .map_err(|error| Report::new("AR-P106", Fault::Usage, format!("can't read {}: {error}", file.display())))?;
    Ok(text)
}

fn at(file: &Path, mut report: Report) -> Report {
    report.what = format!("{}: {}", file.display(), report.what);
    report
}
