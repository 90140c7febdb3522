//! The tests of attest-run, on real parts.
#![expect(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test that can't go on has failed")]

mod tpm;
