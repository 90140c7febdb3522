//! wasmtime: a component becomes a running step with handles, and with nothing else.
//!
//! [`Engine::compile`] turns bytes into machine code, in a process that does only that; [`Engine::load`] takes such code
//! up, [`Compiled::run`] links what [`Handles`] hold, and only that, and runs the step. What the step does with its
//! handles goes to a [`Host`]; its requests go to the egress process.
//!
//! It starts no thread and opens no file but below the directories that it was given: the worker calls it behind its walls.

mod bindings;
mod code;
mod files;
mod handles;
mod http;
mod imports;
mod limits;
mod linker;
mod run;
mod state;
mod stdio;

pub use code::{Compiled, Engine, EngineError};
pub use files::FilesSeen;
pub use handles::{Directory, Failed, Handles, Host, HostStopped, Key, Secret, Signer, SigningKey};
pub use limits::Limits;
pub use run::{Ended, Outcome};
