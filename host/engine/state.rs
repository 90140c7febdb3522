//! The state of a running step.

use crate::files::Files;
use crate::handles::{Handles, Host};
use crate::http::Outbox;
use crate::limits::Consumption;
use attest_evidence::name::{KeyName, OutputName, SecretName};
use std::collections::BTreeSet;
use std::sync::Arc;
use wasmtime::component::{HasData, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

/// Most handles that a step may hold at once: a thousand open files are a defect.
pub(crate) const MOST_HANDLES: usize = 1024;
/// Bytes of one message to the log, and of one output.
pub(crate) const LONGEST_TEXT: usize = 64 * 1024;

/// A step's handle of a secret.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct SecretHandle(pub(crate) SecretName);

/// A step's handle of a key.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct KeyHandle(pub(crate) KeyName);

/// A running step.
pub(crate) struct State {
    pub(crate) handles: Handles,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) consumption: Consumption,
    pub(crate) table: ResourceTable,
    pub(crate) wasi: WasiCtx,
    pub(crate) outbox: Outbox,
    pub(crate) files: Files,
    pub(crate) outputs_set: BTreeSet<OutputName>,
    /// Bytes of summary, and annotations, so far.
    pub(crate) summary: usize,
    pub(crate) annotations: usize,
}

/// Tells the linker that a step's imports work on [`State`].
pub(crate) struct Step;

impl HasData for Step {
    type Data<'a> = &'a mut State;
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.outbox.context, table: &mut self.table, hooks: &mut self.outbox.hooks }
    }
}

impl wasmtime_wasi_io::IoView for State {
    fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}
