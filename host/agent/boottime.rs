//! Time that also passes while the machine sleeps (`CLOCK_BOOTTIME`): a lease does not wait for a suspended runner.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The longest nap: a suspended machine that wakes up is late by no more.
const LONGEST_NAP: Duration = Duration::from_secs(1);

/// A moment, since the machine was booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BootInstant(Duration);

impl BootInstant {
    pub(crate) fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        Self(Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0)))
    }

    /// Whole seconds since the machine was booted.
    pub(crate) const fn seconds(self) -> u64 {
        self.0.as_secs()
    }

    pub(crate) const fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How long it is until then; nothing once it has passed.
    pub(crate) fn left(self) -> Duration {
        self.0.saturating_sub(Self::now().0)
    }

    /// Waits until then.
    pub(crate) async fn reached(self) {
        loop {
            let left = self.left();
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LONGEST_NAP)).await;
        }
    }
}

/// Which boot of the machine this is: seconds since then mean nothing in another.
pub(crate) fn this_boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_moment_is_reached_when_it_has_come_and_not_before() {
        let began = BootInstant::now();
        let moment = began.after(Duration::from_millis(50));
        assert!(moment.left() > Duration::from_millis(10) && moment > began);
        moment.reached().await;
        assert!(moment.left().is_zero() && BootInstant::now() >= moment);
        began.reached().await;
    }
}
