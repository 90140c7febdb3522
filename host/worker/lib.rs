//! The process that a step runs in.
//!
//! It comes to life with one connection, to the agent, as its standard input. It takes the file-system
//! identity of the runner's user, gives up every capability, learns what to run, raises its walls
//! ([`walls::Walls`]), and only then compiles and runs the component ([`serve`]). Whoever breaks out of the
//! component stands in a process with no network, no TPM, no other process in reach, and the directories that
//! the step was given anyway.

mod serve;
mod session;
pub mod walls;

pub use serve::{begin, serve};
