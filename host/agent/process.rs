//! A process that the spawner has started: what it says, and how it ended.

use attest_spawner::Started;
use attest_wire::spawner::Ended;
use attest_wire::{Channel, FrameReader, FrameWriter, WireError, split};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::os::fd::BorrowedFd;
use std::time::Duration;
use tokio::sync::mpsc;

/// Messages of a process that wait to be served.
const LONGEST_QUEUE: usize = 16;
/// How long a process that has said that it is done may take to end.
const LONGEST_FAREWELL: Duration = Duration::from_secs(2);
/// The signal by which the kernel ends a process that made a forbidden system call: SIGSYS.
const FORBIDDEN_CALL: i32 = 31;

/// A process that speaks `M`. Dropped, it is ended.
pub(crate) struct Process<M> {
    messages: mpsc::Receiver<Result<M, WireError>>,
    writer: FrameWriter,
    lifeline: FrameReader,
    /// Held for its other end: when it is closed, the spawner ends the process.
    held: FrameWriter,
    /// How it ended: the spawner says it once.
    death: Option<Death>,
}

/// What a process said, or that it says nothing more.
pub(crate) struct Said<M>(pub(crate) Option<Result<M, WireError>>);

/// How a process came to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Death {
    /// It ended by itself, and as it should.
    #[error("its process ended with status 0")]
    Ended,
    /// Something went wrong with it.
    #[error("{0}")]
    Died(String),
    /// It never ran.
    #[error("{0}")]
    NeverBegan(String),
}

/// What comes over a connection, up to an error. To wait for it may be cancelled, as reading may not.
pub(crate) fn messages<M: DeserializeOwned + Send + 'static>(
    mut reader: FrameReader,
) -> mpsc::Receiver<Result<M, WireError>> {
    let (heard, messages) = mpsc::channel(LONGEST_QUEUE);
    tokio::spawn(async move {
        loop {
            let message = reader.receive::<M>().await;
            let last = message.is_err();
            if heard.send(message).await.is_err() || last {
                return;
            }
        }
    });
    messages
}

impl<M: DeserializeOwned + Send + 'static> Process<M> {
    /// Tells a process what it is for.
    pub(crate) fn begin(
        started: Started,
        start: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Self, Death> {
        let Started { channel, lifeline } = started;
        let broken = |error: WireError| Death::NeverBegan(error.to_string());
        match channel.send_with(start, descriptors) {
            // It has ended before it heard anything: why comes over the lifeline.
            Err(WireError::Closed) => {
                let _ = lifeline.set_read_timeout(Some(LONGEST_FAREWELL));
                let ended = Channel::new(lifeline).receive::<Ended>();
                return Err(ended.map_or_else(broken, Death::from));
            }
            sent => sent.map_err(broken)?,
        }
        let (reader, writer) = split(channel.into_stream()).map_err(broken)?;
        let (lifeline, held) = split(lifeline).map_err(broken)?;
        Ok(Self { messages: messages(reader), writer, lifeline, held, death: None })
    }

    /// What it says next.
    pub(crate) async fn hear(&mut self) -> Result<M, Death> {
        let said = self.said().await;
        self.understood(said).await
    }

    /// The same in two steps. The first may be cancelled, and nothing is lost.
    pub(crate) async fn said(&mut self) -> Said<M> {
        Said(self.messages.recv().await)
    }

    /// The second may not: it looks how the process ended, if it did.
    pub(crate) async fn understood(&mut self, said: Said<M>) -> Result<M, Death> {
        match said.0 {
            Some(Ok(message)) => Ok(message),
            Some(Err(WireError::Closed)) | None => Err(self.died().await),
            Some(Err(error)) => Err(Death::Died(format!("what it said is no message: {error}"))),
        }
    }

    /// Tells it something.
    pub(crate) async fn tell(&mut self, message: &impl Serialize) -> Result<(), Death> {
        match self.writer.send(message).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.died().await),
        }
    }

    /// Waits until a process that has said that it is done has ended, and no longer than that may take.
    pub(crate) async fn farewell(&mut self) {
        let _ = tokio::time::timeout(LONGEST_FAREWELL, self.lifeline.receive::<Ended>()).await;
    }

    /// Ends the process, and waits until it is gone; not for ever, if it waits for a disk.
    pub(crate) async fn end(self) {
        let Self { mut lifeline, held, .. } = self;
        // The other end of the lifeline is told; this end stays open for the answer.
        held.finish().await;
        if tokio::time::timeout(LONGEST_FAREWELL, lifeline.receive::<Ended>()).await.is_err() {
            tracing::warn!("a process that was killed has not ended yet: it waits for a disk, or for memory");
        }
    }

    /// How a process died that has closed its connection.
    async fn died(&mut self) -> Death {
        if let Some(death) = &self.death {
            return death.clone();
        }
        let ended = tokio::time::timeout(LONGEST_FAREWELL, self.lifeline.receive::<Ended>()).await;
        let death = match ended {
            Ok(Ok(ended)) => Death::from(ended),
            Ok(Err(_)) | Err(_) => Death::Died("its process is gone".to_owned()),
        };
        self.death.insert(death).clone()
    }
}

impl From<Ended> for Death {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Exited(0) => Self::Ended,
            Ended::Exited(code) => Self::Died(format!("its process ended with status {code}")),
            Ended::Signalled(FORBIDDEN_CALL) => {
                Self::Died("its process was killed: it made a forbidden system call".to_owned())
            }
            Ended::Signalled(signal) => Self::Died(format!("its process was killed by signal {signal}")),
            Ended::NotStarted(reason) => Self::NeverBegan(format!("its process could not be started: {reason}")),
        }
    }
}
