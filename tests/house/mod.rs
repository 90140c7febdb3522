//! How this house is built: rules that a compiler does not hold by itself.

mod codes;
mod dependencies;
mod proofs;
