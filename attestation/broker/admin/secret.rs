//! `secret`: values go in and never come out.

use super::state::{State, admin_act};
use super::{Global, print};
use crate::broker::Settings;
use crate::secrets::{self, LONGEST_SECRET};
use crate::store::{DeleteSecret, SetSecret};
use attest_evidence::SecretBytes;
use attest_evidence::name::{SecretName, Stage};
use attest_evidence::report::{Explain as _, Fault, Report};
use clap::Subcommand;
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
}

impl Secret {
    pub(super) async fn run(self, global: &Global) -> Result<(), Report> {
        let state = State::of(global)?;
        match self {
            Self::Set { name, stage, file } => set(global, &state, name, stage, file).await,
            Self::List => {
                let rows = state.store().await?.secrets().await.map_err(|error| error.report())?;
                let secrets = rows
                    .into_iter()
                    .map(|row| Listed { stage: row.stage, name: row.name, version: row.version, set_at: row.set_at.0 })
                    .collect();
                let listing = Listing { secrets };
                print(global, "attest-run/secrets/v1", &listing, || {
                    listing
                        .secrets
                        .iter()
                        .map(|secret| format!("{}  {}  version {}\n", secret.stage, secret.name, secret.version))
                        .collect()
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
    file: Option<PathBuf>,
) -> Result<(), Report> {
    let value = read(file)?;
    secrets::check(&value).map_err(|error| error.report())?;
    let broker = std::sync::Arc::new(state.broker(Settings::default()).await?);
    let audit = admin_act(broker.store(), "secret set", &(stage, &name, value.len())).await?;
    let sealing = std::sync::Arc::clone(&broker);
    let sealed_name = name.clone();
    let set = SetSecret {
        stage,
        name: name.clone(),
        seal: Box::new(move |version| {
            secrets::seal(sealing.keys().root(), stage, &sealed_name, version, &value).map_err(Into::into)
        }),
        audit,
    };
    let version = broker.store().commit(set).await.map_err(|error| error.report())?;
    narrate!("{stage} secret `{name}` is set, version {version}");
    let set = json!({ "stage": stage, "name": name, "version": version });
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
