//! `minerva:plugin/host`.

use std::sync::atomic::Ordering;

use tracing::Level;
use wasmtime::Result;

use crate::bindings::minerva::plugin::host::{self, Level as GuestLevel};
use crate::state::{Speaker, State};

impl host::Host for State {
    fn log(&mut self, at: GuestLevel, message: String) -> Result<()> {
        self.quota.work(message.len())?;
        let level = match at {
            GuestLevel::Error => Level::ERROR,
            GuestLevel::Warn => Level::WARN,
            GuestLevel::Info => Level::INFO,
            GuestLevel::Debug => Level::DEBUG,
        };
        log(&self.speaker, level, &message);
        Ok(())
    }
}

/// The `tracing` target of all that plugins say.
const TARGET: &str = "minerva::plugin";

/// Logs a line of a plugin's, as far as its allowance goes. What a level filters out costs nothing of it.
pub(crate) fn log(speaker: &Speaker, level: Level, message: &str) {
    let Speaker { plugin, version, request, log_bytes_left } = speaker;
    if message.is_empty() {
        return;
    }
    // A line costs at least something, or a flood of short ones would be free.
    let cost = i64::try_from(message.len()).unwrap_or(i64::MAX).saturating_add(64);
    let left = log_bytes_left.load(Ordering::Relaxed);
    if cost > left {
        // Said once: a session's calls come one after another.
        if left >= 0 {
            log_bytes_left.store(-1, Ordering::Relaxed);
            tracing::warn!(
                target: TARGET,
                %plugin, %version, %request,
                "plugin '{plugin}' {version} has logged all that a request may; the rest is dropped"
            );
        }
        return;
    }
    log_bytes_left.store(left - cost, Ordering::Relaxed);
    // A line is a line: a plugin cannot write what looks like somebody else's.
    let message = &message.replace(char::is_control, " ");
    match level {
        Level::ERROR => tracing::error!(target: TARGET, %plugin, %version, %request, "{message}"),
        Level::WARN => tracing::warn!(target: TARGET, %plugin, %version, %request, "{message}"),
        Level::INFO => tracing::info!(target: TARGET, %plugin, %version, %request, "{message}"),
        _ => tracing::debug!(target: TARGET, %plugin, %version, %request, "{message}"),
    }
}
