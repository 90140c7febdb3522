//! The walls around a step, for the case that it breaks out of WebAssembly.
//!
//! | wall | what is behind it |
//! |---|---|
//! | [`Wall::Identity`] | other users: no capability, none to be gained, no debugger, no core dump |
//! | [`Wall::Descriptors`] | whatever whoever started us had open |
//! | [`Wall::Resources`] | processes, core dumps, big files, many descriptors |
//! | [`Wall::Landlock`] | every file but those below the granted directories |
//! | [`Wall::Seccomp`] | every system call that running a component does not need |
//!
//! The identity comes first, before anything is read from anybody; the rest once the directories are known.

mod identity;
mod landlock;
mod resources;
mod seccomp;

pub use identity::{FileIdentity, seclude};
pub use seccomp::allowed_calls;

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
    /// Files.
    Landlock,
    /// System calls.
    Seccomp,
}

/// Which walls to raise. The program raises all; a test may leave one out, to see what it held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walls {
    without: Vec<Wall>,
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

    /// Raises the walls that follow [`seclude`], around the granted directories.
    ///
    /// # Errors
    /// The first wall that can't be raised.
    pub fn raise(&self, directories: &[(BorrowedFd<'_>, DirectoryMode)]) -> Result<(), WallError> {
        if self.has(Wall::Resources) {
            resources::limit()?;
        }
        if self.has(Wall::Landlock) {
            landlock::restrict(directories)?;
        }
        if self.has(Wall::Seccomp) {
            seccomp::filter()?;
        }
        Ok(())
    }
}
