//! `audience`: whom tokens are minted for, and the key that they are signed with.

use super::secret::Routes;
use super::state::{State, admin_act};
use super::{Global, print, utc};
use crate::broker::Settings;
use crate::store::{AddTokenKey, DeleteAudience, Rotation, SetAudience};
use crate::tokens::{Registration, SHOWN_BEFORE, TokenKey};
use attest_evidence::exchange::{self, Destination};
use attest_evidence::name::{SecretName, Stage};
use attest_evidence::report::{Explain as _, Fault, Report};
use clap::Subcommand;
use serde::Serialize;
use serde_json::json;

#[derive(Debug, Subcommand)]
pub(super) enum Audience {
    /// Register an audience, or register it anew: steps may be given tokens for it
    Set {
        /// What manifests call it: `[tokens.NAME]`
        name: SecretName,
        /// `dev`, `staging` or `prod`
        #[arg(long)]
        stage: Stage,
        /// What its tokens say in `aud`, as whoever believes them wants it: `https://sts.example`, `sts.amazonaws.com`
        #[arg(long, value_name = "AUDIENCE")]
        audience: exchange::Audience,
        #[command(flatten)]
        routes: Routes,
    },
    /// List audiences
    List,
    /// Delete an audience: nobody is given a token for it any more
    Delete {
        /// Its name
        name: SecretName,
        /// `dev`, `staging` or `prod`
        #[arg(long)]
        stage: Stage,
    },
    /// Sign tokens with a new key. It is shown at once and signs once every relying party can have seen it; the old one is
    /// shown for as long as a token of it lives
    RotateKey {
        /// The old key is in the wrong hands: sign with the new one at once, and show the old one to nobody any more. Relying
        /// parties that keep keys believe the old one for five minutes more, and some do not know the new one until then
        #[arg(long)]
        at_once: bool,
    },
}

#[derive(Serialize)]
struct Listing {
    audiences: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    stage: Stage,
    name: SecretName,
    audience: exchange::Audience,
    set_at: u64,
    destinations: Vec<Destination>,
}

impl Listed {
    fn in_words(&self) -> String {
        let Self { stage, name, audience, destinations, .. } = self;
        let to: String = destinations.iter().map(|destination| format!("    to {destination}\n")).collect();
        format!("{stage}  {name}  aud {audience}\n{to}")
    }
}

impl Audience {
    pub(super) async fn run(self, global: &Global) -> Result<(), Report> {
        let state = State::of(global)?;
        match self {
            Self::Set { name, stage, audience, routes } => set(global, &state, name, stage, audience, routes).await,
            Self::List => {
                let rows = state.store().await?.audiences().await.map_err(|error| error.report())?;
                let audiences = rows.into_iter().map(|row| Listed {
                    stage: row.registration.stage,
                    name: row.registration.name,
                    audience: row.registration.audience,
                    set_at: row.set_at.0,
                    destinations: row.registration.destinations.list().to_vec(),
                });
                let listing = Listing { audiences: audiences.collect() };
                print(global, "attest-run/audiences/v1", &listing, || {
                    listing.audiences.iter().map(Listed::in_words).collect()
                });
                Ok(())
            }
            Self::Delete { name, stage } => {
                let store = state.store().await?;
                let audit = admin_act(&store, "audience delete", &(stage, &name)).await?;
                let delete = DeleteAudience { stage, name: name.clone(), audit };
                store.commit(delete).await.map_err(|error| error.report())?;
                narrate!("{stage} audience `{name}` is deleted; tokens for it are good until they expire");
                print(global, "attest-run/audience-deleted/v1", &json!({ "stage": stage, "name": name }), String::new);
                Ok(())
            }
            Self::RotateKey { at_once } => rotate(global, &state, at_once).await,
        }
    }
}

async fn set(
    global: &Global,
    state: &State,
    name: SecretName,
    stage: Stage,
    audience: exchange::Audience,
    routes: Routes,
) -> Result<(), Report> {
    let destinations = routes.destinations()?;
    if destinations.is_empty() {
        return Err(Report::new("AR-P503", Fault::Usage, format!("tokens for `{name}` could go nowhere"))
            .hint("say where requests may carry them: `--to https://HOST[:PORT][/PATH]`"));
    }
    let store = state.store().await?;
    let keys = state.keys(&store).await?;
    let registration = Registration { stage, name, audience, destinations };
    let sealed = registration.seal(keys.root()).map_err(|error| error.report())?;
    let Registration { stage, name, audience, destinations } = &registration;
    let list = destinations.list();
    let audit = admin_act(&store, "audience set", &(stage, name, audience, list)).await?;
    let set = SetAudience { registration: registration.clone(), sealed, audit };
    store.commit(set).await.map_err(|error| error.report())?;
    narrate!("{stage} audience `{name}` is registered: its tokens are for `{audience}`");
    for destination in list {
        narrate!("  requests may carry them to {destination}");
    }
    let set = json!({ "stage": stage, "name": name, "audience": audience, "destinations": list });
    print(global, "attest-run/audience-set/v1", &set, String::new);
    Ok(())
}

async fn rotate(global: &Global, state: &State, at_once: bool) -> Result<(), Report> {
    let broker = state.broker(Settings::default()).await?;
    let now = broker.wall();
    // What is thrown away at once does not have to open: that may be why.
    let (signs_from, rotation) = if at_once {
        (now, Rotation::AtOnce)
    } else {
        let keys = broker.token_keys().await.map_err(|error| error.report())?;
        let gone = keys.gone(now);
        // The first of all has nobody to wait for.
        let first = keys.signing(now).is_none();
        (if first { now } else { now.plus(SHOWN_BEFORE) }, Rotation::Planned { gone })
    };
    let (root, id) = (broker.keys().root(), broker.keys().id());
    let key = TokenKey::generate(root, id, signs_from).map_err(|error| error.report())?;
    let id = key.id.clone();
    let audit = admin_act(broker.store(), "audience rotate-key", &(&id, signs_from, at_once)).await?;
    broker.store().commit(AddTokenKey { key, rotation, audit }).await.map_err(|error| error.report())?;
    narrate!("tokens are signed with key {id} from {} on", utc(i64::try_from(signs_from.0).unwrap_or(i64::MAX)));
    print(global, "attest-run/token-key/v1", &json!({ "key": id, "signs_from": signs_from }), String::new);
    Ok(())
}
