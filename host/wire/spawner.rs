//! Agent and spawner: one message.

use serde::{Deserialize, Serialize};

/// Start a process. Comes with two descriptors: its end of its connection to the agent, and the spawner's end of a
/// lifeline.
///
/// The process lives as long as the agent holds its end of the lifeline. When it has ended, its [`Ended`] comes over the
/// lifeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spawn {
    /// A worker.
    Worker {
        /// The user whose files the worker may touch, as that user.
        file_uid: u32,
        /// That user's group.
        file_gid: u32,
    },
    /// A searcher: the worker's program, with the same rights to files.
    Searcher {
        /// The user whose files it may read, as that user.
        file_uid: u32,
        /// That user's group.
        file_gid: u32,
    },
    /// An egress process.
    Egress,
    /// A compiler: the worker's program, with the workers' user and no file at all.
    Compiler,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// It never ran.
    NotStarted(String),
}
