//! Whether a TPM is where it was: its counts and its clock never go back (Part 1 §36).

use attest_evidence::report::{Explain, Fault, Report};
use attest_evidence::tpm::ClockInfo;

/// Clock and counts of the quote that was last believed, of one attestation key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Continuity {
    /// Milliseconds for which the TPM had been powered.
    pub clock: u64,
    /// Resets: reboots.
    pub reset_count: u32,
    /// Restarts and resumes since the last reset.
    pub restart_count: u32,
}

/// Milliseconds by which two quotes may come in the other order than they were made: as long as a challenge can be answered.
const OVERTAKEN: u64 = 60_000;

/// How a TPM is not where it was. Its state was put back, by a snapshot or a copy, or the quote is an old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContinuityRefused {
    /// Fewer resets than before.
    #[error("the TPM has been reset {found} times, and had been {last} times before")]
    Resets {
        /// Before.
        last: u32,
        /// Now.
        found: u32,
    },
    /// Fewer restarts since the same reset.
    #[error("the TPM has been restarted {found} times since its reset, and had been {last} times before")]
    Restarts {
        /// Before.
        last: u32,
        /// Now.
        found: u32,
    },
    /// An earlier clock.
    #[error("the TPM's clock is at {found} ms, and had been at {last} ms before")]
    Clock {
        /// Before.
        last: u64,
        /// Now.
        found: u64,
    },
}

impl Continuity {
    /// What to remember of a quote that was believed.
    pub const fn of(clock: ClockInfo) -> Self {
        let ClockInfo { clock, reset_count, restart_count, safe: _ } = clock;
        Self { clock, reset_count, restart_count }
    }

    /// Whether `now` can come after this.
    ///
    /// A TPM writes its clock down now and then; after an unclean stop it goes on from what it wrote, and says that this is
    /// not `safe`. So an earlier clock is believed after a reset that says so, and never without one.
    ///
    /// # Errors
    /// See [`ContinuityRefused`].
    pub fn followed_by(self, now: ClockInfo) -> Result<(), ContinuityRefused> {
        if now.reset_count < self.reset_count {
            return Err(ContinuityRefused::Resets { last: self.reset_count, found: now.reset_count });
        }
        let same_boot = now.reset_count == self.reset_count;
        if same_boot && now.restart_count < self.restart_count {
            return Err(ContinuityRefused::Restarts { last: self.restart_count, found: now.restart_count });
        }
        let unclean = !same_boot && !now.safe;
        if now.clock.saturating_add(OVERTAKEN) < self.clock && !unclean {
            return Err(ContinuityRefused::Clock { last: self.clock, found: now.clock });
        }
        Ok(())
    }

    /// Whether the machine was booted, or its TPM restarted, between the two.
    pub const fn rebooted(self, now: ClockInfo) -> bool {
        now.reset_count != self.reset_count || now.restart_count != self.restart_count
    }
}

impl Explain for ContinuityRefused {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Identity, self.to_string());
        let restored = "was the TPM's state restored from a backup or a snapshot? Retire the runner and enroll it anew";
        match self {
            Self::Resets { last, found } => report("AR-E901").fact("last", last).fact("got", found).hint(restored),
            Self::Restarts { last, found } => report("AR-E902").fact("last", last).fact("got", found).hint(restored),
            Self::Clock { last, found } => report("AR-E903").fact("last", last).fact("got", found).hint(restored),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_clock_go_on_and_never_back() {
        let last = Continuity { clock: 1_000_000, reset_count: 7, restart_count: 2 };
        let clock = |clock, reset_count, restart_count, safe| ClockInfo { clock, reset_count, restart_count, safe };
        let follows = |now| last.followed_by(now);
        for (now, rebooted) in [
            (clock(1_000_000, 7, 2, true), false),
            (clock(1_000_001, 7, 3, true), true),
            (clock(1_000_001, 8, 0, true), true),
            (clock(10, 8, 0, false), true),
            // Overtaken by another of the same minute.
            (clock(940_000, 7, 2, true), false),
        ] {
            assert_eq!((follows(now), last.rebooted(now)), (Ok(()), rebooted), "{now:?}");
        }
        assert_eq!(follows(clock(2_000_000, 6, 9, true)), Err(ContinuityRefused::Resets { last: 7, found: 6 }));
        assert_eq!(follows(clock(2_000_000, 7, 1, true)), Err(ContinuityRefused::Restarts { last: 2, found: 1 }));
        let back = |found| Err(ContinuityRefused::Clock { last: 1_000_000, found });
        assert_eq!(follows(clock(939_999, 7, 2, true)), back(939_999));
        assert_eq!(follows(clock(10, 7, 2, false)), back(10));
        assert_eq!(follows(clock(10, 8, 0, true)), back(10));
    }
}
