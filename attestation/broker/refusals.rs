//! Which refusals are written down: anybody may send what must be refused, and the audit log only grows.
//!
//! A refusal after the quote was verified is the work of a runner. One before that may be anybody's, in the name of a
//! runner or about a lease. Both are recorded up to a number per minute, each counted for itself, with how many went
//! unrecorded since. Those in nobody's name are counted in the operator's log alone.

use attest_evidence::UnixSeconds;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Most refusals recorded per minute and subject: enough to see an attack, too few to fill a disk (a row is about
/// 500 bytes: 40 MB a day).
const MOST_PER_MINUTE: u32 = 60;
const WINDOW_SECONDS: u64 = 60;
/// Most subjects that are remembered. Each is a runner or a lease that the database knows.
const MOST_SUBJECTS: usize = 16 * 1024;

/// Counts refusals of each subject.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<HashMap<String, Window>>);

struct Window {
    began: UnixSeconds,
    recorded: u32,
    unrecorded: u64,
}

/// Whether a refusal is to be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// Yes; so many before it were not.
    Yes { unrecorded_before: u64 },
    /// No: there have been too many.
    No,
}

impl Refusals {
    /// Counts one more refusal of `subject`, which the caller has found in the database, or of nobody's (`None`).
    pub(crate) fn count(&self, subject: Option<&str>, now: UnixSeconds) -> Recorded {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |window: &Window| now.0.abs_diff(window.began.0) >= WINDOW_SECONDS;
        if windows.len() >= MOST_SUBJECTS {
            windows.retain(|_, window| !over(window));
        }
        let subject = subject.unwrap_or_default();
        if windows.len() >= MOST_SUBJECTS && !windows.contains_key(subject) {
            return Recorded::No;
        }
        let window = windows.entry(subject.to_owned()).or_insert(Window { began: now, recorded: 0, unrecorded: 0 });
        if over(window) {
            (window.began, window.recorded) = (now, 0);
        }
        if window.recorded >= MOST_PER_MINUTE {
            window.unrecorded += 1;
            return Recorded::No;
        }
        window.recorded += 1;
        Recorded::Yes { unrecorded_before: std::mem::take(&mut window.unrecorded) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_s_refusals_are_bounded_and_the_rest_is_told() {
        let refusals = Refusals::default();
        let recorded = |subject, at| refusals.count(subject, UnixSeconds(at));
        for _ in 0..MOST_PER_MINUTE {
            assert_eq!(recorded(Some("one"), 100), Recorded::Yes { unrecorded_before: 0 });
        }
        for _ in 0..7 {
            assert_eq!(recorded(Some("one"), 159), Recorded::No);
        }
        assert_eq!(recorded(Some("other"), 159), Recorded::Yes { unrecorded_before: 0 });
        assert_eq!(recorded(None, 159), Recorded::Yes { unrecorded_before: 0 });
        assert_eq!(recorded(Some("one"), 160), Recorded::Yes { unrecorded_before: 7 });
        assert_eq!(recorded(Some("one"), 160), Recorded::Yes { unrecorded_before: 0 });
    }

    #[test]
    fn subjects_are_bounded() {
        let refusals = Refusals::default();
        for subject in 0..MOST_SUBJECTS {
            refusals.count(Some(&subject.to_string()), UnixSeconds(100));
        }
        assert_eq!(refusals.count(Some("one more"), UnixSeconds(100)), Recorded::No);
        assert_eq!(refusals.count(Some("one more"), UnixSeconds(200)), Recorded::Yes { unrecorded_before: 0 });
    }
}
