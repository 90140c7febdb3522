//! Alarms: what should not happen, and has. Each is recorded in the transaction of what it is about, counted, and sent to
//! a webhook until that has taken it.
//!
//! What is sent is signed as [Standard Webhooks](https://www.standardwebhooks.com) do: `webhook-signature` is
//! `v1,` and the base64 of HMAC-SHA-256 over `ID.TIMESTAMP.BODY`, by the secret that `alarm webhook set` printed once.

use crate::audit::{Entry, Kind};
use crate::broker::Broker;
use crate::https;
use crate::keys::{KeyError, Purpose};
use crate::store::{AlarmRow, AlarmSent, StoreError, WebhookRow};
use attest_evidence::SecretBytes;
use attest_evidence::UnixSeconds;
use attest_evidence::name::AuditId;
use attest_evidence::report::Escaped;
use data_encoding::BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether there is something to send.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest that a webhook may take to answer.
const LONGEST_DELIVERY: Duration = Duration::from_secs(5);
/// Most alarms that are sent in one go.
const MOST_AT_ONCE: u32 = 16;
/// The longest pause between two tries.
const LONGEST_PAUSE: u64 = 60 * 60;
/// Before a webhook's secret, as the standard has it.
const SECRET_PREFIX: &str = "whsec_";

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlarmKind {
    /// A CI job was redeemed a second time.
    SecondRedemption,
    /// A component wanted more leases in a job than it may have.
    SecondLease,
    /// The heartbeats of a lease stayed away.
    MissedHeartbeats,
    /// A quote that was made for another request came with this one.
    BindingMismatch,
    /// A TPM's counts or clock went back: its state was copied or put back.
    TpmWentBack,
    /// A machine rebooted, or changed what it is measured by, while a step held something.
    MachineChanged,
    /// A message about a lease came from somebody who does not hold it.
    ForgedLeaseMessage,
    /// A secret came to light: a step wrote it, or a server sent it back.
    SecretExposed,
    /// The wall clock was set while leases were held.
    ClockSet,
    /// Nothing: whether the webhook works.
    Test,
}

impl AlarmKind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::SecondRedemption,
        Self::SecondLease,
        Self::MissedHeartbeats,
        Self::BindingMismatch,
        Self::TpmWentBack,
        Self::MachineChanged,
        Self::ForgedLeaseMessage,
        Self::SecretExposed,
        Self::ClockSet,
        Self::Test,
    ];

    /// As text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SecondRedemption => "second-redemption",
            Self::SecondLease => "second-lease",
            Self::MissedHeartbeats => "missed-heartbeats",
            Self::BindingMismatch => "binding-mismatch",
            Self::TpmWentBack => "tpm-went-back",
            Self::MachineChanged => "machine-changed",
            Self::ForgedLeaseMessage => "forged-lease-message",
            Self::SecretExposed => "secret-exposed",
            Self::ClockSet => "clock-set",
            Self::Test => "test",
        }
    }
}

/// An alarm.
#[derive(Debug, Clone, PartialEq)]
pub struct Alarm {
    /// The audit entry that it is about.
    pub id: AuditId,
    /// What has happened.
    pub kind: AlarmKind,
    /// To whom or what: repetitions about the same are counted.
    pub subject: String,
    /// When.
    pub at: UnixSeconds,
    /// The facts.
    pub body: Value,
}

impl Alarm {
    /// An alarm about what an entry records.
    pub(crate) fn about(entry: &Entry, kind: AlarmKind, subject: impl Into<String>, body: Value) -> Self {
        let subject = subject.into();
        tracing::error!(alarm = kind.as_str(), subject = %Escaped(&subject), audit = %entry.id, "ALARM");
        Self { id: entry.id.clone(), kind, subject, at: entry.at, body }
    }

    /// An alarm with an entry of its own.
    pub(crate) fn raise(
        kind: AlarmKind,
        subject: impl Into<String>,
        at: UnixSeconds,
        body: Value,
    ) -> Result<(Entry, Self), StoreError> {
        let subject = subject.into();
        let entry = Entry::new(at, Kind::Alarm, &json!({ "alarm": kind, "subject": subject, "facts": body }))?;
        let alarm = Self::about(&entry, kind, subject, body);
        Ok((entry, alarm))
    }
}

/// A secret for a webhook: 32 bytes, as the text that its receiver is given.
///
/// # Errors
/// The operating system gave no randomness.
pub(crate) fn webhook_secret() -> Result<String, KeyError> {
    let failed = |error: getrandom::Error| KeyError::Making { what: "webhook's secret", reason: error.to_string() };
    let secret = SecretBytes::random(32).map_err(failed)?;
    Ok(format!("{SECRET_PREFIX}{}", secret.expose(|bytes| BASE64.encode(bytes))))
}

/// `webhook-signature`.
fn sign(secret: &[u8], id: &str, timestamp: u64, body: &str) -> Option<String> {
    let text = std::str::from_utf8(secret).ok()?;
    let key = BASE64.decode(text.strip_prefix(SECRET_PREFIX)?.as_bytes()).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    Some(format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes())))
}

impl Broker {
    /// Sends alarms to the webhook, for as long as the broker lives.
    pub(crate) async fn send_alarms(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(PAUSE);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.send_due_alarms().await {
                tracing::error!(%error, "alarms can't be sent");
            }
        }
    }

    async fn send_due_alarms(&self) -> Result<(), StoreError> {
        let due = self.store.alarms_to_send(self.wall(), MOST_AT_ONCE).await?;
        if due.is_empty() {
            return Ok(());
        }
        let Some(webhook) = self.store.webhook().await? else { return Ok(()) };
        for alarm in due {
            let now = self.wall();
            let result = match self.deliver(&webhook, &alarm, now).await {
                Ok(()) => Ok(self.wall()),
                Err(reason) => {
                    let why = Escaped(&reason);
                    tracing::warn!(alarm = %alarm.id, url = %webhook.url, reason = %why, tries = alarm.tries + 1, "the webhook did not take an alarm");
                    let exponent = u32::try_from(alarm.tries).unwrap_or(0).min(12);
                    Err((now.plus((1_u64 << exponent).min(LONGEST_PAUSE)), reason))
                }
            };
            self.store.commit(AlarmSent { id: alarm.id, result }).await?;
        }
        Ok(())
    }

    async fn deliver(&self, webhook: &WebhookRow, alarm: &AlarmRow, now: UnixSeconds) -> Result<(), String> {
        let secret = self
            .keys
            .root()
            .open(Purpose::Webhook, &webhook.secret, webhook.url.as_bytes())
            .map_err(|error| error.to_string())?;
        let body = json!({
            "type": format!("attest-run.alarm.{}", alarm.kind), "broker": self.keys.id(), "audit": alarm.id,
            "at": alarm.at, "times": alarm.times, "subject": alarm.subject, "facts": alarm.facts,
        })
        .to_string();
        let signature = secret.expose(|secret| sign(secret, &alarm.id, now.0, &body)).ok_or("its secret is damaged")?;
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("webhook-id", alarm.id.clone()),
            ("webhook-timestamp", now.0.to_string()),
            ("webhook-signature", signature),
        ];
        let request = https::Request { url: &webhook.url, authority: webhook.authority.as_deref(), longest: 64 * 1024 };
        let response = tokio::time::timeout(LONGEST_DELIVERY, request.post(&headers, body)).await;
        match response.map_err(|_| format!("it took longer than {} s", LONGEST_DELIVERY.as_secs()))?? {
            status if status.is_success() => Ok(()),
            status => Err(format!("it answers {status}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification, version 1.0.0, "Signature scheme".
    #[test]
    fn what_is_sent_is_signed_as_the_standard_says() {
        let secret = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let signature = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
        assert_eq!(sign(b"whsec_!", "id", 1, ""), None);
        assert!(webhook_secret().unwrap().starts_with(SECRET_PREFIX));
    }
}
