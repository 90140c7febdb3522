//! From bytes to a step that has ended.

use crate::bindings::Step as World;
use crate::handles::{Handles, Host, HostStopped};
use crate::limits::{Consumption, Limits, STACK};
use crate::linker::link;
use crate::state::{MOST_HANDLES, State};
use std::collections::BTreeSet;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Store, Trap};
use wasmtime_wasi::WasiCtx;

/// A compiler and the settings it compiles with.
pub struct Engine(wasmtime::Engine);

/// A compiled component.
pub struct Compiled {
    engine: wasmtime::Engine,
    component: Component,
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
    /// It imports what was not granted, or of another type.
    #[error("the component can't be linked: {0}")]
    Link(String),
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Succeeded,
    /// The step says that it failed.
    Failed {
        /// Its exit status, 1 to 123.
        code: u8,
        /// What it says.
        message: String,
    },
    /// It trapped.
    Trapped(String),
    /// It went over a limit: which.
    OverLimit(String),
    /// Whoever served it is gone.
    HostStopped,
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

    /// Compiles a component, on this thread.
    ///
    /// # Errors
    /// [`EngineError::Invalid`].
    pub fn compile(&self, bytes: &[u8]) -> Result<Compiled, EngineError> {
        let component =
            Component::from_binary(&self.0, bytes).map_err(|error| EngineError::Invalid(format!("{error:#}")))?;
        Ok(Compiled { engine: self.0.clone(), component })
    }
}

impl Compiled {
    /// Runs the step to its end. Keeping the time is the caller's business.
    ///
    /// # Errors
    /// [`EngineError::Link`] if it imports what `handles` don't hold.
    pub async fn run(
        &self,
        handles: Handles,
        limits: Limits,
        host: Box<dyn Host>,
        arguments: &[String],
    ) -> Result<Outcome, EngineError> {
        let mut linker = Linker::new(&self.engine);
        link(&mut linker, &handles).map_err(|error| EngineError::Link(format!("{error:#}")))?;
        let mut table = ResourceTable::new();
        table.set_max_capacity(MOST_HANDLES);
        let state = State {
            handles,
            host,
            consumption: Consumption::new(limits),
            table,
            // No preopen, no environment, no argument, no stream; files are read on this thread.
            wasi: WasiCtx::builder().allow_blocking_current_thread(true).build(),
            outputs_set: BTreeSet::new(),
        };
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.consumption);

        let world = match World::instantiate_async(&mut store, &self.component, &linker).await {
            Ok(world) => world,
            Err(error) if error.downcast_ref::<Trap>().is_some() || store.data().consumption.exceeded().is_some() => {
                return Ok(ended(&store, &error));
            }
            Err(error) => return Err(EngineError::Link(format!("{error:#}"))),
        };
        match world.call_run(&mut store, arguments).await {
            Ok(Ok(())) => Ok(Outcome::Succeeded),
            Ok(Err(error)) if error.message.len() > LONGEST_ERROR => {
                Ok(Outcome::OverLimit(format!("{} KiB of an error's message", LONGEST_ERROR >> 10)))
            }
            Ok(Err(error)) => Ok(Outcome::Failed { code: error.code.clamp(1, 123), message: error.message }),
            Err(error) => Ok(ended(&store, &error)),
        }
    }
}

/// The longest message with which a step may fail: one for people, and sent as one.
const LONGEST_ERROR: usize = 64 * 1024;

fn ended(store: &Store<State>, error: &wasmtime::Error) -> Outcome {
    if error.downcast_ref::<HostStopped>().is_some() {
        return Outcome::HostStopped;
    }
    if let Some(limit) = store.data().consumption.exceeded() {
        return Outcome::OverLimit(limit.to_owned());
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => Outcome::OverLimit(format!("{} KiB of stack: it recurses too deep", STACK >> 10)),
        Some(trap) => Outcome::Trapped(trap.to_string()),
        None => Outcome::Trapped(format!("{:#}", error.root_cause())),
    }
}
