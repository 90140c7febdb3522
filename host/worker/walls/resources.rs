//! Resource limits.

use super::{Wall, WallError};
use rustix::process::{Resource, Rlimit, setrlimit};

/// No process and no thread beside the one there is. No core dump: it could hold a secret.
/// 64 MiB of a step's own stack and heap come on top of its linear memory, which the engine bounds.
const LIMITS: [(Resource, u64); 5] = [
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
