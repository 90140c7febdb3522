//! How fast the searches are, as `make bench` has it, without building the rest of it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a measurement that can't go on has failed"
)]

#[path = "../../../tests/bench/masking.rs"]
mod masking;

fn main() {
    masking::throughput();
}
