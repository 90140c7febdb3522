//! Write a step of attest-run in Rust.
//!
//! ```ignore
//! fn run(args: Vec<String>) -> attest_sdk::Result {
//!     let dist = attest_sdk::Directory::open("dist")?;
//!     let key = attest_sdk::Key::open("release")?;
//!     let signature = key.sign_file(&dist.file("app.tar.gz")?)?;
//!     dist.write("app.tar.gz.sig", &signature)
//! }
//!
//! attest_sdk::step!(run);
//! ```
//!
//! What a step opens it must declare in its `step.toml`; an [`Error`] says which lines are missing.

mod directory;
mod error;
mod key;
mod log;
mod output;
mod secret;

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

pub use directory::{Directory, Entry, File};
pub use error::{Error, Result};
pub use key::Key;
pub use log::{debug, error, info, warn};
pub use output::set_output;
pub use secret::Secret;

/// Makes a function the step: `fn(Vec<String>) -> attest_sdk::Result`.
#[macro_export]
macro_rules! step {
    ($run:path) => {
        struct AttestStep;

        impl $crate::bindings::Guest for AttestStep {
            fn run(
                args: ::std::vec::Vec<::std::string::String>,
            ) -> ::core::result::Result<(), $crate::bindings::StepError> {
                $crate::prepare();
                $run(args).map_err(::core::convert::Into::into)
            }
        }

        $crate::bindings::export!(AttestStep with_types_in $crate::bindings);
    };
}

/// Lets a panic say on the log what happened, before it traps.
#[doc(hidden)]
pub fn prepare() {
    std::panic::set_hook(Box::new(|info| error(&info.to_string())));
}
