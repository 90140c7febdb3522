//! The runner's side: it owns the TPM, asks the broker, and serves the handles of running steps.
//!
//! An [`Agent`] is the same whether it is a daemon of its own user that clients reach over a socket
//! ([`serve`](Agent::serve)) or lives for one `attest-run` that has started it (direct mode). [`Agent::run_step`] is
//! where to start reading: from two open files to a lease that has ended.

mod agent;
mod boot;
mod boottime;
mod broker;
mod code;
pub mod config;
mod derived;
mod egress;
mod embedded;
mod enrol;
mod exchange;
pub mod installed;
mod jobs;
mod keys;
mod lease;
mod leased;
mod log;
mod measure;
mod measured;
mod process;
mod programs;
mod record;
mod rehearsal;
mod screen;
mod search;
mod serve;
mod signals;
mod signing;
mod state;
mod step;
mod worker;

pub use agent::{Agent, AgentError, Settings};
pub use boot::{firmware_log, read_event_log};
pub use broker::{BrokerClient, BrokerError, BrokerUrl};
pub use derived::serve as serve_derivation;
pub use embedded::{BrokerStarting, EmbeddedBroker};
pub use jobs::Peer;
pub use keys::{KeyError, KeyStore};
pub use log::start_log;
pub use measure::{MeasureError, digest_if_there};
pub use measured::MeasurementList;
pub use rehearsal::{LONGEST_FIXTURE, Rehearsal, RehearsalError};
pub use serve::{Admins, Client, ServeError, listen};
pub use signals::told_to_end;
pub use signing::{LONGEST_ED25519_MESSAGE, public_key_text};
pub use state::{Enrolment, State, StateError};
pub use step::{StepError, StepRequest};
