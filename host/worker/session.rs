//! The engine's host, which is the agent at the other end of the connection.

use attest_engine::{Failed, FilesSeen, Host, HostStopped, Signer};
use attest_evidence::SecretBytes;
use attest_evidence::exchange::KeyFormat;
use attest_evidence::name::{KeyName, OutputName, SecretName};
use attest_wire::Channel;
use attest_wire::worker::{Annotation, CHUNK, Derived, FileSeen, Files, FromWorker, Level, Signed, Stream};
use std::sync::Arc;

/// Passes what the step does on to the agent.
pub(crate) struct Session(pub(crate) Arc<Channel>);

impl Session {
    fn tell(&self, message: &FromWorker) -> Result<(), HostStopped> {
        self.0.send(message).map_err(|_| HostStopped)
    }
}

impl Host for Session {
    fn log(&self, level: Level, message: String, last: bool) -> Result<(), HostStopped> {
        self.tell(&FromWorker::Log { level, message, last })
    }

    fn stream(&self, stream: Stream, bytes: &[u8]) -> Result<(), HostStopped> {
        bytes.chunks(CHUNK).try_for_each(|part| self.tell(&FromWorker::Stream { stream, bytes: part.to_vec() }))
    }

    fn output(&self, name: &OutputName, value: String) -> Result<(), HostStopped> {
        self.tell(&FromWorker::Output { name: name.clone(), value })
    }

    fn summary(&self, markdown: String) -> Result<(), HostStopped> {
        self.tell(&FromWorker::Summary(markdown))
    }

    fn annotate(&self, annotation: Annotation) -> Result<(), HostStopped> {
        self.tell(&FromWorker::Annotation(annotation))
    }

    fn revealed(&self, name: &SecretName) -> Result<(), HostStopped> {
        self.tell(&FromWorker::Revealed(name.clone()))
    }

    fn derive(
        &self,
        key: &KeyName,
        purpose: String,
        message: Option<Vec<u8>>,
    ) -> Result<Result<SecretBytes, Failed>, HostStopped> {
        self.tell(&FromWorker::Derive { key: key.clone(), purpose, message })?;
        match self.0.receive() {
            Ok(Derived::Bytes(bytes)) => Ok(Ok(bytes.into_secret())),
            Ok(Derived::Failed(reason)) => Ok(Err(Failed(reason))),
            Err(_) => Err(HostStopped),
        }
    }

    fn sign(&self, key: &KeyName, format: KeyFormat) -> Result<Box<dyn Signer + '_>, HostStopped> {
        self.tell(&FromWorker::SignBegin { key: key.clone(), format })?;
        Ok(Box::new(Signing(self)))
    }
}

struct Signing<'a>(&'a Session);

impl Signer for Signing<'_> {
    fn update(&mut self, part: &[u8]) -> Result<(), HostStopped> {
        part.chunks(CHUNK).try_for_each(|chunk| self.0.tell(&FromWorker::SignChunk(chunk.to_vec())))
    }

    fn finish(self: Box<Self>) -> Result<Result<Vec<u8>, Failed>, HostStopped> {
        self.0.tell(&FromWorker::SignEnd)?;
        match self.0.0.receive() {
            Ok(Signed::Signature(signature)) => Ok(Ok(signature)),
            Ok(Signed::Failed(reason)) => Ok(Err(Failed(reason))),
            Err(_) => Err(HostStopped),
        }
    }
}

/// What is listed of each directory: the rest is counted.
const MOST_FILES: usize = 128;
/// Bytes of all paths that are listed: all of it has to fit one message.
pub(crate) const MOST_PATHS: usize = 256 * 1024;

/// What a step did to files, to be sent. `left` is what is left of [`MOST_PATHS`].
pub(crate) fn files(seen: FilesSeen, left: &mut usize) -> Files {
    let mut more = seen.more;
    let mut list = |files: Vec<(String, Option<[u8; 32]>)>| {
        let mut listed = Vec::new();
        for (path, sha256) in files {
            match left.checked_sub(path.len()) {
                Some(rest) if listed.len() < MOST_FILES => {
                    *left = rest;
                    listed.push(FileSeen { path, sha256 });
                }
                _ => more += 1,
            }
        }
        listed
    };
    let (read, written) = (list(seen.read), list(seen.written));
    Files { read, written, more }
}
