//! The process of one model, which `--isolate` starts. No user types it.

use anyhow::{Context as _, Result};
use tracing::level_filters::LevelFilter;

/// Runs the model for the parent, logging up to a level.
pub(crate) fn run(level: Option<&str>) -> Result<()> {
    let level: LevelFilter = level.and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::WARN);
    // The parent adds the time, and filters.
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .without_time()
        .with_writer(std::io::stderr)
        .init();
    #[cfg(unix)]
    ignore_what_is_for_the_parent()?;
    minerva::isolate::run().context("the process of a model")
}

/// A service manager tells all processes of a service to end. The parent drains first, and then kills this one.
#[cfg(unix)]
fn ignore_what_is_for_the_parent() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        // What was caught once is never again answered by the end of the process, whether somebody listens or not.
        for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
            drop(signal(kind)?);
        }
        Ok(())
    })
}
