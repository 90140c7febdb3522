//! The audit log: what was decided, and what admins did. Entries only ever come to be.
//!
//! An entry is written in the transaction of what it records. Its body is JSON, kept as the bytes that were
//! written. No entry holds a secret's value.

use crate::store::StoreError;
use attest_evidence::UnixSeconds;
use attest_evidence::name::AuditId;
use serde::Serialize;

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A grant.
    Granted,
    /// A refusal of an exchange.
    Refused,
    /// The end of a lease.
    LeaseEnded,
    /// What its holder told of a lease that had ended before.
    LeaseClosed,
    /// A message about a lease that was not believed.
    LeaseRefused,
    /// A CI token redeemed into a job session.
    Session,
    /// The end of a job session.
    SessionEnded,
    /// An alarm that is about nothing else that stands here.
    Alarm,
    /// An enrolment, done or refused.
    Enrolment,
    /// An act of an admin.
    Admin,
}

impl Kind {
    /// As text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Refused => "refused",
            Self::LeaseEnded => "lease-ended",
            Self::LeaseClosed => "lease-closed",
            Self::LeaseRefused => "lease-refused",
            Self::Session => "session",
            Self::SessionEnded => "session-ended",
            Self::Alarm => "alarm",
            Self::Enrolment => "enrolment",
            Self::Admin => "admin",
        }
    }
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// By which it is named to those it concerns.
    pub id: AuditId,
    /// By the broker's clock.
    pub at: UnixSeconds,
    /// What it is about.
    pub kind: Kind,
    /// JSON.
    pub body: String,
}

impl Entry {
    /// An entry with a fresh id.
    ///
    /// # Errors
    /// The operating system gave no randomness, or `body` is not JSON.
    pub fn new(at: UnixSeconds, kind: Kind, body: &impl Serialize) -> Result<Self, StoreError> {
        let id = AuditId::random().map_err(|_| StoreError::Database("no randomness".to_owned()))?;
        Self::with_id(id, at, kind, body)
    }

    /// An entry whose id has been told already.
    ///
    /// # Errors
    /// `body` is not JSON.
    pub fn with_id(id: AuditId, at: UnixSeconds, kind: Kind, body: &impl Serialize) -> Result<Self, StoreError> {
        let body = serde_json::to_string(body).map_err(|_| StoreError::Row("audit entry"))?;
        Ok(Self { id, at, kind, body })
    }
}
