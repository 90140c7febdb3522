//! `keys`: what this runner can sign with.

use crate::output::narrate;
use crate::{Global, client, output};
use attest_agent::public_key_text;
use attest_evidence::name::{KeyName, Stage};
use attest_evidence::report::{Explain as _, Fault, Report};
use attest_evidence::tpm::PcrSelection;
use attest_wire::client::{Answer, Key, KeyAlgorithm, KeyKind, PublicKeyFormat, Request};
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
        /// Let whoever administers the runner sign with it, by `attest-run sign`. Without this, the TPM itself refuses a
        /// `p256` key to everybody but a step that the broker has granted it to, for as long as its lease lasts
        #[arg(long)]
        by_hand: bool,
        /// Bind the key to what these PCRs are now, with commas between them: after another boot it is of no use
        #[arg(long, value_name = "PCRS", conflicts_with = "by_hand")]
        pcrs: Option<PcrSelection>,
    },
    /// Put another key into the place of one, of the same kind; its PCRs, if it has any, are taken as they are now
    Rotate {
        #[command(flatten)]
        which: Which,
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
    /// Print a document by which others see that the key was made in this TPM and can't leave it: `attest-run verify key`
    Attest {
        #[command(flatten)]
        which: Which,
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
    /// Whether the TPM uses it only while a broker has signed for it.
    leased: bool,
    /// The PCRs that it is bound to.
    pcrs: Option<PcrSelection>,
    fingerprint: String,
    public_key: String,
    /// The public keys of those that had its name before, the last one first.
    former: Vec<String>,
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
            Self::Create { which, algorithm, by_hand, pcrs } => {
                let kind = match (algorithm, by_hand) {
                    (KeyAlgorithm::P256, false) => KeyKind::Leased { pcrs },
                    (KeyAlgorithm::P256, true) => KeyKind::ByHand,
                    (KeyAlgorithm::Ed25519, _) if pcrs.is_some() => {
                        let what = "an ed25519 key is derived in memory: it can't be bound to PCRs";
                        return Err(Report::new("AR-K110", Fault::Usage, what));
                    }
                    (KeyAlgorithm::Ed25519, _) => KeyKind::Ed25519,
                };
                let request = Request::CreateKey { stage: which.stage, name: which.name, kind };
                changed(global, request)?;
            }
            Self::Rotate { which } => changed(global, Request::RotateKey { stage: which.stage, name: which.name })?,
            Self::Show { which } => {
                let key = which.find(global)?;
                show(global, vec![key]);
            }
            Self::Public { which, format } => {
                let public_key = public_key_text(&which.find(global)?, format).map_err(|error| error.report())?;
                let key = PublicKey { public_key };
                output::print(global, "attest-run/public-key/v1", &key, || key.public_key.clone());
            }
            Self::Attest { which } => {
                let request = Request::AttestKey { stage: which.stage, name: which.name };
                match client::ask_one(global, request, Vec::new())? {
                    // A document for machines: the same with and without `--json`.
                    Answer::KeyAttestation(document) => output::print_text(&format!("{document}\n")),
                    _ => return Err(client::unexpected()),
                }
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

/// Shows what has come of a key.
fn changed(global: &Global, request: Request) -> Result<(), Report> {
    match client::ask_one(global, request, Vec::new())? {
        Answer::Keys(keys) => show(global, keys),
        _ => return Err(client::unexpected()),
    }
    Ok(())
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
            leased: key.lease.is_some(),
            pcrs: key.lease.and_then(|lease| lease.boot_state).map(|state| state.selection),
            fingerprint: format!("sha256:{}", key.fingerprint),
            public_key: key.public_key,
            former: key.former,
        })
        .collect();
    let listing = Listing { keys };
    output::print(global, "attest-run/keys/v1", &listing, || {
        listing
            .keys
            .iter()
            .map(|key| {
                let algorithm = key.algorithm.as_str();
                let lease = match (key.leased, key.pcrs) {
                    (false, _) => String::new(),
                    (true, None) => ", by lease".to_owned(),
                    (true, Some(pcrs)) => format!(", by lease, while {pcrs} are as they were"),
                };
                let Listed { stage, name, protection, fingerprint, .. } = key;
                format!("{stage}  {name}  {algorithm}  in {protection}{lease}  {fingerprint}\n")
            })
            .collect()
    });
}
