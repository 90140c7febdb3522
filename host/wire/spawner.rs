//! Agent and spawner: one message.

use serde::{Deserialize, Serialize};

/// Start a worker. Comes with two descriptors: the worker's end of its connection to the agent, and the
/// spawner's end of a lifeline.
///
/// The worker lives as long as the agent holds its end of the lifeline. When the worker has ended, its
/// [`Ended`] comes over the lifeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawn {
    /// The user whose files the worker may touch, as that user.
    pub file_uid: u32,
    /// That user's group.
    pub file_gid: u32,
}

/// How a worker ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// It never ran.
    NotStarted(String),
}
