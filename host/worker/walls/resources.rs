//! Resource limits.

use super::{Wall, WallError};
use rustix::process::{Resource, Rlimit, setrlimit};

/// No process and no thread beside the one there is. No core dump: it could hold a secret.
const LIMITS: [(Resource, u64); 6] = [
    // Private memory that may be written: a manifest can ask for 2 GiB of linear memory (the engine holds each step to
    // what its own asks for), and compiling a component of the largest size takes less than another 2.
    (Resource::Data, 4 << 30),
    (Resource::Nproc, 0),
    (Resource::Core, 0),
    // Files that a step opens, and the streams over them.
    (Resource::Nofile, 1024),
    // The largest file that a step may write: an image, a release.
    (Resource::Fsize, 16 << 30),
    // Nothing is queued for anybody.
    (Resource::Msgqueue, 0),
];

pub(super) fn limit() -> Result<(), WallError> {
    for (resource, value) in LIMITS {
        let limit = Rlimit { current: Some(value), maximum: Some(value) };
        setrlimit(resource, limit)
            .map_err(|error| WallError::new(Wall::Resources, format!("{resource:?}: {error}")))?;
    }
    Ok(())
}
