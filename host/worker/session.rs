//! The engine's host, which is the agent at the other end of the connection.

use attest_engine::{Host, HostStopped, Level, SignFailed, Signer};
use attest_evidence::exchange::KeyFormat;
use attest_evidence::name::{KeyName, OutputName};
use attest_wire::Channel;
use attest_wire::worker::{CHUNK, FromWorker, Level as WireLevel, Signed};
use std::sync::Arc;

/// Passes what the step does on to the agent.
pub(crate) struct Session(pub(crate) Arc<Channel>);

impl Session {
    fn tell(&self, message: &FromWorker) -> Result<(), HostStopped> {
        self.0.send(message).map_err(|_| HostStopped)
    }
}

impl Host for Session {
    fn log(&mut self, level: Level, message: String) -> Result<(), HostStopped> {
        let level = match level {
            Level::Debug => WireLevel::Debug,
            Level::Info => WireLevel::Info,
            Level::Warn => WireLevel::Warn,
            Level::Error => WireLevel::Error,
        };
        self.tell(&FromWorker::Log { level, message })
    }

    fn output(&mut self, name: &OutputName, value: String) -> Result<(), HostStopped> {
        self.tell(&FromWorker::Output { name: name.clone(), value })
    }

    fn sign(&mut self, key: &KeyName, format: KeyFormat) -> Result<Box<dyn Signer + '_>, HostStopped> {
        self.tell(&FromWorker::SignBegin { key: key.clone(), format })?;
        Ok(Box::new(Signing(self)))
    }
}

struct Signing<'a>(&'a Session);

impl Signer for Signing<'_> {
    fn update(&mut self, part: &[u8]) -> Result<(), HostStopped> {
        part.chunks(CHUNK).try_for_each(|chunk| self.0.tell(&FromWorker::SignChunk(chunk.to_vec())))
    }

    fn finish(self: Box<Self>) -> Result<Result<Vec<u8>, SignFailed>, HostStopped> {
        self.0.tell(&FromWorker::SignEnd)?;
        match self.0.0.receive() {
            Ok(Signed::Signature(signature)) => Ok(Ok(signature)),
            Ok(Signed::Failed(reason)) => Ok(Err(SignFailed(reason))),
            Err(_) => Err(HostStopped),
        }
    }
}
