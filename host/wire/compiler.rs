//! Agent and compiler: the process that turns a component into machine code, and does nothing else.
//!
//! The agent says [`Compile`], with two descriptors: the component, and an empty file in memory for the code. The compiler
//! answers once.

use serde::{Deserialize, Serialize};

/// Compile what comes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compile;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromCompiler {
    /// The code is in the file.
    Compiled {
        /// Microseconds that it took.
        took: u64,
    },
    /// There is none: the component is not valid, or is one that no code can be made of.
    NotCompiled {
        /// Why.
        reason: String,
    },
    /// The walls around it could not be raised, so nothing was looked at.
    NoWalls {
        /// Which, and why.
        reason: String,
    },
}
