//! How far the body of a request is, and for how long nothing has moved.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How far one request is.
#[derive(Debug)]
pub(crate) struct Progress {
    sent: AtomicU64,
    broken: AtomicBool,
    turn: Mutex<Turn>,
}

/// For whom everybody waits.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// For the step: more of the body is to come.
    Step,
    /// For the server, since then: to take more, or to answer.
    Server(Instant),
}

impl Progress {
    /// Of a request that begins.
    pub(crate) fn new() -> Self {
        Self { sent: AtomicU64::new(0), broken: AtomicBool::new(false), turn: Mutex::new(Turn::Server(Instant::now())) }
    }

    /// Bytes of the body that went out.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether the body broke off.
    pub(crate) fn broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// The body broke off.
    pub(crate) fn breaks(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// The request goes out: it is the server's turn.
    pub(crate) fn begins(&self) {
        self.set(Turn::Server(Instant::now()));
    }

    /// That many bytes go out, or the body ends: now it is the server's turn.
    pub(crate) fn goes_out(&self, bytes: usize) {
        self.sent.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.set(Turn::Server(Instant::now()));
    }

    /// Nothing is there to go out.
    pub(crate) fn waits_for_step(&self) {
        self.set(Turn::Step);
    }

    /// Waits until the server was silent for `limit`. It may take up to twice as long where it was the step's turn
    /// in between.
    pub(crate) async fn silence(&self, limit: Duration) {
        loop {
            let now = Instant::now();
            let turn = *self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            let until = match turn {
                Turn::Step => now + limit,
                Turn::Server(since) => since + limit,
            };
            if until <= now {
                return;
            }
            sleep_until(until).await;
        }
    }

    fn set(&self, turn: Turn) {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = turn;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_has_its_time_from_the_last_byte_and_a_step_has_all() {
        let limit = Duration::from_secs(120);
        let progress = Progress::new();
        let began = Instant::now();
        let moves = async {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(100)).await;
                progress.goes_out(10);
            }
            progress.waits_for_step();
            tokio::time::sleep(Duration::from_secs(1000)).await;
            progress.goes_out(0);
        };
        tokio::join!(progress.silence(limit), moves);
        let waited = began.elapsed();
        assert!((Duration::from_secs(1420)..Duration::from_secs(1541)).contains(&waited), "{waited:?}");
        assert_eq!(progress.sent(), 30);
    }
}
