//! One file into the release, whatever it takes.

use crate::api::{Api, Unsent};
use crate::plan::{self, Action, Comparison};
use crate::release::{Asset, Release};
use attest_sdk::{Directory, Error, Result, sleep, warn};
use std::time::Duration;
use step_digest::LocalFile;

/// How often a file is tried. Uploads break off, and what is left of one has to be looked at before the next.
const ATTEMPTS: u32 = 3;

/// Where files come from and go to.
pub(crate) struct Uploads<'a> {
    pub(crate) api: &'a Api<'a>,
    pub(crate) release: &'a Release,
    pub(crate) dist: &'a Directory,
    /// Assets that differ make place for the file.
    pub(crate) replace: bool,
}

impl Uploads<'_> {
    /// Does with a file what was planned.
    pub(crate) fn bring(&self, file: &LocalFile, mut action: Action) -> Result {
        let mut attempt = 1;
        loop {
            match self.attempt(file, action) {
                Ok(()) => return Ok(()),
                Err(Unsent::Broken(error)) if attempt < ATTEMPTS => {
                    warn(&format!("{}: {error}; trying again", file.path));
                    sleep(Duration::from_secs(2 << attempt));
                }
                Err(Unsent::Broken(error) | Unsent::Refused(error)) => return Err(error.during(&file.path)),
            }
            attempt += 1;
            // It may have arrived nevertheless, or have left something in its place.
            action = plan::action(file, &self.api.assets(self.release)?, self.replace)?;
        }
    }

    fn attempt(&self, file: &LocalFile, action: Action) -> std::result::Result<(), Unsent> {
        if matches!(action, Action::Keep | Action::KeepBySize) {
            return Ok(());
        }
        if self.release.immutable {
            let why = "the release is immutable, and lacks the file as it is here";
            return Err(Unsent::Refused(Error::new(why)));
        }
        if let Action::Restart(id) | Action::Replace(id) = action {
            self.api.delete(id).map_err(Unsent::Refused)?;
        }
        let asset = self.api.upload(self.release, self.dist, file)?;
        self.verify(file, &asset).map_err(Unsent::Refused)
    }

    /// Holds what the server says that it has against the file. What is not the file is taken away again.
    fn verify(&self, file: &LocalFile, asset: &Asset) -> Result {
        let wrong = match plan::compare(file, asset) {
            _ if asset.name != file.name() => format!("it is called `{}` there", asset.name.escape_debug()),
            Comparison::Same | Comparison::SameSize => return Ok(()),
            Comparison::Unfinished => "the upload is not finished".to_owned(),
            Comparison::Different(how) => how,
        };
        self.api.delete(asset.id)?;
        Err(Error::new(format!("what arrived is not the file, and was deleted: {wrong}")))
    }
}
