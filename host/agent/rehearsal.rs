//! Rehearsals: a step run in the cases of a fixture, without a broker and without a TPM.
//!
//! What runs is what runs in the field: the component is compiled by the compiler, works in a worker behind its walls, what it
//! writes passes the screen, its directories are searched. Three parts are stand-ins: the grant, which is all that the manifest
//! declares; keys, which are made of the fixture's seed; and the network, for which canned servers answer. The requests pass
//! egress's own code ([`attest_egress::rehearse`]) on their way there, in this process.
//!
//! [`Rehearsal::begin`] reads and compiles, [`Rehearsal::run`] runs a case.

mod case;
mod check;
mod expect;
mod fixture;
mod folders;
mod keys;
mod refused;
mod seen;
mod servers;
mod url;

pub use refused::{LONGEST_FIXTURE, RehearsalError};

use crate::code::compile;
use attest_evidence::name::StepName;
use attest_leaks::Patterns;
use attest_spawner::Spawner;
use attest_step::CheckedStep;
use fixture::Fixture;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

/// A step, ready to be rehearsed.
pub struct Rehearsal {
    spawner: Spawner,
    patterns: Arc<Patterns>,
    step: CheckedStep,
    code: OwnedFd,
    fixture: Fixture,
    /// Where the fixture's paths begin.
    folder: PathBuf,
}

impl Rehearsal {
    /// Reads component, manifest and fixture, holds them against each other, and has the component compiled. Paths in the fixture
    /// begin in `folder`.
    ///
    /// # Errors
    /// See [`RehearsalError`]. Nothing has run then.
    pub async fn begin(
        spawner: Spawner,
        component: &[u8],
        manifest: &[u8],
        fixture: &[u8],
        folder: PathBuf,
    ) -> Result<Self, RehearsalError> {
        let fixture = Fixture::parse(fixture)?;
        let step = CheckedStep::read(manifest, component)?;
        fixture.cases.iter().try_for_each(|case| case.check(step.manifest()))?;
        let patterns = Patterns::new();
        let (code, _) = compile(&spawner, component.into()).await?;
        Ok(Self { spawner, patterns, step, code: code.into(), fixture, folder })
    }

    /// The step's name.
    pub fn step(&self) -> &StepName {
        &self.step.manifest().step.name
    }

    /// The cases of these names, in the fixture's order; all of them if none is named.
    ///
    /// # Errors
    /// [`RehearsalError::NoSuchCase`].
    pub fn cases(&self, named: &[String]) -> Result<Vec<usize>, RehearsalError> {
        let names = || self.fixture.cases.iter().map(|case| &case.name);
        if let Some(name) = named.iter().find(|name| !names().any(|known| known == *name)) {
            return Err(RehearsalError::NoSuchCase { name: name.clone(), cases: names().cloned().collect() });
        }
        let chosen = names().enumerate().filter(|(_, name)| named.is_empty() || named.contains(name));
        Ok(chosen.map(|(number, _)| number).collect())
    }
}
