//! The walls around a process that must not get out: the worker, for the case that a step breaks out of WebAssembly, and
//! the egress process, which reads what strangers send.
//!
//! | wall | what is behind it |
//! |---|---|
//! | [`Wall::Identity`] | other users: no capability, none to be gained, no debugger, no core dump |
//! | [`Wall::Descriptors`] | whatever whoever started us had open |
//! | [`Wall::Resources`] | processes, core dumps, big files, many descriptors |
//! | [`Wall::Landlock`] | every file but those below the granted directories, and the ports that are not to be used |
//! | [`Wall::Seccomp`] | every system call that the process does not need |
//!
//! The identity comes first ([`seclude`]), before anything is read from anybody; the rest ([`Walls::raise`]) once it is
//! known what the process has to reach: its [`Fence`].

mod identity;
mod landlock;
mod resources;
mod seccomp;

pub use identity::{Identity, User, seclude};
pub use rustix::process::Resource;
pub use seccomp::{Calls, Only};

use attest_evidence::exchange::DirectoryMode;
use std::os::fd::BorrowedFd;

/// One wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wall {
    /// No capability, no way to one, no debugger.
    Identity,
    /// No descriptor but our own.
    Descriptors,
    /// rlimits.
    Resources,
    /// Files and ports.
    Landlock,
    /// System calls.
    Seccomp,
}

/// Which walls to raise. The programs raise all; a test may leave one out, to see what it held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walls {
    without: Vec<Wall>,
}

/// What one process has to reach; the walls hold back everything else.
#[derive(Debug)]
pub struct Fence<'a> {
    /// Directories, and what is done in them.
    pub directories: Vec<(BorrowedFd<'a>, DirectoryMode)>,
    /// Whether it opens TCP connections.
    pub connects: bool,
    /// The system calls that it makes.
    pub calls: Calls,
    /// What it may consume (`setrlimit(2)`).
    pub limits: &'static [(Resource, u64)],
}

/// A wall that could not be raised. Nothing runs then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{wall:?}: {reason}")]
pub struct WallError {
    /// Which.
    pub wall: Wall,
    /// Why.
    pub reason: String,
}

impl WallError {
    fn new(wall: Wall, reason: impl std::fmt::Display) -> Self {
        Self { wall, reason: reason.to_string() }
    }
}

impl Walls {
    /// All walls.
    pub const fn all() -> Self {
        Self { without: Vec::new() }
    }

    /// All but one, for tests that show what that one holds back.
    #[must_use]
    pub fn without(mut self, wall: Wall) -> Self {
        self.without.push(wall);
        self
    }

    /// Whether this wall is to be raised.
    pub fn has(&self, wall: Wall) -> bool {
        !self.without.contains(&wall)
    }

    /// Raises the walls that follow [`seclude`].
    ///
    /// # Errors
    /// The first wall that can't be raised.
    pub fn raise(&self, fence: &Fence<'_>) -> Result<(), WallError> {
        if self.has(Wall::Resources) {
            resources::limit(fence.limits)?;
        }
        if self.has(Wall::Landlock) {
            landlock::restrict(&fence.directories, fence.connects)?;
        }
        if self.has(Wall::Seccomp) {
            seccomp::filter(&fence.calls)?;
        }
        Ok(())
    }
}
