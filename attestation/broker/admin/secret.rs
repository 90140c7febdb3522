//! `secret`: values go in and never come out.

use super::state::{State, admin_act};
use super::{Global, print};
use crate::broker::Settings;
use crate::secrets::{self, Destinations, LONGEST_SECRET};
use crate::store::{DeleteSecret, SealedRow, SetSecret, StoreError};
use attest_evidence::SecretBytes;
use attest_evidence::exchange::{Destination, Method, Place};
use attest_evidence::name::{SecretName, Stage};
use attest_evidence::report::{Explain as _, Fault, Report};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;
use std::io::Read as _;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(super) enum Secret {
    /// Set a secret, or a new version of it, from standard input or a file
    Set {
        /// Its name, such as `release/npm-token`
        name: SecretName,
        /// `dev`, `staging` or `prod`
        #[arg(long)]
        stage: Stage,
        /// Read the value from here, byte for byte. From standard input, one newline at the end is left out
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        routes: Routes,
    },
    /// Say anew where a secret may go: the value stays, its version is a new one
    Destinations {
        /// Its name
        name: SecretName,
        /// `dev`, `staging` or `prod`
        #[arg(long)]
        stage: Stage,
        #[command(flatten)]
        routes: Routes,
    },
    /// List secrets, without their values
    List,
    /// Delete a secret with all its versions
    Delete {
        /// Its name
        name: SecretName,
        /// `dev`, `staging` or `prod`
        #[arg(long)]
        stage: Stage,
    },
}

/// Where a secret, or a token, may go, in requests that carry it: nowhere, unless this says so.
#[derive(Debug, Args)]
pub(super) struct Routes {
    /// Requests to here may carry it: `https://HOST[:PORT][/PATH]`; may be repeated
    #[arg(long = "to", value_name = "URL")]
    to: Vec<Destination>,
    /// With this method only; may be repeated. Default: all but OPTIONS
    #[arg(long = "method", value_name = "METHOD", requires = "to")]
    methods: Vec<Method>,
    /// Only in this place: `header:NAME`, `basic`, `query:NAME`, `form:NAME` or `json:NAME`; may be repeated. Default:
    /// `header:authorization` and `basic`
    #[arg(long = "in", value_name = "PLACE", requires = "to")]
    places: Vec<Place>,
    /// They may lie in a private network or on the runner itself
    #[arg(long, requires = "to")]
    private: bool,
}

impl Routes {
    pub(super) fn destinations(self) -> Result<Destinations, Report> {
        let Self { to, methods, places, private } = self;
        if to.len() > Destinations::MOST {
            let what = format!("a secret or token has at most {} destinations", Destinations::MOST);
            return Err(Report::new("AR-P502", Fault::Usage, what));
        }
        let narrowed = |destination: Destination| Destination {
            methods: if methods.is_empty() { destination.methods } else { methods.clone() },
            places: if places.is_empty() { destination.places } else { places.clone() },
            private,
            ..destination
        };
        Ok(Destinations::new(to.into_iter().map(narrowed).collect()))
    }
}

#[derive(Serialize)]
struct Listing {
    secrets: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    stage: Stage,
    name: SecretName,
    version: u64,
    set_at: u64,
    destinations: Vec<Destination>,
    /// The lease in which it came to light, if it did.
    exposed: Option<String>,
}

impl Listed {
    fn in_words(&self) -> String {
        let Self { stage, name, version, destinations, exposed, .. } = self;
        let exposed = match exposed {
            Some(lease) => format!("  EXPOSED in {lease}: replace it"),
            None => String::new(),
        };
        let to: String = destinations.iter().map(|destination| format!("    to {destination}\n")).collect();
        format!("{stage}  {name}  version {version}{exposed}\n{to}")
    }
}

impl Secret {
    pub(super) async fn run(self, global: &Global) -> Result<(), Report> {
        let state = State::of(global)?;
        match self {
            Self::Set { name, stage, file, routes } => {
                let destinations = routes.destinations()?;
                let value = read(file)?;
                secrets::check(&value).map_err(|error| error.report())?;
                set(global, &state, name, stage, value, destinations).await
            }
            Self::Destinations { name, stage, routes } => {
                let destinations = routes.destinations()?;
                let broker = state.broker(Settings::default()).await?;
                let row = broker.store().secret(stage, &name).await.map_err(|error| error.report())?;
                let missing = || StoreError::Missing { kind: "secret", name: format!("{stage}/{name}") }.report();
                let SealedRow { version, destinations: before, sealed } = row.ok_or_else(missing)?;
                let value = secrets::open(broker.keys().root(), stage, &name, version, &before, &sealed)
                    .map_err(|error| error.report())?;
                drop(broker);
                set(global, &state, name, stage, value, destinations).await
            }
            Self::List => {
                let rows = state.store().await?.secrets().await.map_err(|error| error.report())?;
                let secrets = rows
                    .into_iter()
                    .map(|row| Listed {
                        stage: row.stage,
                        name: row.name,
                        version: row.version,
                        set_at: row.set_at.0,
                        destinations: row.destinations.list().to_vec(),
                        exposed: row.exposed,
                    })
                    .collect();
                let listing = Listing { secrets };
                print(global, "attest-run/secrets/v1", &listing, || {
                    listing.secrets.iter().map(Listed::in_words).collect()
                });
                Ok(())
            }
            Self::Delete { name, stage } => {
                let store = state.store().await?;
                let audit = admin_act(&store, "secret delete", &(stage, &name)).await?;
                let delete = DeleteSecret { stage, name: name.clone(), audit };
                store.commit(delete).await.map_err(|error| error.report())?;
                narrate!("{stage} secret `{name}` is deleted");
                print(global, "attest-run/secret-deleted/v1", &json!({ "stage": stage, "name": name }), String::new);
                Ok(())
            }
        }
    }
}

async fn set(
    global: &Global,
    state: &State,
    name: SecretName,
    stage: Stage,
    value: SecretBytes,
    destinations: Destinations,
) -> Result<(), Report> {
    let broker = std::sync::Arc::new(state.broker(Settings::default()).await?);
    let audit = admin_act(broker.store(), "secret set", &(stage, &name, value.len(), destinations.list())).await?;
    let sealing = std::sync::Arc::clone(&broker);
    let (sealed_name, sealed_to) = (name.clone(), destinations.clone());
    let set = SetSecret {
        stage,
        name: name.clone(),
        seal: Box::new(move |version| {
            secrets::seal(sealing.keys().root(), stage, &sealed_name, version, &sealed_to, &value).map_err(Into::into)
        }),
        destinations: destinations.clone(),
        audit,
    };
    let version = broker.store().commit(set).await.map_err(|error| error.report())?;
    narrate!("{stage} secret `{name}` is set, version {version}");
    for destination in destinations.list() {
        narrate!("  requests may carry it to {destination}");
    }
    let set = json!({ "stage": stage, "name": name, "version": version, "destinations": destinations.list() });
    print(global, "attest-run/secret-set/v1", &set, String::new);
    Ok(())
}

fn read(file: Option<PathBuf>) -> Result<SecretBytes, Report> {
    let unreadable =
        |error: std::io::Error| Report::new("AR-B009", Fault::Usage, format!("can't read the value: {error}"));
    // One allocation that never moves, so that no part of the value stays behind.
    let mut bytes = Vec::with_capacity(LONGEST_SECRET + 2);
    let limit = u64::try_from(LONGEST_SECRET + 1).unwrap_or(u64::MAX);
    match file {
        Some(path) => {
            std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(unreadable)?;
        }
        None => {
            std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
            if bytes.last() == Some(&b'\n') {
                bytes.pop();
            }
        }
    }
    Ok(SecretBytes::new(bytes))
}
