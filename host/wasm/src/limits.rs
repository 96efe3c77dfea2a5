//! What plugins may use.

use std::time::Duration;

/// How a [`Runtime`](crate::Runtime) treats its plugins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What each plugin may use.
    pub limits: Limits,
    /// Whether samplers of the tier `full-row`, which see every logit, may be loaded. They cost every token a
    /// copy of its row.
    pub full_row: bool,
}

/// What a plugin may use. A call that wants more ends in
/// [`Fault::Deadline`](minerva_engine::plugin::Fault::Deadline) or
/// [`Fault::Limit`](minerva_engine::plugin::Fault::Limit), and the session is not called again.
///
/// Deadlines are wall time, because that is what a request waits; they are kept to the millisecond. The defaults
/// leave room for a machine that is busy decoding: an honest plugin needs microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `describe`, once at load, the start of the instance included. Default 2 s.
    pub describe: Duration,
    /// `open`, the start of the instance included. Default 500 ms.
    pub open: Duration,
    /// A sampler's `advance`. Default 100 ms.
    pub advance: Duration,
    /// A sampler's `pick`. Default 100 ms.
    pub pick: Duration,
    /// A sampler's `fork`. Default 100 ms.
    pub fork: Duration,
    /// A sampler's `rollback`. Default 100 ms.
    pub rollback: Duration,
    /// A template's `render`, the start of the instance included. Default 2 s.
    pub render: Duration,
    /// A stream processor's `push`. Default 200 ms.
    pub push: Duration,
    /// `close` of a sampler or stream processor. Default 200 ms.
    pub close: Duration,
    /// Linear memory of one instance, all its memories together. Default 64 MiB.
    pub memory_bytes: usize,
    /// Elements of the tables of one instance, all together. Default 20,000.
    pub table_elements: usize,
    /// Core instances that one component may consist of: 4 for Rust, dozens where a language links dynamically.
    /// Default 64.
    pub core_instances: u32,
    /// What one call may pass or return to the host. Default 8 MiB.
    pub output_bytes: usize,
    /// What one session may write to the log. The rest is dropped. Default 64 KiB.
    pub log_bytes: usize,
    /// Token sets that one session may hold. Default 256.
    pub handles: usize,
    /// The size of a component. Default 64 MiB.
    pub component_bytes: u64,
    /// Instances alive at a time, of all plugins. Each reserves 4 GiB of address space, no memory. Default 1,024.
    pub sessions: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            describe: Duration::from_secs(2),
            open: Duration::from_millis(500),
            advance: Duration::from_millis(100),
            pick: Duration::from_millis(100),
            fork: Duration::from_millis(100),
            rollback: Duration::from_millis(100),
            render: Duration::from_secs(2),
            push: Duration::from_millis(200),
            close: Duration::from_millis(200),
            memory_bytes: 64 << 20,
            table_elements: 20_000,
            core_instances: 64,
            output_bytes: 8 << 20,
            log_bytes: 64 << 10,
            handles: 256,
            component_bytes: 64 << 20,
            sessions: 1_024,
        }
    }
}
