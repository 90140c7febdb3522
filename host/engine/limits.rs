//! What a step may consume.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wasmtime::{ResourceLimiter, Result};

/// Most instances and memories within one component: a language runtime has a handful.
const MOST_INSTANCES: usize = 256;
/// Most tables, and elements of all of them: tables hold functions, and a program with a million of them is none.
/// An element takes 8 to 16 bytes beside the linear memory.
const MOST_TABLES: usize = 256;
const MOST_ELEMENTS: usize = 1 << 20;
/// Stack for WebAssembly: recursion some ten thousand calls deep.
pub(crate) const STACK: usize = 1 << 20;

/// Bounds of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory, all memories together.
    pub memory: u64,
    /// Bytes of log, streams, outputs, summary and annotations, together.
    pub output: u64,
}

/// Counts what a step writes for people, wherever it does.
#[derive(Debug)]
pub(crate) struct Meter {
    limit: u64,
    written: AtomicU64,
}

impl Meter {
    /// Counts; an error stops the step.
    pub(crate) fn write(&self, bytes: usize) -> Result<()> {
        let before = self.written.fetch_add(bytes as u64, Ordering::Relaxed);
        if before.saturating_add(bytes as u64) > self.limit {
            return Err(wasmtime::format_err!("the step has written more than it may"));
        }
        Ok(())
    }

    fn exceeded(&self) -> Option<String> {
        let exceeded = self.written.load(Ordering::Relaxed) > self.limit;
        exceeded.then(|| format!("{} of log and outputs", mebibytes(self.limit)))
    }
}

/// Counts what a step has, and remembers what it wanted beyond.
#[derive(Debug)]
pub(crate) struct Consumption {
    limits: Limits,
    memory: u64,
    elements: usize,
    meter: Arc<Meter>,
    exceeded: Option<String>,
}

impl Consumption {
    pub(crate) fn new(limits: Limits) -> Self {
        let meter = Arc::new(Meter { limit: limits.output, written: AtomicU64::new(0) });
        Self { limits, memory: 0, elements: 0, meter, exceeded: None }
    }

    /// What counts output.
    pub(crate) const fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Counts output; an error stops the step.
    pub(crate) fn write(&self, bytes: usize) -> Result<()> {
        self.meter.write(bytes)
    }

    /// Stops the step: it went over `limit`.
    pub(crate) fn stop(&mut self, limit: String) -> wasmtime::Error {
        let error = wasmtime::format_err!("the step went over its limit of {limit}");
        self.exceeded = Some(limit);
        error
    }

    /// The limit that was hit, if one was.
    pub(crate) fn exceeded(&self) -> Option<String> {
        self.exceeded.clone().or_else(|| self.meter.exceeded())
    }
}

/// A step that is refused memory may go on without; if it fails then, the limit is what it is told.
impl ResourceLimiter for Consumption {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        let more = desired.saturating_sub(current) as u64;
        let total = self.memory.saturating_add(more);
        if total > self.limits.memory {
            self.exceeded = Some(format!("{} of memory", mebibytes(self.limits.memory)));
            return Ok(false);
        }
        self.memory = total;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        let total = self.elements.saturating_add(desired.saturating_sub(current));
        if total > MOST_ELEMENTS {
            self.exceeded = Some(format!("{MOST_ELEMENTS} elements of tables"));
            return Ok(false);
        }
        self.elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MOST_INSTANCES
    }

    fn tables(&self) -> usize {
        MOST_TABLES
    }

    fn memories(&self) -> usize {
        MOST_INSTANCES
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
