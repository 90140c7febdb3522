//! One thread owns the TPM; everyone else asks it. When the connection has broken, the next who asks gets a new one.

use crate::device::Device;
use crate::error::TpmError;
use crate::transport::{SessionProtection, Transport};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use tokio::sync::oneshot;

/// Most operations waiting. A TPM in hardware takes some 100 ms for each: more would time out anyway.
const LONGEST_QUEUE: usize = 256;

type Job = Box<dyn FnOnce(Result<&mut Device, TpmError>) + Send>;

/// A handle to the thread that owns the TPM. Clones share it; with the last one gone, the TPM is closed.
#[derive(Clone)]
pub struct Tpm {
    jobs: SyncSender<Job>,
    commands: Arc<AtomicU64>,
    protection: SessionProtection,
}

impl Tpm {
    /// Opens the TPM, protected as its transport needs.
    ///
    /// # Errors
    /// Whatever keeps it from being opened.
    pub async fn open(transport: Transport) -> Result<Self, TpmError> {
        let protection = transport.protection();
        Self::open_protected(transport, protection).await
    }

    /// Opens the TPM with sessions of the given protection.
    ///
    /// # Errors
    /// Whatever keeps it from being opened.
    pub async fn open_protected(transport: Transport, protection: SessionProtection) -> Result<Self, TpmError> {
        let (jobs, queue) = sync_channel::<Job>(LONGEST_QUEUE);
        let (opened, answer) = oneshot::channel();
        let closed = |_| TpmError::Closed;
        std::thread::Builder::new()
            .name("tpm".to_owned())
            .spawn(move || {
                let device = match Device::open(&transport, protection) {
                    Ok(device) => device,
                    Err(error) => {
                        let _ = opened.send(Err(error));
                        return;
                    }
                };
                if opened.send(Ok(device.commands())).is_err() {
                    return;
                }
                let commands = device.commands();
                let (mut held, mut key) = (Some(device), None);
                while let Ok(job) = queue.recv() {
                    if held.as_ref().is_some_and(Device::is_broken) {
                        key = held.take().and_then(|device| device.credentials());
                    }
                    if held.is_none() {
                        match Device::reopen(&transport, protection, Arc::clone(&commands), key.as_ref()) {
                            Ok(device) => held = Some(device),
                            Err(error) => {
                                job(Err(error));
                                continue;
                            }
                        }
                    }
                    job(held.as_mut().ok_or(TpmError::Closed));
                }
            })
            .map_err(|_| TpmError::Closed)?;
        let commands = answer.await.map_err(closed)??;
        Ok(Self { jobs, commands, protection })
    }

    /// Runs `work` on the TPM's thread, after what was asked before.
    ///
    /// # Errors
    /// What `work` reports; or that the queue is full or the TPM closed.
    pub async fn run<T, F>(&self, work: F) -> Result<T, TpmError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Device) -> Result<T, TpmError> + Send + 'static,
    {
        let (done, answer) = oneshot::channel();
        let job: Job = Box::new(move |device| {
            let _ = done.send(device.and_then(work));
        });
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => TpmError::QueueFull(LONGEST_QUEUE),
            TrySendError::Disconnected(_) => TpmError::Closed,
        })?;
        answer.await.map_err(|_| TpmError::Closed)?
    }

    /// Has `work` run on the TPM's thread some time, if there is room for it and the TPM can be used. Nobody hears of it.
    pub fn later(&self, work: impl FnOnce(&mut Device) + Send + 'static) {
        let job: Job = Box::new(|device| {
            if let Ok(device) = device {
                work(device);
            }
        });
        let _ = self.jobs.try_send(job);
    }

    /// How commands are protected on their way.
    pub const fn protection(&self) -> SessionProtection {
        self.protection
    }

    /// Commands that this TPM was sent since it was opened.
    pub fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }
}
