//! The end of a lease with a quote: what became of the machine while the step ran.

use super::{Challenged, MOST_DECISIONS, Refused};
use crate::alarms::{Alarm, AlarmKind};
use crate::audit::{Entry, Kind};
use crate::broker::Broker;
use crate::leases::answer_to_end;
use crate::server::Refusal;
use crate::signatures::AwsLc;
use crate::store::{CloseEndedLease, Exposure, LeaseUpdate, ReleaseLease, RunnerRow, ShownAtEnd};
use attest_appraisal::{BootCounts, HostRefused, Purpose, QuotedHost};
use attest_evidence::digest::to_hex;
use attest_evidence::exchange::{Exchange, LeaseClose, LeaseMessage, LeaseSignal, Ledger, SecretLedger, TokenLedger};
use attest_evidence::name::LeaseId;
use attest_evidence::report::{Explain as _, Fault, Report};
use attest_evidence::tpm::{ClockInfo, PcrValues};
use data_encoding::BASE64;
use serde::Serialize;
use serde_json::json;

/// What became of the machine.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "machine")]
enum Closing {
    /// It is what it was.
    Same,
    /// Other PCRs.
    Changed { pcrs: Vec<Changed> },
    /// It was booted, or its TPM restarted.
    Rebooted { was: BootCounts, is: BootCounts },
    /// What its kernel measured meanwhile is not allowed, or its logs are not what it is.
    Refused { report: Report },
    /// It is what it was, and that is not allowed any more.
    NotAllowed { report: Report },
    /// The lease is of before its beginning was kept.
    Unknown,
}

/// A PCR that changed. Values of which nothing is known any more are left out.
#[derive(Debug, Serialize)]
struct Changed {
    pcr: u8,
    was: Option<String>,
    is: Option<String>,
}

impl Closing {
    const fn word(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Changed { .. } => "changed",
            Self::Rebooted { .. } => "rebooted",
            Self::Refused { .. } => "refused",
            Self::NotAllowed { .. } => "not-allowed",
            Self::Unknown => "unknown",
        }
    }

    const fn is_alarming(&self) -> bool {
        matches!(self, Self::Changed { .. } | Self::Rebooted { .. } | Self::Refused { .. })
    }
}

impl Broker {
    /// Ends a lease, and looks what became of its machine.
    ///
    /// # Errors
    /// The quote is not believed, or the message is not from the lease's holder. The lease goes on then, until it is ended
    /// without a quote or its heartbeats stay away.
    pub(crate) async fn close(&self, bytes: &[u8]) -> Result<(), Refusal> {
        let challenged = self.challenged(bytes).await?;
        // What a decision rests on may change while it is made. Then it is made once more.
        let mut result = self.close_lease(bytes, &challenged).await;
        for _ in 1..MOST_DECISIONS {
            if !matches!(&result, Err(refused) if refused.is_stale()) {
                break;
            }
            result = self.close_lease(bytes, &challenged).await;
        }
        self.answer(challenged, bytes, result).await?
    }

    async fn close_lease(&self, bytes: &[u8], challenged: &Challenged) -> Result<Result<(), Refusal>, Refused> {
        let exchange = Exchange::parse(bytes)?;
        let close = LeaseClose::parse(exchange.request)?;
        let row = self.store.runner_by_key(&exchange.challenge.ak).await?.ok_or(Refused::UnknownRunner)?;
        let host = QuotedHost::verify(&exchange, Purpose::LeaseEnd, close.isolation, &row.runner, &AwsLc)?;
        let LeaseMessage { lease, counter, signal } = match self.authentic_end(&close.release).await {
            Ok(message) => message,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let opening = self.store.lease_opening(&lease).await?;
        if opening.is_some_and(|(runner, ..)| runner != row.id) {
            let report = Report::new("AR-X407", Fault::Identity, "the lease is another runner's").fact("lease", &lease);
            return Ok(Err(Refusal::of(&report)));
        }
        let ledger = close.ledger.as_deref().map(|text| Ledger::parse(text.as_bytes())).transpose()?;
        if ledger.as_ref().is_some_and(|ledger| ledger.lease != lease) {
            let report = Report::new("AR-X409", Fault::Identity, "the ledger is another lease's").fact("lease", &lease);
            return Ok(Err(Refusal::of(&report)));
        }
        let (pcrs, clock) = (host.quote().boot_pcrs(), host.quote().clock());
        self.followed(&host, row.id).await?;
        let closing = match opening {
            None => Closing::Unknown,
            // What the quote itself shows comes first: logs may be of before, or not join any more.
            Some((_, _, boot)) if boot != BootCounts::of(clock) => {
                Closing::Rebooted { was: boot, is: BootCounts::of(clock) }
            }
            Some((_, state, _)) if state != pcrs.digest() => {
                let boots = self.store.boots(row.id).await?;
                let was = boots.into_iter().map(|boot| boot.pcrs).find(|pcrs| pcrs.digest() == state);
                Closing::Changed { pcrs: changed(&was.unwrap_or_default(), &pcrs) }
            }
            Some(_) => match self.appraise(host, row.id, &exchange.evidence.logs).await {
                Ok(_) => Closing::Same,
                Err(refused) if refused.is_stale() || refused.wants_more() => return Err(refused),
                // It booted what it had booted: what is allowed has changed, or has expired.
                Err(Refused::Host(HostRefused::Boot(refused))) if !refused.is_about_measurements() => {
                    Closing::NotAllowed { report: refused.report() }
                }
                Err(refused @ (Refused::Host(HostRefused::Boot(_) | HostRefused::Log(_)) | Refused::Logs(_))) => {
                    Closing::Refused { report: refused.report() }
                }
                Err(refused) => return Err(refused),
            },
        };
        // What the quote vouches for, and how that can be checked again: its qualifying data is made of the bytes of `bound`.
        let vouched = ledger.is_some().then(|| {
            let evidence = &exchange.evidence;
            json!({
                "bound": BASE64.encode(exchange.bound_bytes),
                "quote": BASE64.encode(evidence.quote),
                "signature": BASE64.encode(evidence.signature),
                "ak": exchange.challenge.ak.to_string(),
            })
        });
        let told = Told { lease, signal, runner: &row, clock, closing, ledger, vouched };
        let shown = self.shown(&told, Kind::LeaseEnded)?;
        let (lease, now) = (told.lease.clone(), self.now());
        let release = ReleaseLease { lease, counter, signal, now, closing: Some(shown.0), audit: shown.1 };
        self.known_leases.forget(&told.lease);
        match challenged.commit(release).await? {
            // What the step did, and what came to light, is so all the same.
            LeaseUpdate::Ended => {
                let (shown, audit) = self.shown(&told, Kind::LeaseClosed)?;
                let late = CloseEndedLease { lease: told.lease.clone(), shown, audit, now };
                let update = self.store.commit(late).await?;
                Ok(answer_to_end(update, &told.lease, counter))
            }
            update => Ok(answer_to_end(update, &told.lease, counter)),
        }
    }

    /// What is kept of a lease's end, and what is said of it.
    fn shown(&self, told: &Told<'_>, kind: Kind) -> Result<(ShownAtEnd, Entry), Refused> {
        let Told { lease, signal, runner, clock, closing, ledger, vouched } = told;
        let unused = ledger.as_ref().map(Ledger::unused);
        let exposed = ledger.iter().flat_map(|ledger| &ledger.secrets).filter_map(exposure).collect::<Vec<_>>();
        // Of a token there is nothing to mark: it is gone by itself, soon.
        let told = |token: &TokenLedger| Some((token.name.clone(), token.exposed.clone()?));
        let tokens = ledger.iter().flat_map(|ledger| &ledger.tokens).filter_map(told).collect::<Vec<_>>();
        let body = json!({
            "lease": lease,
            "how": signal,
            "closing": closing,
            "ledger": ledger,
            "unused": unused,
            "vouched": vouched,
        });
        let audit = Entry::new(self.wall(), kind, &body)?;
        let name = &runner.runner.name;
        let alarm = closing.is_alarming().then(|| {
            let facts = json!({ "lease": lease, "runner": name, "closing": closing });
            Alarm::about(&audit, AlarmKind::MachineChanged, lease.as_str(), facts)
        });
        let exposures = if exposed.is_empty() && tokens.is_empty() {
            None
        } else {
            let names: Vec<_> = exposed.iter().map(|exposed| (&exposed.name, &exposed.place)).collect();
            let facts = json!({ "lease": lease, "runner": name, "secrets": names, "tokens": tokens });
            Some(Alarm::raise(AlarmKind::SecretExposed, lease.as_str(), self.wall(), facts)?)
        };
        let (outcome, runner, clock) = (closing.word(), runner.id, *clock);
        Ok((ShownAtEnd { outcome, runner, clock, alarm, exposed, exposures }, audit))
    }
}

/// What a holder tells at the end of its lease, once it is believed.
struct Told<'a> {
    lease: LeaseId,
    signal: LeaseSignal,
    runner: &'a RunnerRow,
    clock: ClockInfo,
    closing: Closing,
    ledger: Option<Ledger>,
    vouched: Option<serde_json::Value>,
}

/// A secret that came to light.
fn exposure(secret: &SecretLedger) -> Option<Exposure> {
    let place = secret.exposed.clone()?;
    Some(Exposure { name: secret.name.clone(), version: secret.version, place })
}

fn changed(was: &PcrValues, is: &PcrValues) -> Vec<Changed> {
    let text = |value: Option<&[u8; 32]>| value.map(|value| to_hex(value));
    let pcrs = is.iter().map(|(pcr, _)| pcr);
    let changed = pcrs.filter(|pcr| was.get(*pcr) != is.get(*pcr));
    changed.map(|pcr| Changed { pcr: pcr.get(), was: text(was.get(pcr)), is: text(is.get(pcr)) }).collect()
}
