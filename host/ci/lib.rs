//! What CI systems tell a job, and how they want to be told: parsers and writers, without I/O.
//!
//! [`token_source`] finds the token of a job. [`github`] writes what GitHub's runner reads in a log and in its files.

pub mod github;
mod token;

pub use token::{
    GITHUB_BEARER, GITHUB_URL, GITLAB_TOKEN, LONGEST_ANSWER, TokenError, TokenRequest, TokenSource, token_of_answer,
    token_source,
};
