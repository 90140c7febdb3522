//! A worker at work: what it says is heard, what it may ask for is served.

use crate::keys::{DerivedKey, UsableKey};
use crate::process::{Death, Process, Said};
use crate::signing::{Message, Timestamps};
use attest_evidence::exchange::KeyFormat;
use attest_evidence::name::{KeyName, OutputName, SecretName};
use attest_spawner::Started;
use attest_wire::Revealed;
use attest_wire::worker::{Annotation, Derived, Files, FromWorker, Level, Outcome, Signed, Start, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// What the step was granted, as far as the worker may ask for it.
#[derive(Default)]
pub(crate) struct Served {
    pub(crate) signing: BTreeMap<KeyName, (UsableKey, BTreeSet<KeyFormat>)>,
    /// Who says when something was signed.
    pub(crate) timestamps: Timestamps,
    pub(crate) derivation: BTreeMap<KeyName, DerivedKey>,
    pub(crate) revealed: BTreeSet<SecretName>,
    pub(crate) outputs: BTreeSet<OutputName>,
    pub(crate) summary: bool,
    pub(crate) annotations: bool,
}

/// What a step does that others hear of.
#[derive(Debug)]
pub(crate) enum Deed {
    /// The step's code is loaded; it took so long.
    Loaded(Duration),
    Log {
        level: Level,
        message: String,
        last: bool,
    },
    Stream {
        stream: Stream,
        bytes: Vec<u8>,
    },
    Output {
        name: OutputName,
        value: String,
    },
    Summary(String),
    Annotation(Annotation),
    Revealed(SecretName),
    /// A key was used: it signed, or another was derived from it.
    Used(KeyName),
}

/// How a worker ended.
#[derive(Debug)]
pub(crate) enum WorkerEnd {
    /// The step has come to its end.
    Outcome(Outcome, Vec<Files>),
    /// The process ended without saying so.
    Died(String),
    /// There was no process.
    NeverBegan(String),
}

impl From<Death> for WorkerEnd {
    fn from(death: Death) -> Self {
        match death {
            Death::NeverBegan(why) => Self::NeverBegan(why),
            death => Self::Died(death.to_string()),
        }
    }
}

/// A worker that runs a step. Dropped, it is ended.
pub(crate) struct Worker {
    process: Process<FromWorker>,
    served: Served,
    message: Option<Message>,
}

impl Worker {
    /// Tells a worker what to run.
    pub(crate) fn begin(
        started: Started,
        start: &Start,
        descriptors: &[BorrowedFd<'_>],
        served: Served,
    ) -> Result<Self, Death> {
        Ok(Self { process: Process::begin(started, start, descriptors)?, served, message: None })
    }

    /// What the worker says next. May be cancelled, and nothing is lost.
    pub(crate) async fn said(&mut self) -> Said<FromWorker> {
        self.process.said().await
    }

    /// Serves what the worker said: tells what others should hear of, if anything, or how the worker ended.
    pub(crate) async fn serve(&mut self, said: Said<FromWorker>) -> Result<Option<Deed>, WorkerEnd> {
        // The engine lets no step come to what is refused here; a worker that does has been broken into.
        let intruder = |what: String| Err(WorkerEnd::Died(what));
        match self.process.understood(said).await? {
            FromWorker::Loaded { loading } => Ok(Some(Deed::Loaded(Duration::from_micros(loading)))),
            FromWorker::Log { level, message, last } => Ok(Some(Deed::Log { level, message, last })),
            FromWorker::Stream { stream, bytes } => Ok(Some(Deed::Stream { stream, bytes })),
            FromWorker::Output { name, value } if self.served.outputs.contains(&name) => {
                Ok(Some(Deed::Output { name, value }))
            }
            FromWorker::Output { name, .. } => intruder(format!("it set output `{name}`, which was not declared")),
            FromWorker::Summary(text) if self.served.summary => Ok(Some(Deed::Summary(text))),
            FromWorker::Annotation(remark) if self.served.annotations => Ok(Some(Deed::Annotation(remark))),
            FromWorker::Summary(_) => intruder("it wrote a summary, which was not declared".to_owned()),
            FromWorker::Annotation(_) => intruder("it made a remark, which was not declared".to_owned()),
            FromWorker::Revealed(name) if self.served.revealed.contains(&name) => Ok(Some(Deed::Revealed(name))),
            FromWorker::Revealed(name) => intruder(format!("it speaks of secret `{name}`, which it was not given")),
            FromWorker::Derive { key, purpose, message } => {
                let Some(derivation) = self.served.derivation.get_mut(&key) else {
                    return intruder(format!("it wants to derive from `{key}`, which was not granted"));
                };
                let derived = match derivation.derive(&purpose, message.as_deref()).await {
                    Ok(bytes) => Derived::Bytes(Revealed::new(bytes)),
                    Err(error) => Derived::Failed(error.to_string()),
                };
                self.process.tell(&derived).await?;
                Ok(Some(Deed::Used(key)))
            }
            FromWorker::SignBegin { key, format } => {
                let granted = self.served.signing.get(&key).filter(|(_, formats)| formats.contains(&format));
                let message = granted.and_then(|(usable, _)| Message::new(usable.clone(), format).ok());
                let Some(message) = message else {
                    return intruder(format!("it wants key `{key}`, which was not granted"));
                };
                self.message = Some(message);
                Ok(None)
            }
            FromWorker::SignChunk(part) => {
                if let Some(message) = &mut self.message {
                    message.update(&part);
                }
                Ok(None)
            }
            FromWorker::SignEnd => {
                let Some(message) = self.message.take() else {
                    return intruder("it wants a signature of nothing".to_owned());
                };
                let key = message.key_name().clone();
                let signed = match message.sign(&self.served.timestamps).await {
                    Ok(signature) => Signed::Signature(signature),
                    Err(error) => Signed::Failed(error.to_string()),
                };
                self.process.tell(&signed).await?;
                Ok(Some(Deed::Used(key)))
            }
            FromWorker::Done { outcome, files } => {
                self.process.farewell().await;
                Err(WorkerEnd::Outcome(outcome, files))
            }
        }
    }

    /// Ends the worker, and waits until its process is gone.
    pub(crate) async fn end(self) {
        self.process.end().await;
    }
}
