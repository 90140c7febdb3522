//! Machine code: made of a component in one process, loaded in another.
#![expect(unsafe_code, reason = "wasmtime can't know whether code comes from its own compiler")]

use crate::limits::STACK;
use wasmtime::Config;
use wasmtime::component::Component;

/// A compiler and the settings it compiles with.
pub struct Engine(wasmtime::Engine);

/// A compiled component.
pub struct Compiled {
    pub(crate) engine: wasmtime::Engine,
    pub(crate) component: Component,
}

/// Why a component can't run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// wasmtime can't be set up.
    #[error("the engine can't be set up: {0}")]
    Setup(String),
    /// The bytes are not a valid component.
    #[error("the component is not valid: {0}")]
    Invalid(String),
    /// It is not code of this engine, for this machine.
    #[error("the code is not this engine's: {0}")]
    NotOurs(String),
    /// It imports what was not granted, or of another type.
    #[error("the component can't be linked: {0}")]
    Link(String),
}

impl Engine {
    /// An engine for one step. It starts no thread, opens no file and maps no more than it must.
    ///
    /// # Errors
    /// [`EngineError::Setup`].
    pub fn new() -> Result<Self, EngineError> {
        let mut config = Config::new();
        config.max_wasm_stack(STACK);
        config.async_stack_size(2 * STACK);
        // Copy-on-write images would need memfds; each step runs once, so that they would not pay.
        config.memory_init_cow(false);
        wasmtime::Engine::new(&config).map(Self).map_err(|error| EngineError::Setup(format!("{error:#}")))
    }

    /// Compiles a component, on this thread: code that [`Engine::load`] takes on this machine.
    ///
    /// # Errors
    /// [`EngineError::Invalid`].
    pub fn compile(&self, bytes: &[u8]) -> Result<Vec<u8>, EngineError> {
        // Text is WebAssembly too, to some; not to us.
        if !bytes.starts_with(b"\0asm") {
            return Err(EngineError::Invalid("it does not begin as WebAssembly does".to_owned()));
        }
        self.0.precompile_component(bytes).map_err(|error| EngineError::Invalid(format!("{error:#}")))
    }

    /// Loads code.
    ///
    /// # Errors
    /// [`EngineError::NotOurs`].
    ///
    /// # Safety
    /// `code` must be what [`Engine::compile`] made, byte by byte: it is executed. The agent gives a sealed file in memory
    /// whose message authentication code it has checked.
    pub unsafe fn load(&self, code: &[u8]) -> Result<Compiled, EngineError> {
        // SAFETY: the caller's promise.
        let component = unsafe { Component::deserialize(&self.0, code) };
        let component = component.map_err(|error| EngineError::NotOurs(format!("{error:#}")))?;
        Ok(Compiled { engine: self.0.clone(), component })
    }
}
