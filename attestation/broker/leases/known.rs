//! Keys of the leases that are spoken of: opened once, not with each heartbeat.
//!
//! A key says who speaks, never whether the lease is still held: that is asked of the database, each time.

use attest_evidence::SecretBytes;
use attest_evidence::name::LeaseId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most leases whose keys are kept. Over it all are let go, and opened again as they are spoken of.
const MOST_KEPT: usize = 20_000;

/// A lease, as far as it takes to know who speaks of it.
pub(crate) struct KnownLease {
    pub(crate) lease: LeaseId,
    /// By which its heartbeats are known.
    pub(crate) number: i64,
    /// Seconds between them.
    pub(crate) every: u32,
    /// Whose, by its row.
    pub(crate) runner_id: i64,
    /// Whose, by name.
    pub(crate) runner: String,
    /// Authenticates messages about it.
    pub(crate) key: SecretBytes,
}

/// Leases that have been spoken of.
#[derive(Default)]
pub(crate) struct KnownLeases(Mutex<HashMap<LeaseId, Arc<KnownLease>>>);

impl KnownLeases {
    pub(crate) fn find(&self, lease: &LeaseId) -> Option<Arc<KnownLease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(lease).cloned()
    }

    pub(crate) fn keep(&self, known: KnownLease) -> Arc<KnownLease> {
        let known = Arc::new(known);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_KEPT {
            all.clear();
        }
        all.insert(known.lease.clone(), Arc::clone(&known));
        known
    }

    pub(crate) fn forget(&self, lease: &LeaseId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(lease);
    }
}
