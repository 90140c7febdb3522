//! Resource limits.

use super::{Wall, WallError};
use rustix::process::{Resource, Rlimit, setrlimit};

pub(super) fn limit(limits: &[(Resource, u64)]) -> Result<(), WallError> {
    for (resource, value) in limits {
        let limit = Rlimit { current: Some(*value), maximum: Some(*value) };
        setrlimit(*resource, limit)
            .map_err(|error| WallError::new(Wall::Resources, format!("{resource:?}: {error}")))?;
    }
    Ok(())
}
