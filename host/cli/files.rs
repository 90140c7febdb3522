//! Files of a step: where its manifest is, and how new ones are written.

use crate::output::narrate;
use attest_evidence::report::{Explain as _, Fault, Report};
use attest_step::{BadManifest, LONGEST_COMPONENT, LONGEST_MANIFEST, NotAComponent, embedded_manifest};
use serde::Serialize;
use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where a manifest was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ManifestPlace {
    /// Where `--manifest` says.
    Named,
    /// In the component.
    Inside,
    /// Beside the component.
    Beside,
}

/// A manifest's bytes, and where they are from.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) place: ManifestPlace,
    /// The file, where it is one.
    pub(crate) path: Option<PathBuf>,
    pub(crate) bytes: Vec<u8>,
}

impl Found {
    /// Where it is, in words.
    pub(crate) fn describe(&self) -> String {
        match &self.path {
            Some(path) => path.display().to_string(),
            None => "in the component".to_owned(),
        }
    }
}

/// `step.toml` beside a component.
pub(crate) fn beside(component: &Path) -> PathBuf {
    component.parent().unwrap_or_else(|| Path::new("")).join("step.toml")
}

/// The manifest of a step: the named one, else the one inside the component, else the one beside it. Of two that differ, it
/// says which it is.
pub(crate) fn find_manifest(
    named: Option<&Path>,
    component: &Path,
    inside: Option<Vec<u8>>,
) -> Result<Option<Found>, Report> {
    if let Some(path) = named {
        let bytes = read_manifest(path)?;
        return Ok(Some(Found { place: ManifestPlace::Named, path: Some(path.to_owned()), bytes }));
    }
    let path = beside(component);
    let Some(inside) = inside else {
        if !path.exists() {
            return Ok(None);
        }
        return Ok(Some(Found { place: ManifestPlace::Beside, bytes: read_manifest(&path)?, path: Some(path) }));
    };
    // Whatever it is that lies there: it isn't used.
    if read_manifest(&path).is_ok_and(|beside| beside != inside) {
        narrate!(
            "warning: {} differs from the manifest in the component, which is used; `--manifest {}` uses the other",
            path.display(),
            path.display()
        );
    }
    Ok(Some(Found { place: ManifestPlace::Inside, path: None, bytes: inside }))
}

/// What to say where there is no manifest.
pub(crate) fn no_manifest(component: &Path) -> Report {
    Report::new(
        "AR-S002",
        Fault::Environment,
        format!("can't open the manifest {}: there is none", beside(component).display()),
    )
    .hint("it is in the component (`attest-run pack`), lies beside it, or `--manifest FILE` names it; `attest-run check --fix` makes one")
}

fn unopened(path: &Path, error: &std::io::Error) -> Report {
    Report::new("AR-S002", Fault::Environment, format!("can't open {}: {error}", path.display()))
}

/// A manifest, of which no more is read than one may have.
pub(crate) fn read_manifest(path: &Path) -> Result<Vec<u8>, Report> {
    read(path, LONGEST_MANIFEST)?.map_err(|size| BadManifest::TooLong(size).report().fact("file", path.display()))
}

/// A component or module, of which no more is read than one may have.
pub(crate) fn read_component(path: &Path) -> Result<Vec<u8>, Report> {
    read(path, LONGEST_COMPONENT)?.map_err(|size| NotAComponent::TooLong(size).report())
}

/// The bytes of a file, or its size if that is over `longest`: then nothing of it has been read.
fn read(path: &Path, longest: usize) -> Result<Result<Vec<u8>, usize>, Report> {
    let unopened = |error| unopened(path, &error);
    let file = File::open(path).map_err(unopened)?;
    let size = usize::try_from(file.metadata().map_err(unopened)?.len()).unwrap_or(usize::MAX);
    if size > longest {
        return Ok(Err(size));
    }
    // What is no file on a disk has no size.
    let mut bytes = Vec::with_capacity(size);
    let limit = u64::try_from(longest).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(unopened)?;
    Ok(if bytes.len() > longest { Err(bytes.len()) } else { Ok(bytes) })
}

/// Opens a component to run it: with the manifest inside it, and nothing read but what leads there.
pub(crate) fn open_component(path: &Path) -> Result<(File, Option<Vec<u8>>), Report> {
    let failed = |error: std::io::Error| {
        Report::new("AR-S002", Fault::Environment, format!("can't open the component {}: {error}", path.display()))
    };
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        // Whoever runs it says what it has to be.
        return Ok((file, None));
    }
    let size = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if size > LONGEST_COMPONENT {
        return Err(NotAComponent::TooLong(size).report());
    }
    let inside = embedded_manifest(BufReader::with_capacity(512, &file)).map_err(|error| error.report())?;
    // Whoever gets the descriptor reads on where it stands.
    file.rewind().map_err(failed)?;
    Ok((file, inside))
}

/// Writes a file: whoever looks, now or after a crash, sees the old contents or the new ones.
pub(crate) fn write_whole(path: &Path, contents: &[u8]) -> std::io::Result<()> {
    // What a link leads to is written, not the link.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let temporary = folder.join(name);
    let written = (|| {
        let mut file = File::create_new(&temporary)?;
        if let Ok(before) = path.metadata() {
            file.set_permissions(before.permissions())?;
        }
        file.write_all(contents)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// Bytes as a file that can be passed on: whoever gets it reads what was found.
pub(crate) fn in_memory(name: &str, bytes: &[u8]) -> Result<OwnedFd, Report> {
    let written = || -> std::io::Result<OwnedFd> {
        let mut file = File::from(rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?);
        file.write_all(bytes)?;
        file.rewind()?;
        Ok(file.into())
    };
    written().map_err(|error| Report::new("AR-S002", Fault::Environment, format!("can't pass {name} on: {error}")))
}
