//! What tells a process to end.

use tokio::signal::unix::{SignalKind, signal};

/// SIGINT or SIGTERM: Ctrl-C, whoever stops the job, systemd.
pub async fn told_to_end() {
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}
