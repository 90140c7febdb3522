//! What can go wrong with the store.

use crate::keys::KeyError;
use attest_evidence::report::{Explain, Fault, Report};

/// The store could not do what it was asked. Nothing of it is there then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// SQLite says no: disk full, read-only, locked for too long, damaged.
    #[error("the database refuses: {0}")]
    Database(String),
    /// The schema could not be brought up to date.
    #[error("the database's schema can't be brought up to date: {0}")]
    Migration(String),
    /// A row holds what this program would not have written.
    #[error("the database holds a {0} that can't be read")]
    Row(&'static str),
    /// A name that has to be unique is taken.
    #[error("`{0}` exists already")]
    Exists(String),
    /// What should be changed is not there.
    #[error("there is no {kind} `{name}`")]
    Missing {
        /// What was looked for.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Something that a decision rested on changed before it could be recorded.
    #[error("runner or policy changed while the decision was made")]
    Stale,
    /// The writer has stopped.
    #[error("the database has been closed")]
    Closed,
    /// What is sealed in it does not open.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// More is asked than can be queued.
    #[error("the database has {0} writes waiting")]
    QueueFull(usize),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.to_string())
    }
}

impl Explain for StoreError {
    fn report(&self) -> Report {
        let report = |code, fault| Report::new(code, fault, self.to_string());
        match self {
            Self::Database(_) | Self::Closed => report("AR-B301", Fault::Unreachable)
                .hint("nothing was granted. The broker's log has the reason; it recovers by itself once the disk does"),
            Self::Migration(_) => report("AR-B302", Fault::Environment)
                .hint("the database may be of a newer version: run that version's broker, or restore a copy"),
            Self::Row(_) => {
                report("AR-B303", Fault::Environment).hint("somebody changed the database by hand: restore a copy")
            }
            Self::Exists(_) => report("AR-B304", Fault::Refused),
            Self::Missing { .. } => report("AR-B305", Fault::Refused),
            Self::Stale => report("AR-B306", Fault::Unreachable).hint("try again"),
            Self::Keys(error) => error.report(),
            Self::QueueFull(_) => report("AR-B307", Fault::Unreachable).hint("try again in a moment"),
        }
    }
}
