//! From code to a step that has ended.

use crate::bindings::Step as World;
use crate::code::{Compiled, EngineError};
use crate::files::{Files, FilesSeen};
use crate::handles::{Handles, Host, HostStopped};
use crate::http::Outbox;
use crate::limits::{Consumption, Limits, STACK};
use crate::linker::{Kind, link};
use crate::state::{MOST_HANDLES, State};
use crate::stdio::Console;
use attest_evidence::name::DirectoryName;
use attest_wire::worker::Stream;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime::{Store, Trap};
use wasmtime_wasi::p2::bindings::Command;
use wasmtime_wasi::{I32Exit, WasiCtx};

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

/// A step that has ended, and what it did to files.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub outcome: Outcome,
    /// What it did to the files of each directory that it touched.
    pub files: BTreeMap<DirectoryName, FilesSeen>,
}

impl Compiled {
    /// Runs the step to its end. Keeping the time is the caller's business.
    ///
    /// # Errors
    /// [`EngineError::Link`] if it imports what `handles` don't hold.
    pub async fn run(
        &self,
        mut handles: Handles,
        limits: Limits,
        host: Arc<dyn Host>,
        arguments: &[String],
    ) -> Result<Ended, EngineError> {
        let link_error = |error: wasmtime::Error| EngineError::Link(format!("{error:#}"));
        let kind = self.kind();
        let mut linker = Linker::new(&self.engine);
        link(&mut linker, &handles, kind).map_err(link_error)?;
        let outbox = match handles.http.take() {
            Some(connection) => Outbox::open(connection).await.map_err(link_error)?,
            None => Outbox::closed(),
        };
        let mut table = ResourceTable::new();
        table.set_max_capacity(MOST_HANDLES);
        let consumption = Consumption::new(limits);
        // No preopen, no environment, no argument, no stream; files are read on this thread.
        let mut wasi = WasiCtx::builder();
        wasi.allow_blocking_current_thread(true);
        if kind == Kind::Command {
            let console = |stream| Console { stream, host: Arc::clone(&host), meter: Arc::clone(consumption.meter()) };
            wasi.args(arguments).stdout(console(Stream::Output)).stderr(console(Stream::Error));
            for (name, value) in handles.environment.drain(..) {
                value.expose(|value| {
                    wasi.env(name, String::from_utf8_lossy(value));
                });
            }
        }
        let state = State {
            handles,
            host,
            consumption,
            table,
            wasi: wasi.build(),
            outbox,
            files: Files::default(),
            outputs_set: BTreeSet::new(),
            summary: 0,
            annotations: 0,
        };
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.consumption);
        let outcome = match kind {
            Kind::Step => self.run_step(&mut store, &linker, arguments).await?,
            Kind::Command => self.run_command(&mut store, &linker).await?,
        };
        let state = store.data();
        let files = state.files.seen(|name| state.handles.directories.get(name).map(|granted| &granted.directory));
        Ok(Ended { outcome, files })
    }

    fn kind(&self) -> Kind {
        let ty = self.component.component_type();
        // As `attest_step::StepKind::of` decides: what has both is a step.
        let step = ty.exports(&self.engine).any(|(name, _)| name == "run");
        if step { Kind::Step } else { Kind::Command }
    }

    async fn run_step(
        &self,
        store: &mut Store<State>,
        linker: &Linker<State>,
        arguments: &[String],
    ) -> Result<Outcome, EngineError> {
        let world = match World::instantiate_async(&mut *store, &self.component, linker).await {
            Ok(world) => world,
            Err(error) => return not_instantiated(store, error),
        };
        Ok(match world.call_run(&mut *store, arguments).await {
            Ok(Ok(())) => Outcome::Succeeded,
            Ok(Err(error)) if error.message.len() > LONGEST_ERROR => {
                Outcome::OverLimit(format!("{} KiB of an error's message", LONGEST_ERROR >> 10))
            }
            Ok(Err(error)) => Outcome::Failed { code: error.code.clamp(1, 123), message: error.message },
            Err(error) => ended(store, &error),
        })
    }

    async fn run_command(&self, store: &mut Store<State>, linker: &Linker<State>) -> Result<Outcome, EngineError> {
        let command = match Command::instantiate_async(&mut *store, &self.component, linker).await {
            Ok(command) => command,
            Err(error) => return not_instantiated(store, error),
        };
        Ok(match command.wasi_cli_run().call_run(&mut *store).await {
            Ok(Ok(())) => Outcome::Succeeded,
            Ok(Err(())) => exited(1),
            Err(error) => match error.downcast_ref::<I32Exit>() {
                Some(I32Exit(status)) => exited(*status),
                None => ended(store, &error),
            },
        })
    }
}

/// The longest message with which a step may fail: one for people, and sent as one.
const LONGEST_ERROR: usize = 64 * 1024;

/// A command that ended with a status.
fn exited(status: i32) -> Outcome {
    match u8::try_from(status) {
        Ok(0) => Outcome::Succeeded,
        Ok(code) => Outcome::Failed { code: code.clamp(1, 123), message: format!("exit status {code}") },
        Err(_) => Outcome::Failed { code: 1, message: format!("exit status {status}") },
    }
}

fn not_instantiated(store: &Store<State>, error: wasmtime::Error) -> Result<Outcome, EngineError> {
    if error.downcast_ref::<Trap>().is_some() || store.data().consumption.exceeded().is_some() {
        return Ok(ended(store, &error));
    }
    Err(EngineError::Link(format!("{error:#}")))
}

fn ended(store: &Store<State>, error: &wasmtime::Error) -> Outcome {
    if error.downcast_ref::<HostStopped>().is_some() {
        return Outcome::HostStopped;
    }
    if let Some(limit) = store.data().consumption.exceeded() {
        return Outcome::OverLimit(limit);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => Outcome::OverLimit(format!("{} KiB of stack: it recurses too deep", STACK >> 10)),
        Some(trap) => Outcome::Trapped(trap.to_string()),
        None => Outcome::Trapped(format!("{:#}", error.root_cause())),
    }
}
