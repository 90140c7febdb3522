//! Write a step of attest-run in Rust.
//!
//! ```ignore
//! use attest_sdk::{Directory, Key, Result};
//!
//! #[attest_sdk::step]
//! fn run(args: Vec<String>) -> Result {
//!     let dist = Directory::open("dist")?;
//!     let signature = Key::open("release")?.sign_file(&dist.file("app.tar.gz")?)?;
//!     dist.write("app.tar.gz.sig", &signature)
//! }
//! ```
//!
//! What a step opens, sends or sets it must declare in its `step.toml`; an [`Error`] says which lines are missing. A
//! component imports the interfaces of the functions that it calls, and no others.

mod annotation;
mod arguments;
mod clock;
mod derivation;
mod directory;
mod error;
pub mod http;
mod key;
mod log;
mod output;
mod random;
mod secret;
pub mod summary;

/// The bindings to the contract, generated from `wit/`. For what the functions of this crate don't cover.
#[expect(missing_docs, reason = "generated from `wit/`, which is documented")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "attest:step/step",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export",
    });
}

pub use annotation::Annotation;
pub use arguments::Arguments;
pub use attest_sdk_macros::step;
pub use clock::{Instant, sleep, unix_time};
pub use derivation::{DerivationKey, DerivedKey};
pub use directory::{Directory, Entry, File};
pub use error::{Error, Result};
pub use key::{Key, SignatureFormat};
pub use log::{debug, error, info, warn};
pub use output::set_output;
pub use random::random;
pub use secret::Secret;

/// Lets a panic say on the log what happened, before it traps.
#[doc(hidden)]
pub fn prepare() {
    std::panic::set_hook(Box::new(|info| error(&info.to_string())));
}
