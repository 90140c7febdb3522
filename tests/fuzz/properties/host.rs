//! What a job hands to the host, and what the host's processes say to each other.

use crate::shown;
use attest_evidence::Sha256Digest;
use attest_evidence::report::Explain as _;
use attest_step::{CheckedStep, Component, Manifest};
use attest_wire::{Channel, client, spawner, worker};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;

/// `step.toml`.
pub fn manifest(bytes: &[u8]) {
    match Manifest::parse(bytes) {
        Ok(manifest) => {
            assert_eq!(manifest.digest(), Sha256Digest::of(bytes));
            let Manifest { secrets, tokens, keys, dirs, outputs, .. } = &manifest;
            let counts = [secrets.len(), tokens.len(), keys.len(), dirs.len(), outputs.len()];
            assert!(counts.into_iter().all(|count| count <= 64));
        }
        Err(refused) => shown(&refused.report()),
    }
}

/// The outer layer of a component, held against a manifest that declares nothing.
pub fn component(bytes: &[u8]) {
    let component = match Component::inspect(bytes) {
        Ok(component) => component,
        Err(refused) => return shown(&refused.report()),
    };
    assert_eq!(component.digest, Sha256Digest::of(bytes));
    assert!(component.imports.len() <= 256);
    let nothing = Manifest::parse(b"[step]\nname = \"nothing\"\n").expect("the least manifest");
    if let Err(refused) = CheckedStep::check(nothing, component) {
        shown(&refused.report());
    }
}

/// Frames, as each process may get them from each other one.
pub fn wire(bytes: &[u8]) {
    /// Less than a socket holds: nobody reads while this function writes.
    const LONGEST: usize = 64 * 1024;
    if bytes.len() > LONGEST {
        return;
    }
    message::<client::Request>(bytes);
    message::<client::Event>(bytes);
    message::<worker::Start>(bytes);
    message::<worker::FromWorker>(bytes);
    message::<worker::Signed>(bytes);
    message::<spawner::Spawn>(bytes);
    message::<spawner::Ended>(bytes);
}

/// What arrives and is sent on arrives as the same bytes.
fn message<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Some(message) = received::<T>(bytes) else { return };
    let sent = sent(&message);
    let again = received::<T>(&sent).expect("it was sent");
    assert_eq!(self::sent(&again), sent);
}

fn received<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (here, there) = Channel::pair().expect("a pair of sockets");
    let mut stream = here.stream();
    stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write)).expect("the socket has room");
    there.receive().ok()
}

fn sent(message: &impl Serialize) -> Vec<u8> {
    let (here, there) = Channel::pair().expect("a pair of sockets");
    here.send(message).expect("it is no longer than what arrived");
    drop(here);
    let mut bytes = Vec::new();
    let _ = there.into_stream().read_to_end(&mut bytes);
    bytes
}
