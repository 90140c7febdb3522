//! What tests stand on.

mod broker;
mod clock;
mod directory;
mod held;
mod interposer;
mod issuer;
mod kernel;
mod process;
mod programs;
mod relying_party;
mod rig;
mod runner;
mod server;
mod soft_ak;
mod swtpm;
mod tracer;
mod webhook;

pub(crate) use broker::Broker;
pub(crate) use clock::WallClock;
pub(crate) use directory::{Directory, directory};
pub(crate) use held::Held;
pub(crate) use interposer::{Deed, Interposer};
pub(crate) use issuer::{Issuer, IssuerKey, Mood};
pub(crate) use kernel::Kernel;
pub(crate) use process::{Output, run, wait_until};
pub(crate) use programs::{programs, step, step_file, worker_programs};
pub(crate) use relying_party::{RelyingParty, header as token_header};
pub(crate) use rig::{Rig, assemble, attesting, refusal};
pub(crate) use runner::{Runner, Users};
pub(crate) use server::{Received, Server, reply};
pub(crate) use soft_ak::{Forged, SoftAk};
pub(crate) use swtpm::Swtpm;
pub(crate) use tracer::Tracer;
pub(crate) use webhook::Webhook;

use attest_tpm::{Embedded, Transport};
use std::path::Path;

/// A TPM in software whose state lies in `directory`.
pub(crate) fn embedded(directory: &Path) -> Transport {
    Transport::Embedded(Embedded::new(directory).with_program(programs().join("attest-embedded-tpm")))
}
