//! The log of this program, for its operator.

/// Sends the program's own log to standard error: what `ATTEST_LOG` says, or `default`.
pub fn start_log(default: &'static str) {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("ATTEST_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default)),
        )
        .with_ansi(false)
        .init();
}
