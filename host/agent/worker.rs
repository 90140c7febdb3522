//! A worker at work: what it says is heard, what it may ask for is served.

use crate::keys::UsableKey;
use crate::signing::Message;
use attest_evidence::exchange::KeyFormat;
use attest_evidence::name::{KeyName, OutputName};
use attest_tpm::Tpm;
use attest_wire::spawner::Ended;
use attest_wire::worker::{FromWorker, Level, Outcome, Signed, Start};
use attest_wire::{Channel, FrameReader, FrameWriter, WireError, split};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use tokio::sync::mpsc;

/// Messages of a worker that wait to be served.
const LONGEST_QUEUE: usize = 16;
/// How long a worker that has said it is done may take to end.
const LONGEST_FAREWELL: Duration = Duration::from_secs(2);

/// What the step was granted, as far as the worker may ask for it.
pub(crate) struct Served {
    pub(crate) keys: BTreeMap<KeyName, (UsableKey, BTreeSet<KeyFormat>)>,
    pub(crate) outputs: BTreeSet<OutputName>,
}

/// What a step does that others hear of.
#[derive(Debug)]
pub(crate) enum Deed {
    Compiled { started: Duration, compiling: Duration },
    Log { level: Level, message: String },
    Output { name: OutputName, value: String },
    Signed { key: KeyName },
}

/// How a worker ended.
#[derive(Debug)]
pub(crate) enum WorkerEnd {
    /// The step has come to its end.
    Outcome(Outcome),
    /// The process ended without saying so.
    Died(String),
    /// There was no process.
    NeverBegan(String),
}

/// A worker that runs a step. Dropped, it is ended.
pub(crate) struct Worker {
    messages: mpsc::Receiver<Result<FromWorker, WireError>>,
    writer: FrameWriter,
    lifeline: FrameReader,
    /// Held for its other end: when it is closed, the spawner ends the worker.
    held: FrameWriter,
    served: Served,
    message: Option<Message>,
}

impl Worker {
    /// Tells a worker what to run.
    pub(crate) fn begin(
        channel: Channel,
        lifeline: UnixStream,
        start: &Start,
        descriptors: &[BorrowedFd<'_>],
        served: Served,
    ) -> Result<Self, WireError> {
        channel.send_with(start, descriptors)?;
        let (mut reader, writer) = split(channel.into_stream())?;
        let (lifeline, held) = split(lifeline)?;
        let (heard, messages) = mpsc::channel(LONGEST_QUEUE);
        tokio::spawn(async move {
            loop {
                let message = reader.receive::<FromWorker>().await;
                let last = message.is_err();
                if heard.send(message).await.is_err() || last {
                    return;
                }
            }
        });
        Ok(Self { messages, writer, lifeline, held, served, message: None })
    }

    /// Serves the worker until it does something that others should hear of, or ends.
    pub(crate) async fn next(&mut self, tpm: &Tpm) -> Result<Deed, WorkerEnd> {
        loop {
            let message = match self.messages.recv().await {
                Some(Ok(message)) => message,
                Some(Err(WireError::Closed)) | None => return Err(self.died().await),
                Some(Err(error)) => return Err(WorkerEnd::Died(format!("what it said is no message: {error}"))),
            };
            match message {
                FromWorker::Compiled { started, compiling } => {
                    let (started, compiling) = (Duration::from_micros(started), Duration::from_micros(compiling));
                    return Ok(Deed::Compiled { started, compiling });
                }
                FromWorker::Log { level, message } => return Ok(Deed::Log { level, message }),
                FromWorker::Output { name, value } if self.served.outputs.contains(&name) => {
                    return Ok(Deed::Output { name, value });
                }
                FromWorker::Output { name, .. } => {
                    return Err(WorkerEnd::Died(format!("it set output `{name}`, which was not declared")));
                }
                FromWorker::SignBegin { key, format } => {
                    self.message = match self.served.keys.get(&key) {
                        Some((usable, formats)) if formats.contains(&format) => {
                            Some(Message::new(usable.clone(), format))
                        }
                        _ => {
                            // The engine lets no step come here; a worker that does has been broken into.
                            return Err(WorkerEnd::Died(format!("it wants key `{key}`, which was not granted")));
                        }
                    };
                }
                FromWorker::SignChunk(part) => {
                    if let Some(message) = &mut self.message {
                        message.update(&part);
                    }
                }
                FromWorker::SignEnd => {
                    let Some(message) = self.message.take() else {
                        return Err(WorkerEnd::Died("it wants a signature of nothing".to_owned()));
                    };
                    let key = message.key_name().clone();
                    let signed = match message.sign(tpm).await {
                        Ok(signature) => Signed::Signature(signature),
                        Err(error) => Signed::Failed(error.to_string()),
                    };
                    if self.writer.send(&signed).await.is_err() {
                        return Err(self.died().await);
                    }
                    return Ok(Deed::Signed { key });
                }
                FromWorker::Done(outcome) => {
                    let _ = tokio::time::timeout(LONGEST_FAREWELL, self.lifeline.receive::<Ended>()).await;
                    return Err(WorkerEnd::Outcome(outcome));
                }
            }
        }
    }

    /// Ends the worker, and waits until its process is gone.
    pub(crate) async fn end(self) {
        let Self { mut lifeline, held, .. } = self;
        // The other end of the lifeline is told; this end stays open for the answer.
        held.finish().await;
        let _ = tokio::time::timeout(LONGEST_FAREWELL, lifeline.receive::<Ended>()).await;
    }

    /// How a worker died that has closed its connection.
    async fn died(&mut self) -> WorkerEnd {
        let ended = tokio::time::timeout(LONGEST_FAREWELL, self.lifeline.receive::<Ended>()).await;
        WorkerEnd::Died(match ended {
            Ok(Ok(Ended::Exited(code))) => format!("its process ended with status {code}"),
            Ok(Ok(Ended::Signalled(31))) => "its process was killed: it made a forbidden system call".to_owned(),
            Ok(Ok(Ended::Signalled(signal))) => format!("its process was killed by signal {signal}"),
            Ok(Ok(Ended::NotStarted(reason))) => {
                return WorkerEnd::NeverBegan(format!("its process could not be started: {reason}"));
            }
            Ok(Err(_)) | Err(_) => "its process is gone".to_owned(),
        })
    }
}
