//! `alarm`: what somebody should look at.

use super::state::{State, admin_entry};
use super::{Global, print};
use crate::alarms::{Alarm as Raised, AlarmKind, webhook_secret};
use crate::broker::Settings;
use crate::keys::Purpose;
use crate::store::{AlarmRow, RecordAlarm, SetWebhook, WebhookRow};
use attest_evidence::report::{Explain as _, Fault, Report};
use attest_evidence::time::{Clock as _, SystemClock};
use clap::Subcommand;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(super) enum Alarm {
    /// List the newest alarms, and how many there have been of each kind
    List {
        /// How many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        most: u32,
    },
    /// Raise an alarm about nothing, to see that it arrives
    Test,
    /// Say where alarms are sent
    #[command(subcommand)]
    Webhook(Webhook),
}

#[derive(Debug, Subcommand)]
pub(super) enum Webhook {
    /// Send alarms there, signed with a secret that is printed once (Standard Webhooks)
    Set {
        /// https://…, or http:// on this machine
        url: String,
        /// The root of its TLS, PEM or DER, where it is not one of the system's
        #[arg(long, value_name = "FILE")]
        authority: Option<PathBuf>,
    },
    /// Show where they are sent
    Show,
    /// Send them nowhere
    Remove,
}

#[derive(Serialize)]
struct Listing {
    alarms: Vec<AlarmRow>,
    counts: BTreeMap<&'static str, i64>,
}

impl Alarm {
    pub(super) async fn run(self, global: &Global) -> Result<(), Report> {
        let state = State::of(global)?;
        match self {
            Self::List { most } => {
                let store = state.store().await?;
                let alarms = store.alarms(most).await.map_err(|error| error.report())?;
                let counts = store.alarm_counts().await.map_err(|error| error.report())?;
                let counts = counts.into_iter().map(|(kind, count)| (kind.as_str(), count)).collect();
                let listing = Listing { alarms, counts };
                print(global, "attest-run/alarms/v1", &listing, || {
                    let line = |alarm: &AlarmRow| {
                        let times = if alarm.times > 1 { format!("  {} times", alarm.times) } else { String::new() };
                        let sent = if alarm.delivered.is_some() { "sent" } else { "not sent" };
                        format!("{}  {}  {}  {}{times}  {sent}\n", alarm.at, alarm.kind, alarm.subject, alarm.id)
                    };
                    let counts = listing.counts.iter().filter(|(_, count)| **count > 0);
                    let counts: String = counts.map(|(kind, count)| format!("{kind}: {count} in all\n")).collect();
                    listing.alarms.iter().map(line).collect::<String>() + &counts
                });
                Ok(())
            }
            Self::Test => {
                let facts = json!({ "by": super::who::admin() });
                let raised = Raised::raise(AlarmKind::Test, "test", SystemClock.now(), facts);
                let (entry, alarm) = raised.map_err(|error| error.report())?;
                let id = entry.id.clone();
                let store = state.store().await?;
                store.commit(RecordAlarm(entry, Some(alarm))).await.map_err(|error| error.report())?;
                narrate!("alarm {id} is raised; `alarm list` says whether it was sent");
                print(global, "attest-run/alarm-raised/v1", &json!({ "id": id }), String::new);
                Ok(())
            }
            Self::Webhook(webhook) => webhook.run(global, &state).await,
        }
    }
}

impl Webhook {
    async fn run(self, global: &Global, state: &State) -> Result<(), Report> {
        match self {
            Self::Set { url, authority } => {
                let no_good = |reason: String| {
                    Report::new("AR-B012", Fault::Usage, format!("`{url}` can't be a webhook: {reason}"))
                };
                crate::https::check(&url).map_err(no_good)?;
                let authority = authority.map(|file| super::issuer::certificate(&file)).transpose()?;
                let broker = state.broker(Settings::default()).await?;
                let secret = webhook_secret().map_err(|error| error.report())?;
                let sealed = broker.keys().root().seal(Purpose::Webhook, secret.as_bytes(), url.as_bytes());
                let webhook =
                    WebhookRow { url: url.clone(), secret: sealed.map_err(|error| error.report())?, authority };
                let audit = admin_entry("alarm webhook set", &url)?;
                let set = SetWebhook { webhook: Some(webhook), audit };
                broker.store().commit(set).await.map_err(|error| error.report())?;
                narrate!("alarms are sent to {url}. What signs them is printed this once");
                print(global, "attest-run/webhook-set/v1", &json!({ "url": url, "secret": secret }), || secret.clone());
            }
            Self::Show => {
                let webhook = state.store().await?.webhook().await.map_err(|error| error.report())?;
                let url = webhook.map(|webhook| webhook.url);
                print(global, "attest-run/webhook/v1", &json!({ "url": url }), || url.clone().unwrap_or_default());
                if url.is_none() {
                    narrate!("alarms are sent nowhere");
                }
            }
            Self::Remove => {
                let audit = admin_entry("alarm webhook remove", &())?;
                let remove = SetWebhook { webhook: None, audit };
                state.store().await?.commit(remove).await.map_err(|error| error.report())?;
                narrate!("alarms are sent nowhere");
                print(global, "attest-run/webhook-removed/v1", &json!({}), String::new);
            }
        }
        Ok(())
    }
}
