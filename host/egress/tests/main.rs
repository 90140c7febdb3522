//! The real program between a worker and servers of this machine. The tests speak to it as the worker and as the agent do.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

mod forwarding;
mod g03;
mod g04;
mod g05;
mod harness;
mod injection;
mod servers;
mod silence;
mod walls;
