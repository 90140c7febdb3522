//! `pack`: a core module, built against the contract, becomes a component, with its manifest inside.

use crate::files::{self, Found};
use crate::output::narrate;
use crate::{Global, output};
use attest_evidence::Sha256Digest;
use attest_evidence::report::{Explain as _, Fault, Report};
use attest_step::{CheckedStep, Component, Manifest, NotAComponent, embed_manifest};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Make a component.
#[derive(Debug, Args)]
pub(crate) struct Pack {
    /// The manifest that goes into it. Default: step.toml beside the output, or beside the input, if there is one
    #[arg(long, value_name = "FILE", conflicts_with = "no_manifest")]
    manifest: Option<PathBuf>,
    /// Leave the manifest out, and take out the one that is in it
    #[arg(long)]
    no_manifest: bool,
    /// The core module, as `cargo build --target wasm32-unknown-unknown` leaves it, or a component
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
    /// SHA-256 of the manifest in it.
    manifest: Option<Sha256Digest>,
}

impl Pack {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        let module = files::read_component(&self.module)?;
        let component = match Component::inspect(&module) {
            Ok(_) => module,
            Err(NotAComponent::CoreModule) => self.encode(&module)?,
            // Packing again is how a component with two manifests becomes one with one.
            Err(NotAComponent::TwoManifests | NotAComponent::ManifestTooLong(_)) => module,
            Err(error) => return Err(error.report()),
        };
        let found = self.manifest(&component)?;
        let bytes = found.as_ref().map(|found| found.bytes.as_slice());
        let packed = embed_manifest(&component, bytes).map_err(|error| error.report())?;
        let inspected = Component::inspect(&packed).map_err(|error| error.report())?;
        if let Some(found) = &found {
            let manifest =
                Manifest::parse(&found.bytes).map_err(|error| error.report().fact("file", found.describe()))?;
            if let Err(error) = CheckedStep::check(manifest, inspected) {
                narrate!("warning: it would not start: {error}; `attest-run check {}` has more", self.output.display());
            }
        }
        files::write_whole(&self.output, &packed).map_err(|error| {
            Report::new("AR-S502", Fault::Environment, format!("can't write {}: {error}", self.output.display()))
        })?;
        let with = found
            .as_ref()
            .map_or_else(|| "without a manifest".to_owned(), |found| format!("with {}", found.describe()));
        narrate!("{}: {} bytes, {with}", self.output.display(), packed.len());
        let packed = Packed {
            component: self.output.to_string_lossy().into_owned(),
            bytes: packed.len(),
            sha256: Sha256Digest::of(&packed),
            manifest: bytes.map(Sha256Digest::of),
        };
        output::print(global, "attest-run/packed/v1", &packed, String::new);
        Ok(())
    }

    /// Makes a component of a core module.
    fn encode(&self, module: &[u8]) -> Result<Vec<u8>, Report> {
        let failed = |error: &dyn std::fmt::Display| {
            Report::new(
                "AR-S501",
                Fault::Refused,
                format!("{} can't become a component: {error:#}", self.module.display()),
            )
            .hint("was it built with the SDK, or with wit-bindgen against wit/?")
        };
        wit_component::ComponentEncoder::default()
            .validate(true)
            .module(module)
            .map_err(|error| failed(&error))?
            .encode()
            .map_err(|error| failed(&error))
    }

    /// The manifest that goes in: the named one, one beside the output or the input, or the one that is in it already.
    fn manifest(&self, component: &[u8]) -> Result<Option<Found>, Report> {
        if self.no_manifest {
            return Ok(None);
        }
        let beside = [files::beside(&self.output), files::beside(&self.module)];
        let named = self.manifest.clone().or_else(|| beside.into_iter().find(|path| path.exists()));
        let inside = match &named {
            Some(_) => None,
            None => Component::inspect(component).map_err(|error| error.report())?.manifest,
        };
        files::find_manifest(named.as_deref(), &self.output, inside)
    }
}
