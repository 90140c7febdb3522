//! What a step does, as others hear of it: the job's log, the ledger.

use super::StepError;
use super::phase;
use crate::agent::AgentError;
use crate::egress::Egress;
use crate::process::Death;
use crate::record::Record;
use crate::screen::Screen;
use crate::search::Undeclared;
use crate::worker::Deed;
use attest_wire::client::{End, Event};
use attest_wire::egress::{FromEgress, Sent};
use attest_wire::worker::{FileSeen, Files, Level, Outcome, Stream};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long egress may take to say the rest when the step has ended.
const LONGEST_REST: Duration = Duration::from_secs(2);
/// How long a watcher is waited for when the step has ended: for each thing that it is told, and for all of them.
const PATIENCE: Duration = Duration::from_millis(500);
const MOST_PATIENCE: Duration = Duration::from_secs(5);

/// What a step does: masked, written down, and told.
pub(super) struct Told<'a> {
    screen: Screen,
    /// None in a rehearsal: nobody would read it.
    record: Option<&'a mut Record>,
    pub(super) events: &'a mpsc::Sender<Event>,
    /// What whoever watches has still to hear of what the step did last.
    pub(super) untold: Option<Event>,
    /// Remarks, bytes of summary, and refusals that were told: an engine keeps to these bounds, an intruder does not.
    annotations: usize,
    summary: usize,
    refusals: usize,
}

/// Most remarks, and bytes of summary: those of the engine.
const MOST_ANNOTATIONS: usize = 1000;
const LONGEST_SUMMARY: usize = 1 << 20;
/// Refused requests that are told one by one.
const MOST_REFUSALS: usize = 100;

impl<'a> Told<'a> {
    pub(super) const fn new(screen: Screen, record: Option<&'a mut Record>, events: &'a mpsc::Sender<Event>) -> Self {
        Self { screen, record, events, untold: None, annotations: 0, summary: 0, refusals: 0 }
    }

    fn note(&mut self, note: impl FnOnce(&mut Record)) {
        if let Some(record) = self.record.as_deref_mut() {
            note(record);
        }
    }

    /// The step did something. What whoever watches hears of it stands in `untold` then.
    pub(super) fn tell(&mut self, deed: Deed) {
        self.untold = match deed {
            Deed::Log { level, message, last } => {
                let message = self.screen.log(message, last);
                // A part of which nothing may be shown yet is no message.
                (last || !message.is_empty()).then_some(Event::Log { level, message })
            }
            Deed::Stream { stream, bytes } => {
                let bytes = self.screen.stream(stream, &bytes);
                (!bytes.is_empty()).then_some(Event::Stream { stream, bytes })
            }
            Deed::Output { name, value } => {
                self.note(|record| record.set(&name));
                let value = self.screen.whole(&format!("output {name}"), value);
                Some(Event::Output { name, value })
            }
            Deed::Summary(part) => {
                self.summary = self.summary.saturating_add(part.len());
                if self.summary > LONGEST_SUMMARY {
                    return;
                }
                let text = self.screen.summary(&part);
                (!text.is_empty()).then_some(Event::Summary(text))
            }
            Deed::Annotation(annotation) => {
                self.annotations += 1;
                let masked = self.screen.annotation(annotation);
                (self.annotations <= MOST_ANNOTATIONS).then_some(Event::Annotation(masked))
            }
            Deed::Revealed(name) => {
                self.note(|record| record.revealed(&name));
                None
            }
            Deed::Used(key) => {
                tracing::debug!(%key, "used by a step");
                self.note(|record| record.used(&key));
                None
            }
            Deed::Loaded(_) => None,
        };
    }

    /// Egress did something. What ends the step is an error. Nobody is waited for: what comes next may be worse.
    pub(super) fn hear(&mut self, message: FromEgress) -> Result<(), StepError> {
        match message {
            FromEgress::Sent(sent) => {
                let place = "a request";
                let sent = Sent {
                    to: self.screen.whole(place, sent.to),
                    path: self.screen.whole(place, sent.path),
                    refused: sent.refused.map(|reason| self.screen.whole(place, reason)),
                    ..sent
                };
                if let Some(reason) = sent.refused.clone() {
                    self.refusals += 1;
                    if self.refusals <= MOST_REFUSALS {
                        let refused = Event::RequestRefused { request: line_of(&sent), reason };
                        // The ledger has it, if a watcher that does not read misses it.
                        let _ = self.events.try_send(refused);
                    }
                }
                self.note(|record| record.sent(sent));
                Ok(())
            }
            FromEgress::Leaked { secret, encoding, from } => {
                let from = self.screen.whole("a request", from);
                self.note(|record| record.exposed(&secret, &format!("an answer from {from}, {encoding}")));
                Err(StepError::CameBack { secret, from, encoding })
            }
            FromEgress::Ready => Ok(()),
            FromEgress::NotStarted { reason } => Err(StepError::EgressDied(reason)),
        }
    }

    /// What egress has still to say when its worker has gone. It is ended then. The first error counts, and all is heard.
    pub(super) async fn hear_rest(&mut self, mut egress: Egress) -> Result<(), StepError> {
        let mut first = Ok(());
        let rest = async {
            loop {
                let heard = match egress.next().await {
                    Ok(message) => self.hear(message),
                    Err(Death::Ended) => return,
                    Err(death) => {
                        self.note(Record::requests_lost);
                        Err(StepError::EgressDied(death.to_string()))
                    }
                };
                let over = matches!(heard, Err(StepError::EgressDied(_)));
                if first.is_ok() {
                    first = heard;
                }
                if over {
                    return;
                }
            }
        };
        if tokio::time::timeout(LONGEST_REST, rest).await.is_err() {
            tracing::warn!("egress did not end with its worker");
            self.note(Record::requests_lost);
        }
        egress.end().await;
        first
    }

    /// A secret was found in a file, or its search went wrong. Names of files may hold what was looked for.
    pub(super) fn found(&mut self, error: StepError) -> StepError {
        match error {
            StepError::InFile { secret, directory, path, encoding } => {
                let path = self.screen.whole("a file's name", path);
                self.note(|record| record.exposed(&secret, &format!("dirs.{directory} {path}, {encoding}")));
                StepError::InFile { secret, directory, path, encoding }
            }
            StepError::NotSearched(reason) => StepError::NotSearched(self.screen.whole("a file's name", reason)),
            error => error,
        }
    }

    /// What looks like a secret that nobody declared, in what was shown.
    pub(super) fn undeclared_so_far(&mut self) -> Vec<Undeclared> {
        self.screen.undeclared()
    }

    /// Tells what looks like a secret that nobody declared, and says what the first would be as an error.
    pub(super) async fn undeclared(&mut self, found: Vec<Undeclared>) -> Option<StepError> {
        let mut events = Vec::with_capacity(found.len());
        let mut first = None;
        for Undeclared { pattern, place } in found {
            let place = self.screen.whole("a file's name", place);
            self.note(|record| record.undeclared(&pattern, &place));
            first.get_or_insert_with(|| StepError::LooksSecret { pattern: pattern.clone(), place: place.clone() });
            events.push(Event::Undeclared { pattern, place });
        }
        tell_at_the_end(self.events, events).await;
        first
    }

    /// The step says how it ended.
    pub(super) async fn ended(&mut self, outcome: Outcome, files: Vec<Files>) -> Result<End, AgentError> {
        let files = files.into_iter().map(|files| self.masked_files(files)).collect();
        self.note(|record| record.files(files));
        let mut masked = |reason: String| self.screen.whole("the message of its failure", reason);
        match outcome {
            Outcome::Succeeded { ran } => {
                phase(self.events, "run", Duration::from_micros(ran)).await;
                Ok(End::Done)
            }
            Outcome::Failed { code, message } => {
                Ok(End::StepFailed { code: code.clamp(1, 123), message: masked(message) })
            }
            Outcome::Trapped { reason } => Err(StepError::Trapped(masked(reason)).into()),
            Outcome::OverLimit { limit } => Err(StepError::OverLimit(masked(limit)).into()),
            Outcome::NotOurs { reason } | Outcome::NotStarted { reason } => {
                Err(StepError::NotStarted(masked(reason)).into())
            }
            Outcome::NoWalls { reason } => Err(StepError::NoWalls(reason).into()),
        }
    }

    fn masked_files(&mut self, files: Files) -> Files {
        let mut masked = |files: Vec<FileSeen>| {
            files
                .into_iter()
                .map(|file| FileSeen { path: self.screen.whole("a file's name", file.path), ..file })
                .collect()
        };
        let (read, written) = (masked(files.read), masked(files.written));
        Files { read, written, more: files.more }
    }

    /// Tells the rest: what was held back, and what was masked.
    pub(super) async fn finish(&mut self) {
        let rest = self.screen.finish();
        let held = [
            (!rest.log.is_empty()).then_some(Event::Log { level: Level::Info, message: rest.log }),
            (!rest.output.is_empty()).then_some(Event::Stream { stream: Stream::Output, bytes: rest.output }),
            (!rest.error.is_empty()).then_some(Event::Stream { stream: Stream::Error, bytes: rest.error }),
            (!rest.summary.is_empty()).then_some(Event::Summary(rest.summary)),
        ];
        let masked =
            self.screen.masked().map(|(secret, place)| Event::Masked { secret: secret.clone(), place: place.clone() });
        let left = self.untold.take().into_iter().chain(held.into_iter().flatten()).chain(masked).collect();
        tell_at_the_end(self.events, left).await;
    }
}

/// Tells what is left when the step has ended, as long as whoever watches takes it: one that does not read keeps no lease open.
pub(super) async fn tell_at_the_end(events: &mpsc::Sender<Event>, left: Vec<Event>) {
    let tell = async {
        for event in left {
            if tokio::time::timeout(PATIENCE, events.send(event)).await.is_err() {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(MOST_PATIENCE, tell).await;
}

/// A request in a line. What a step wrote for a path may be anything: it is shown escaped by whoever shows it.
fn line_of(sent: &Sent) -> String {
    let method = sent.method.map_or("(no method that is sent)", |method| method.as_str());
    format!("{method} {}{}", sent.to, sent.path)
}
