//! `pack`: a core module, built against the contract, becomes a component.

use crate::check::read;
use crate::output::narrate;
use crate::{Global, output};
use attest_evidence::Sha256Digest;
use attest_evidence::report::{Explain as _, Fault, Report};
use attest_step::{Component, LONGEST_COMPONENT};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Make a component.
#[derive(Debug, Args)]
pub(crate) struct Pack {
    /// The core module, as `cargo build --target wasm32-unknown-unknown` leaves it
    #[arg(value_name = "CORE.wasm")]
    module: PathBuf,
    /// Where the component goes
    #[arg(long, short, value_name = "STEP.wasm")]
    output: PathBuf,
}

#[derive(Serialize)]
struct Packed {
    component: String,
    bytes: usize,
    sha256: Sha256Digest,
}

impl Pack {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        let module = read(&self.module, LONGEST_COMPONENT)?;
        let failed = |error: &dyn std::fmt::Display| {
            Report::new(
                "AR-S501",
                Fault::Refused,
                format!("{} can't become a component: {error:#}", self.module.display()),
            )
            .hint("was it built with the SDK, or with wit-bindgen against wit/?")
        };
        let packed = wit_component::ComponentEncoder::default()
            .validate(true)
            .module(&module)
            .map_err(|error| failed(&error))?
            .encode()
            .map_err(|error| failed(&error))?;
        Component::inspect(&packed).map_err(|error| error.report())?;
        let temporary = self.output.with_extension("part");
        std::fs::write(&temporary, &packed).and_then(|()| std::fs::rename(&temporary, &self.output)).map_err(
            |error| {
                Report::new("AR-S502", Fault::Environment, format!("can't write {}: {error}", self.output.display()))
            },
        )?;
        narrate!("{}: {} bytes", self.output.display(), packed.len());
        let component = self.output.to_string_lossy().into_owned();
        let packed = Packed { component, bytes: packed.len(), sha256: Sha256Digest::of(&packed) };
        output::print(global, "attest-run/packed/v1", &packed, String::new);
        Ok(())
    }
}
