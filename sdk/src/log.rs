use crate::backend;

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Something broke.
    Error,
    /// Something is odd.
    Warn,
    /// Something worth knowing.
    Info,
    /// Something for who writes the plugin.
    Debug,
}

/// Writes a line into the host's log, under the names of the plugin and the request. The host takes 64 KiB from a
/// request by default and drops the rest.
pub fn log(level: Level, message: &str) {
    backend::log(level, message);
}
