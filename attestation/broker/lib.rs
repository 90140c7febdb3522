//! The broker: verifier and relying party in one.
//!
//! An exchange goes through it in this order, and `exchange` is where to read it:
//!
//! 1. the nonce of its challenge is taken out of use, before anything else is looked at;
//! 2. the evidence is appraised ([`attest_appraisal::AppraisedHost`]), the job identified
//!    ([`exchange::VerifiedJob`]), policy asked ([`policy::Decision`]);
//! 3. out of these three, and nothing else, a [`exchange::Grant`] is made;
//! 4. the decision, its lease and its audit entry are committed together; only then is the grant sent.
//!
//! It links neither libtss2 nor wasmtime: it believes what it can verify in Rust.

pub mod admin;
mod alarms;
pub mod audit;
mod boots;
mod broker;
mod clock;
mod enrolment;
pub mod exchange;
mod https;
mod issuers;
mod keys;
mod leases;
mod measurements;
pub mod policy;
mod refusals;
pub mod secrets;
mod server;
pub mod signatures;
pub mod store;
pub mod timestamps;
pub mod tokens;

pub use alarms::{Alarm, AlarmKind};
pub use broker::{Broker, Settings};
pub use keys::{BrokerKeys, KeyError, RootKey};
pub use server::{Refusal, ServeError, Server};
