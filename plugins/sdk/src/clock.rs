//! Time. `std::time` has none in a step.

use crate::bindings::wasi::clocks::{monotonic_clock, wall_clock};
use std::time::Duration;

/// The time since 1970-01-01 00:00 UTC, as far as the machine knows.
pub fn unix_time() -> Duration {
    let now = wall_clock::now();
    Duration::new(now.seconds, now.nanoseconds)
}

/// A moment, on a clock that is never set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// This moment.
    pub fn now() -> Self {
        Self(monotonic_clock::now())
    }

    /// How long ago it was.
    pub fn elapsed(self) -> Duration {
        Duration::from_nanos(monotonic_clock::now().saturating_sub(self.0))
    }
}

/// Waits.
pub fn sleep(duration: Duration) {
    monotonic_clock::subscribe_duration(duration.as_nanos().try_into().unwrap_or(u64::MAX)).block();
}
