//! Sends the requests of one step, and is the only process that holds the secrets in them.
//!
//! The worker asks, over HTTP/2; nothing that it says is believed. For each request: [`request`] checks what it is and to whom
//! it goes, [`granted`] whether its secrets may stand where they are asked for, [`reach`] where that host lies; [`inject`] puts the
//! secrets in, [`network`] sends it over what [`connect`] connects to, and [`answer`] searches what comes back. The agent is told
//! of each ([`teller`]).
//!
//! The paved path, for the program: [`begin`], then [`run`]. [`serve`] is what is between walls.
//! [`rehearse`] is the same with canned servers in the network's place, for tests of steps.
#![warn(clippy::indexing_slicing)]

mod addresses;
mod answer;
mod begin;
mod connect;
mod exchange;
mod fence;
mod fields;
mod form;
mod granted;
mod inject;
mod json;
mod names;
mod network;
mod outgoing;
mod progress;
mod reach;
mod record;
mod refusal;
mod request;
mod serve;
mod teller;
mod trust;

pub use begin::{BeginError, begin, run};
pub use exchange::Timeouts;
pub use fence::{CALLS, fence};
pub use granted::Granted;
pub use network::{Answering, FromServer, Servers};
pub use outgoing::{Broken, Outgoing};
pub use reach::{Hosts, Resolve, ResolveError, Resolving};
pub use refusal::{NoAnswer, Refusal};
pub use serve::{Lease, rehearse, serve};
pub use trust::{TrustError, client};
