//! Rehearsing: a step in the cases of its fixture, for the client at standard input.

use crate::started::{self, no_client};
use attest_agent::Rehearsal;
use attest_evidence::report::{Explain as _, Fault, Report};
use attest_spawner::{Spawner, Starting};
use attest_wire::rehearsal::{FromRehearsal, Rehearse};
use attest_wire::{FrameWriter, split};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Rehearse a step.
#[derive(Debug, clap::Args)]
pub(crate) struct RehearseHere {
    /// Where the fixture's paths begin
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl RehearseHere {
    pub(crate) fn serve(self) -> Result<(), Report> {
        let (spawner, channel) = started::begin()?;
        let (asked, descriptors) = channel.receive_with::<Rehearse>().map_err(no_client)?;
        started::runtime()?.block_on(async {
            let (mut reader, mut writer) = split(channel.into_stream()).map_err(no_client)?;
            let rehearse = async {
                let spawner = spawner.and_then(Starting::ready).map_err(|error| error.report())?;
                self.rehearse(spawner, &asked, descriptors, &mut writer).await
            };
            let end = tokio::select! {
                end = rehearse => end,
                () = reader.closed() => return Ok(()),
            };
            writer.send(&FromRehearsal::End(end)).await.map_err(no_client)
        })
    }

    async fn rehearse(
        self,
        spawner: Spawner,
        asked: &Rehearse,
        descriptors: Vec<OwnedFd>,
        writer: &mut FrameWriter,
    ) -> Result<(), Report> {
        let [component, manifest, fixture] = <[OwnedFd; 3]>::try_from(descriptors)
            .map_err(|_| no_client("component, manifest and fixture are wanted"))?
            .map(read);
        let (component, manifest, fixture) = (component?, manifest?, fixture?);
        let rehearsal = Rehearsal::begin(spawner, &component, &manifest, &fixture, self.folder);
        let rehearsal = rehearsal.await.map_err(|error| error.report())?;
        let step = FromRehearsal::Step(rehearsal.step().clone());
        writer.send(&step).await.map_err(no_client)?;
        for number in rehearsal.cases(&asked.cases).map_err(|error| error.report())? {
            if let Some(result) = rehearsal.run(number).await {
                let case = FromRehearsal::Case(result.map_err(|error| error.report())?);
                writer.send(&case).await.map_err(no_client)?;
            }
        }
        Ok(())
    }
}

fn read(file: OwnedFd) -> Result<Vec<u8>, Report> {
    let mut bytes = Vec::new();
    File::from(file)
        .read_to_end(&mut bytes)
        .map_err(|error| Report::new("AR-C703", Fault::Environment, format!("can't read what to rehearse: {error}")))?;
    Ok(bytes)
}
