//! Agent and searcher: the process that looks for secrets in the files that a step wrote.
//!
//! It touches files with the rights of the runner's user, as the worker did; and it is another process than the worker, whose
//! word counts for nothing if somebody broke into it. The agent says [`Search`], with a descriptor for each directory.

use crate::Revealed;
use attest_evidence::name::SecretName;
use serde::{Deserialize, Serialize};

/// What to look for, and where.
#[derive(Debug, Serialize, Deserialize)]
pub struct Search {
    /// The secrets that the step was near.
    pub secrets: Vec<(SecretName, Revealed)>,
    /// Files whose inode has not changed since are left out: seconds and nanoseconds of the kernel's coarse clock. None:
    /// no file is left out.
    pub since: Option<(i64, u32)>,
}

/// What the searcher says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromSearcher {
    /// A secret stands somewhere. Nothing follows.
    Secret {
        /// Which.
        secret: SecretName,
        /// In which of the directories.
        directory: usize,
        /// In which file, or in the name of which.
        path: String,
        /// How it is written.
        encoding: String,
    },
    /// What looks like a secret that nobody declared stands somewhere.
    Undeclared {
        /// The name of the pattern.
        pattern: String,
        /// In which of the directories.
        directory: usize,
        /// In which file.
        path: String,
        /// In which line of it.
        line: u64,
    },
    /// All has been searched. Nothing follows.
    Done {
        /// Files whose contents were read.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// It can't be searched. Nothing follows.
    NotSearched {
        /// Why.
        reason: String,
    },
}
