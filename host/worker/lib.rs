//! The process that a step runs in.
//!
//! It comes to life with one connection, to the agent, as its standard input. It takes the file-system
//! identity of the runner's user, gives up every capability, learns what to run, raises its walls
//! ([`attest_walls::Walls`] around its [`fence`]), and only then loads and runs the component ([`serve`]). Whoever breaks out of the
//! component stands in a process with no network, no TPM, no other process in reach, and the directories that
//! the step was given anyway.
//!
//! The same program compiles components ([`compile`]), in a process that is given nothing but one, and looks for secrets in
//! the files that a step wrote ([`search`]), in one that runs nothing.

mod compile;
mod fence;
mod search;
mod serve;
mod session;

pub use compile::compile;
pub use fence::{CALLS, fence};
pub use search::search;
pub use serve::{begin, serve};
