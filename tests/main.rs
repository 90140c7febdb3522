//! The tests of attest-run, on real parts: real TPMs (libtpms, swtpm), a real broker over TCP and TLS, real
//! workers behind landlock and seccomp, several users. They need root, and `make test` gives it to them.
//!
//! A test named after a row of the threat list (`q01_…`) proves the refusal and its reason code.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that can't go on has failed")]

mod certificates;
mod exchange;
mod handles;
mod house;
mod jobs;
mod official;
mod policy;
mod sigstore;
mod steps;
mod support;
mod tpm;
