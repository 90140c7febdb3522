//! `keys`: what this runner can sign with.

use crate::output::narrate;
use crate::{Global, client, output};
use attest_agent::public_key_text;
use attest_evidence::name::{KeyName, Stage};
use attest_evidence::report::{Explain as _, Fault, Report};
use attest_wire::client::{Answer, Key, KeyAlgorithm, PublicKeyFormat, Request};
use clap::{Args, Subcommand};
use serde::Serialize;

/// Keys of this runner.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// List keys
    List,
    /// Make a key that never leaves this runner
    Create {
        #[command(flatten)]
        which: Which,
        /// `p256`, in the TPM; or `ed25519`, derived by the TPM and in memory for one signature
        #[arg(long, default_value = "p256")]
        algorithm: KeyAlgorithm,
    },
    /// Show a key
    Show {
        #[command(flatten)]
        which: Which,
    },
    /// Print a key's public key
    Public {
        #[command(flatten)]
        which: Which,
        /// In which form: `pem`, `minisign`, or `ssh`
        #[arg(long, default_value = "pem", value_name = "FORMAT")]
        format: PublicKeyFormat,
    },
    /// Delete a key. What it signed stays signed; a key of the same name will be another one
    Delete {
        #[command(flatten)]
        which: Which,
    },
}

/// Which key.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Its name
    name: KeyName,
    /// Its stage
    #[arg(long, default_value = "dev")]
    stage: Stage,
}

#[derive(Serialize)]
struct Listing {
    keys: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    stage: Stage,
    name: KeyName,
    algorithm: KeyAlgorithm,
    protection: &'static str,
    fingerprint: String,
    public_key: String,
}

#[derive(Serialize)]
struct PublicKey {
    public_key: String,
}

#[derive(Serialize)]
struct Deleted {
    stage: Stage,
    name: KeyName,
}

impl Keys {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        match self {
            Self::List => {
                let keys = all(global)?;
                show(global, keys);
            }
            Self::Create { which, algorithm } => {
                let request = Request::CreateKey { stage: which.stage, name: which.name, algorithm };
                match client::ask_one(global, request, Vec::new())? {
                    Answer::Keys(keys) => show(global, keys),
                    _ => return Err(client::unexpected()),
                }
            }
            Self::Show { which } => {
                let key = which.find(global)?;
                show(global, vec![key]);
            }
            Self::Public { which, format } => {
                let public_key = public_key_text(&which.find(global)?, format).map_err(|error| error.report())?;
                let key = PublicKey { public_key };
                output::print(global, "attest-run/public-key/v1", &key, || key.public_key.clone());
            }
            Self::Delete { which } => {
                let request = Request::DeleteKey { stage: which.stage, name: which.name.clone() };
                client::ask_one(global, request, Vec::new())?;
                let deleted = Deleted { stage: which.stage, name: which.name };
                narrate!("{} key `{}` is deleted", deleted.stage, deleted.name);
                output::print(global, "attest-run/key-deleted/v1", &deleted, String::new);
            }
        }
        Ok(())
    }
}

impl Which {
    fn find(&self, global: &Global) -> Result<Key, Report> {
        all(global)?.into_iter().find(|key| key.stage == self.stage && key.name == self.name).ok_or_else(|| {
            Report::new(
                "AR-K101",
                Fault::Refused,
                format!("there is no key `{}` of stage {} on this runner", self.name, self.stage),
            )
            .hint(format!("`attest-run keys create {} --stage {}` makes it", self.name, self.stage))
        })
    }
}

fn all(global: &Global) -> Result<Vec<Key>, Report> {
    match client::ask_one(global, Request::ListKeys, Vec::new())? {
        Answer::Keys(keys) => Ok(keys),
        _ => Err(client::unexpected()),
    }
}

fn show(global: &Global, keys: Vec<Key>) {
    let keys = keys
        .into_iter()
        .map(|key| Listed {
            stage: key.stage,
            name: key.name,
            algorithm: key.algorithm,
            protection: key.algorithm.protection(),
            fingerprint: format!("sha256:{}", key.fingerprint),
            public_key: key.public_key,
        })
        .collect();
    let listing = Listing { keys };
    output::print(global, "attest-run/keys/v1", &listing, || {
        listing
            .keys
            .iter()
            .map(|key| {
                let algorithm = key.algorithm.as_str();
                format!("{}  {}  {algorithm}  in {}  {}\n", key.stage, key.name, key.protection, key.fingerprint)
            })
            .collect()
    });
}
