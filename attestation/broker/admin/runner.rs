//! `runner`: who may ask.

mod boots;

use super::state::{State, admin_act, admin_entry};
use super::{Global, print};
use crate::broker::Settings;
use crate::store::{AddToken, RunnerRow, SetRunnerState, TokenRow};
use attest_evidence::exchange::{EnrolmentToken, Isolation, RunnerState};
use attest_evidence::name::RunnerName;
use attest_evidence::report::{Explain as _, Fault, Report};
use attest_evidence::time::{Clock as _, SystemClock};
use attest_evidence::{SecretBytes, Sha256Digest};
use clap::Subcommand;
use serde::Serialize;

#[derive(Debug, Subcommand)]
pub(super) enum Runner {
    /// Make a one-time token by which a runner enrols. It is printed once and is a secret
    Token {
        /// The name that the runner will have
        name: RunnerName,
        /// How its agent is separated from the jobs: `agent` or `direct`
        #[arg(long)]
        isolation: Isolation,
        /// Approve a TPM that no trusted root vouches for; otherwise it waits for `runner approve`
        #[arg(long)]
        approve_uncertified: bool,
        /// Hours for which the token can be used
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=24 * 30))]
        hours: u64,
    },
    /// List runners
    List,
    /// Show one runner
    Show {
        /// Its name
        name: RunnerName,
    },
    /// Let a runner ask
    Approve {
        /// Its name
        name: RunnerName,
        #[command(flatten)]
        boot: boots::ApproveBoot,
    },
    /// Stop a runner from asking, until it is approved again
    Suspend {
        /// Its name
        name: RunnerName,
    },
    /// Stop a runner for good, and free its name
    Retire {
        /// Its name
        name: RunnerName,
    },
}

impl Runner {
    pub(super) async fn run(self, global: &Global) -> Result<(), Report> {
        let state = State::of(global)?;
        match self {
            Self::Token { name, isolation, approve_uncertified, hours } => {
                token(global, &state, name, isolation, approve_uncertified, hours).await
            }
            Self::List => list(global, &state, |_| true).await,
            Self::Show { name } => {
                let shown = name.clone();
                list(global, &state, move |row| row.runner.name == shown).await
            }
            Self::Approve { name, boot } if boot.diff => approve_boot(global, &state, name, &boot).await,
            Self::Approve { name, .. } => set_state(global, &state, name, RunnerState::Approved).await,
            Self::Suspend { name } => set_state(global, &state, name, RunnerState::Suspended).await,
            Self::Retire { name } => set_state(global, &state, name, RunnerState::Retired).await,
        }
    }
}

#[derive(Serialize)]
struct Token<'a> {
    runner: &'a RunnerName,
    isolation: Isolation,
    token: String,
}

async fn token(
    global: &Global,
    state: &State,
    runner: RunnerName,
    isolation: Isolation,
    uncertified_is_approved: bool,
    hours: u64,
) -> Result<(), Report> {
    let broker = state.broker(Settings::default()).await?;
    let no_randomness = |_| Report::new("AR-B006", Fault::Environment, "the operating system gave no randomness");
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(no_randomness)?;
    let secret = SecretBytes::random(32).map_err(no_randomness)?;
    let row = TokenRow {
        id,
        secret: secret.expose(Sha256Digest::of),
        runner: runner.clone(),
        isolation,
        uncertified_is_approved,
        expires: SystemClock.now().plus(hours * 3600),
    };
    let audit = admin_act(broker.store(), "runner token", &(&runner, isolation, uncertified_is_approved)).await?;
    broker.store().commit(AddToken { token: row, audit }).await.map_err(|error| error.report())?;
    let text = EnrolmentToken { id, secret, pins: broker.keys().pins() }.to_text();
    let token = text.expose(|text| String::from_utf8_lossy(text).into_owned());
    let token = Token { runner: &runner, isolation, token };
    print(global, "attest-run/enrolment-token/v1", &token, || token.token.clone());
    narrate!(
        "on `{runner}`, within {hours} h: `attest-run enroll --broker URL --token -`, which reads the token from standard input"
    );
    Ok(())
}

/// Approves what a runner booted last, and the runner, if it isn't.
async fn approve_boot(
    global: &Global,
    state: &State,
    name: RunnerName,
    boot: &boots::ApproveBoot,
) -> Result<(), Report> {
    let rows = state.store().await?.runners().await.map_err(|error| error.report())?;
    let missing = || Report::new("AR-B305", Fault::Refused, format!("there is no runner `{name}`"));
    let found = rows.into_iter().find(|row| row.runner.name == name && row.runner.state != RunnerState::Retired);
    let row = found.ok_or_else(missing)?;
    let in_force = boots::approve(global, state, &row, boot).await?;
    if in_force && row.runner.state != RunnerState::Approved {
        return set_state(global, state, name, RunnerState::Approved).await;
    }
    Ok(())
}

#[derive(Serialize)]
struct Listing {
    runners: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    name: RunnerName,
    state: RunnerState,
    class: &'static str,
    certified: bool,
    isolation: Isolation,
    ak: String,
    endorsed: Sha256Digest,
    enrolled: u64,
}

async fn list(global: &Global, state: &State, wanted: impl Fn(&RunnerRow) -> bool) -> Result<(), Report> {
    let rows = state.store().await?.runners().await.map_err(|error| error.report())?;
    let runners = rows
        .into_iter()
        .filter(wanted)
        .map(|row| Listed {
            name: row.runner.name,
            state: row.runner.state,
            class: row.runner.class.as_str(),
            certified: row.certified,
            isolation: row.runner.isolation,
            ak: row.runner.key.name().to_string(),
            endorsed: row.endorsed,
            enrolled: row.enrolled.0,
        })
        .collect();
    let listing = Listing { runners };
    print(global, "attest-run/runners/v1", &listing, || {
        listing
            .runners
            .iter()
            .map(|runner| {
                format!(
                    "{}  {}  {}{}  {}  ak {}  endorsed {}\n",
                    runner.name,
                    runner.state.as_str(),
                    runner.class,
                    if runner.certified { "" } else { " (uncertified)" },
                    runner.isolation,
                    runner.ak,
                    runner.endorsed
                )
            })
            .collect()
    });
    Ok(())
}

async fn set_state(global: &Global, state: &State, runner: RunnerName, new: RunnerState) -> Result<(), Report> {
    let store = state.store().await?;
    let about = (&runner, new);
    // Whoever can open the state may stop a runner: no rule stands between a theft and its end.
    let audit = match new {
        RunnerState::Suspended => admin_entry("runner state", &about)?,
        _ => admin_act(&store, "runner state", &about).await?,
    };
    let change = SetRunnerState { runner: runner.clone(), state: new, at: SystemClock.now(), audit };
    let ended = store.commit(change).await.map_err(|error| error.report())?;
    narrate!("`{runner}` is {}", new.as_str());
    for lease in &ended {
        narrate!("lease {lease} is revoked");
    }
    let changed = serde_json::json!({ "runner": runner, "state": new, "revoked": ended });
    print(global, "attest-run/runner-state/v1", &changed, String::new);
    Ok(())
}
