//! `lease`: what steps hold, and taking it away.

mod ledger;

use super::state::{State, admin_entry};
use super::{Global, print, utc};
use crate::store::{LeaseFilter, ListedLease, RevokeLeases, StoreError};
use attest_appraisal::ear::Ear;
use attest_evidence::Sha256Digest;
use attest_evidence::exchange::Ledger;
use attest_evidence::name::{KeyName, LeaseId, RunnerName, SecretName, Stage};
use attest_evidence::report::{Explain as _, Fault, Report};
use attest_evidence::time::{Clock as _, SystemClock};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

#[derive(Debug, Subcommand)]
pub(super) enum Lease {
    /// List the leases that steps hold now
    List {
        /// Those that have ended, too
        #[arg(long)]
        all: bool,
    },
    /// Show what was granted, to whom, and why
    Show {
        /// A lease's id, or the audit id that a step's log names
        id: String,
    },
    /// Show what a step declared, was granted, and did with it: secrets, keys, requests, files. Vouched for by its runner's quote
    Ledger {
        /// A lease's id, or the audit id that a step's log names
        id: String,
    },
    /// Print what was concluded of machine, job and step, signed: an attestation result (EAR) that others can verify
    Verdict {
        /// A lease's id, or the audit id that a step's log names
        id: String,
    },
    /// End leases. Their steps are stopped within a second
    Revoke {
        #[command(flatten)]
        which: Which,
    },
}

/// Which leases. Given together, they all have to fit.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct Which {
    /// This one
    lease: Option<LeaseId>,
    /// All of this runner
    #[arg(long, value_name = "NAME")]
    runner: Option<RunnerName>,
    /// All of this CI job, by the ids that `lease list` shows
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
    /// All of this component
    #[arg(long, value_name = "SHA256")]
    component: Option<Sha256Digest>,
    /// All that hold this secret
    #[arg(long, value_name = "STAGE/NAME", value_parser = staged::<SecretName>)]
    secret: Option<String>,
    /// All that hold this key
    #[arg(long, value_name = "STAGE/NAME", value_parser = staged::<KeyName>)]
    key: Option<String>,
    /// All that hold a token for this audience. Tokens stay good until they expire: ten minutes at most
    #[arg(long, value_name = "STAGE/NAME", value_parser = staged::<SecretName>)]
    token: Option<String>,
    /// All of them
    #[arg(long, conflicts_with_all = ["lease", "runner", "job", "component", "secret", "key", "token"])]
    all: bool,
}

/// `STAGE/NAME`, each part a name.
fn staged<N: std::str::FromStr<Err = attest_evidence::name::BadName>>(text: &str) -> Result<String, String> {
    let (stage, name) = text.split_once('/').ok_or("STAGE/NAME is wanted")?;
    stage.parse::<Stage>().map_err(|error| error.to_string())?;
    name.parse::<N>().map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

#[derive(Serialize)]
struct Listing {
    leases: Vec<ListedLease>,
}

/// How it is, or has ended, and what its end showed of the machine.
fn state_of(lease: &ListedLease) -> String {
    match lease.closing.as_deref() {
        None => lease.state.clone(),
        Some("same") => format!("{} on the same machine state", lease.state),
        Some("not-shown") => format!("{}, machine state not shown", lease.state),
        Some("not-allowed") => format!("{} on a machine state that is not allowed any more", lease.state),
        Some("changed") => format!("{}, machine state CHANGED", lease.state),
        Some("rebooted") => format!("{}, machine REBOOTED", lease.state),
        Some(other) => format!("{}, machine state {}", lease.state, other.to_uppercase()),
    }
}

impl Lease {
    pub(super) async fn run(self, global: &Global) -> Result<(), Report> {
        let state = State::of(global)?;
        let store = state.store().await?;
        match self {
            Self::List { all } => {
                let leases = store.leases(!all).await.map_err(|error| error.report())?;
                let listing = Listing { leases };
                print(global, "attest-run/leases/v1", &listing, || {
                    let line = |lease: &ListedLease| {
                        let job = lease.job.as_deref().unwrap_or("-");
                        let holds = if lease.holds.is_empty() { "nothing".to_owned() } else { lease.holds.join(", ") };
                        format!(
                            "{}  {}  {}  {}/{}  job {job}  component {}  until {}  holds {holds}\n",
                            lease.id,
                            state_of(lease),
                            lease.runner,
                            lease.stage,
                            lease.step,
                            lease.component,
                            utc(lease.expires)
                        )
                    };
                    listing.leases.iter().map(line).collect()
                });
            }
            Self::Show { id } => {
                let entries = store.lease_entries(&id).await.map_err(|error| error.report())?;
                if entries.is_empty() {
                    return Err(Report::new("AR-B305", Fault::Refused, format!("there is no lease `{id}`")));
                }
                print(global, "attest-run/lease/v1", &json!({ "entries": entries }), || {
                    let pretty = |entry| serde_json::to_string_pretty(entry).unwrap_or_default() + "\n";
                    entries.iter().map(pretty).collect()
                });
            }
            Self::Ledger { id } => {
                let entries = store.lease_entries(&id).await.map_err(|error| error.report())?;
                let end = entries.iter().map(|entry| &entry["body"]).find(|body| body["ledger"].is_object());
                let end = end.ok_or_else(|| {
                    Report::new("AR-B305", Fault::Refused, format!("there is no ledger of a lease `{id}`")).hint(
                        "a ledger comes with the end of a lease: one that is still held has none, and one that nobody could tell of",
                    )
                })?;
                let text = end["ledger"].to_string();
                let ledger = Ledger::parse(text.as_bytes()).map_err(|_| StoreError::Row("ledger").report())?;
                let shown = json!({ "ledger": ledger, "unused": ledger.unused(), "vouched": end["vouched"] });
                print(global, "attest-run/ledger/v1", &shown, || ledger::in_words(&ledger));
            }
            Self::Verdict { id } => {
                let entries = store.lease_entries(&id).await.map_err(|error| error.report())?;
                let claims = entries.iter().find_map(|entry| entry["body"].get("ear"));
                let none = || {
                    Report::new("AR-B305", Fault::Refused, format!("there is no verdict on a lease `{id}`"))
                        .hint("`attest-broker lease list --all` shows leases. What was refused has none")
                };
                let claims = claims.ok_or_else(none)?.to_string();
                let verdict = Ear::parse(claims.as_bytes()).map_err(|_| StoreError::Row("verdict").report())?;
                // What was concluded was concluded then. What became of the lease stands beside it.
                let leases = store.leases(false).await.map_err(|error| error.report())?;
                let lease = leases.into_iter().find(|lease| lease.id == id || lease.audit == id);
                let now = lease.map(|lease| [("state", Some(lease.state)), ("machine", lease.closing)]);
                let now = now.into_iter().flatten().map(|(name, value)| (name.to_owned(), value.into())).collect();
                let verdict = verdict.with_extension("ear_attest_run_lease", now);
                let verdict = verdict.map_err(|_| StoreError::Row("verdict").report())?;
                let keys = state.keys(&store).await?;
                let (token, key) = (keys.sign_verdict(&verdict), keys.verdict_key());
                print(global, "attest-run/verdict/v1", &json!({ "ear": token, "key": key }), || token.clone() + "\n");
            }
            Self::Revoke { which } => {
                let everything = which.all;
                let filter = LeaseFilter {
                    lease: which.lease,
                    runner: which.runner,
                    job: which.job,
                    component: which.component,
                    secret: which.secret,
                    key: which.key,
                    token: which.token,
                };
                let audit = admin_entry("lease revoke", &filter)?;
                let revoke = RevokeLeases { filter, at: SystemClock.now(), audit };
                let revoked = store.commit(revoke).await.map_err(|error| error.report())?;
                if revoked.is_empty() && !everything {
                    return Err(Report::new("AR-B015", Fault::Refused, "no lease that is held fits")
                        .hint("`attest-broker lease list` shows those that are held"));
                }
                for lease in &revoked {
                    narrate!("{lease} is revoked");
                }
                print(global, "attest-run/leases-revoked/v1", &json!({ "revoked": revoked }), String::new);
            }
        }
        Ok(())
    }
}
