//! wasmtime: a component becomes a running step with handles, and with nothing else.
//!
//! [`Engine::compile`] turns bytes into machine code, [`Compiled::run`] links what [`Handles`] hold, and only
//! that, and runs the step. What the step does with its handles goes to a [`Host`].
//!
//! It starts no thread and opens no file: the worker calls it behind its walls.

mod bindings;
mod handles;
mod limits;
mod linker;
mod run;
mod state;

pub use handles::{Directory, Handles, Host, HostStopped, Key, Level, LogLimit, Secret, SignFailed, Signer};
pub use limits::Limits;
pub use run::{Compiled, Engine, EngineError, Outcome};
