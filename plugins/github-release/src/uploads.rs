//! One file into the release, whatever it takes.

use crate::api::{Api, Unsent};
use crate::plan::{self, Action, Comparison};
use crate::release::{Asset, Release};
use attest_sdk::{Directory, Error, Result, sleep, warn};
use std::time::Duration;
use step_digest::LocalFile;

/// How often a file is tried. Uploads break off, and what is left of one has to be looked at before the next.
const ATTEMPTS: u32 = 3;

/// Brings a file into a release, unless it is `there`. Says what was done, and what is there now.
pub(crate) fn bring(
    api: &Api<'_>,
    release: &Release,
    there: &[Asset],
    dist: &Directory,
    file: &LocalFile,
    replace: bool,
) -> Result<(Action, Asset)> {
    for attempt in 1.. {
        let assets = if attempt == 1 { there.to_vec() } else { api.assets(release)? };
        let action = plan::action(file, &assets, replace)?;
        if let (Action::Keep | Action::KeepBySize, Some(asset)) =
            (action, assets.into_iter().find(|asset| asset.name == file.name()))
        {
            // After a broken attempt it may turn out to have arrived.
            return Ok((if attempt > 1 { Action::Upload } else { action }, asset));
        }
        if release.immutable {
            return Err(Error::new(format!("the release is immutable, and lacks `{}` as it is here", file.name())));
        }
        if let Action::Restart(id) | Action::Replace(id) = action {
            api.delete(id)?;
        }
        match api.upload(release, dist, file) {
            Ok(asset) => return verified(api, file, asset).map(|asset| (action, asset)),
            Err(Unsent::Refused(error)) => return Err(error.during(&file.path)),
            Err(Unsent::Broken(error)) if attempt == ATTEMPTS => return Err(error.during(&file.path)),
            Err(Unsent::Broken(error)) => {
                warn(&format!("{}: {error}; trying again", file.path));
                sleep(Duration::from_secs(2 << attempt));
            }
        }
    }
    Err(Error::new(format!("{} was not uploaded", file.path)))
}

/// What the server says that it has, held against the file. What is not the file is taken away again.
fn verified(api: &Api<'_>, file: &LocalFile, asset: Asset) -> Result<Asset> {
    let wrong = match plan::compare(file, &asset) {
        _ if asset.name != file.name() => format!("it is called `{}` there", asset.name.escape_debug()),
        Comparison::Same | Comparison::SameSize => return Ok(asset),
        Comparison::Unfinished => "the upload is not finished".to_owned(),
        Comparison::Different(how) => how,
    };
    api.delete(asset.id)?;
    Err(Error::new(format!("what arrived of `{}` is not the file, and was deleted: {wrong}", file.path)))
}
