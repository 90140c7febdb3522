//! `alarm`: what somebody should look at.

use super::state::{State, admin_act};
use super::{Global, print, utc};
use crate::alarms::{Alarm as Raised, AlarmKind, webhook_secret};
use crate::broker::Settings;
use crate::keys::Purpose;
use crate::store::{AlarmRow, RecordAlarm, SetWebhook, Store, WebhookRow};
use attest_evidence::Sha256Digest;
use attest_evidence::report::{Escaped, Explain as _, Fault, Report};
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
                        let sent = match (&alarm.delivered, &alarm.failure) {
                            (Some(_), _) => "sent".to_owned(),
                            (None, Some(failure)) => {
                                format!("not sent after {} tries: {}", alarm.tries, Escaped(failure))
                            }
                            (None, None) => "not sent".to_owned(),
                        };
                        let (kind, subject, id) = (&alarm.kind, Escaped(&alarm.subject), &alarm.id);
                        format!("{}  {kind}  {subject}  {id}{times}  {sent}\n", utc(alarm.at))
                    };
                    let counts = listing.counts.iter().filter(|(_, count)| **count > 0);
                    let counts: String = counts.map(|(kind, count)| format!("{kind}: {count} in all\n")).collect();
                    listing.alarms.iter().map(line).collect::<String>() + &counts
                });
                Ok(())
            }
            Self::Test => {
                let facts = json!({ "by": super::who::admin() });
                let store = state.store().await?;
                if store.webhook().await.map_err(|error| error.report())?.is_none() {
                    return Err(Report::new("AR-B013", Fault::Refused, "there is no webhook that could take it")
                        .hint("`attest-broker alarm webhook set URL`"));
                }
                // A subject of its own: it is not counted with the last one.
                let subject = format!("test of {}", SystemClock.now());
                let raised = Raised::raise(AlarmKind::Test, subject, SystemClock.now(), facts);
                let (entry, alarm) = raised.map_err(|error| error.report())?;
                let id = entry.id.to_string();
                store.commit(RecordAlarm(entry, Some(alarm))).await.map_err(|error| error.report())?;
                wait_until_sent(&store, &id).await?;
                narrate!("alarm {id} was raised, and the webhook has taken it");
                print(global, "attest-run/alarm-raised/v1", &json!({ "id": id }), String::new);
                Ok(())
            }
            Self::Webhook(webhook) => webhook.run(global, &state).await,
        }
    }
}

/// Waits for the broker to send an alarm.
async fn wait_until_sent(store: &Store, id: &str) -> Result<(), Report> {
    let mut failure = None;
    for _ in 0..100 {
        let alarm = store.alarm(id).await.map_err(|error| error.report())?;
        match alarm {
            Some(alarm) if alarm.delivered.is_some() => return Ok(()),
            Some(alarm) => failure = alarm.failure,
            None => {}
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let report = Report::new("AR-B014", Fault::Refused, "the webhook has not taken the alarm within ten seconds");
    Err(match failure {
        Some(failure) => report.fact("reason", failure).hint("it is tried again; `alarm list` says how that went"),
        None => report.hint("nobody has tried to send it: is `attest-broker serve` running?"),
    })
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
                let digest = webhook.authority.as_deref().map(Sha256Digest::of);
                let audit = admin_act(broker.store(), "alarm webhook set", &(&url, digest)).await?;
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
                let store = state.store().await?;
                let audit = admin_act(&store, "alarm webhook remove", &()).await?;
                let remove = SetWebhook { webhook: None, audit };
                store.commit(remove).await.map_err(|error| error.report())?;
                narrate!("alarms are sent nowhere");
                print(global, "attest-run/webhook-removed/v1", &json!({}), String::new);
            }
        }
        Ok(())
    }
}
