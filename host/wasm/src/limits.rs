//! What plugins may use.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// How a [`Runtime`](crate::Runtime) treats its plugins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What each plugin may use.
    pub limits: Limits,
    /// What some plugins, by name, may use instead. A name covers its versions (`min-p` also `min-p@2`).
    pub limits_of: BTreeMap<String, Vec<Setting>>,
    /// A folder for compiled components, which must be this user's alone; it is made where it is not there. `None`,
    /// the default, keeps nothing.
    pub cache: Option<PathBuf>,
    /// Most bytes in that folder; what was not used for longest is forgotten. Default 1 GiB.
    pub cache_bytes: u64,
    /// Whether samplers of the tier `full-row`, which see every logit, may be loaded. They cost every token a
    /// copy of its row.
    pub full_row: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            limits_of: BTreeMap::new(),
            cache: None,
            cache_bytes: 1 << 30,
            full_row: false,
        }
    }
}

impl Options {
    /// Sets a limit as an operator writes it: `memory=32MiB` for all plugins, `min-p:pick=5ms` for one.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it, and what would be right.
    pub fn set_limit(&mut self, text: &str) -> Result<(), String> {
        match text.split_once(':') {
            None => {
                let setting: Setting = text.parse()?;
                setting.apply(&mut self.limits);
            }
            Some((plugin, text)) => {
                let setting: Setting = text.parse()?;
                if setting.row.of_all {
                    return Err(format!("'{}' is a limit of all plugins together", setting.row.name));
                }
                self.limits_of.entry(plugin.to_owned()).or_default().push(setting);
            }
        }
        Ok(())
    }

    /// What a plugin may use.
    #[must_use]
    pub fn limits_for(&self, name: &str) -> Limits {
        let mut limits = self.limits.clone();
        let base = name.split('@').next().unwrap_or(name);
        let mut names = vec![base, name];
        names.dedup();
        for setting in names.iter().filter_map(|name| self.limits_of.get(*name)).flatten() {
            setting.apply(&mut limits);
        }
        limits
    }

    /// The most that any plugin may use.
    pub(crate) fn limits_max(&self) -> Limits {
        let mut max = self.limits.clone();
        for limits in self.limits_of.keys().map(|name| self.limits_for(name)) {
            max.memory_bytes = max.memory_bytes.max(limits.memory_bytes);
            max.table_elements = max.table_elements.max(limits.table_elements);
            max.core_instances = max.core_instances.max(limits.core_instances);
        }
        max
    }
}

/// One limit, set to a value.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    row: &'static Row,
    value: u64,
}

impl PartialEq for Setting {
    fn eq(&self, other: &Self) -> bool {
        (self.row.name, self.value) == (other.row.name, other.value)
    }
}

impl Eq for Setting {}

impl Setting {
    fn apply(&self, limits: &mut Limits) {
        (self.row.set)(limits, self.value);
    }
}

impl std::str::FromStr for Setting {
    type Err = String;

    /// Reads `pick=5ms`, `memory=32MiB`, `handles=64`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| format!("'{text}' is not LIMIT=VALUE, for example pick=5ms"))?;
        let wanted = name.replace('-', "_");
        let row = ROWS.iter().find(|row| row.name == wanted).ok_or_else(|| {
            let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
            format!("there is no limit '{name}'; there are {}", names.join(", "))
        })?;
        let example = match row.unit {
            Unit::Milliseconds => "5ms or 2s",
            Unit::Bytes => "65536, 64KiB or 32MiB",
            Unit::Count => "64",
        };
        let wrong = || format!("'{value}' is not a value of '{}' such as {example}", row.name);
        let value = row.unit.read(value).filter(|value| (1..=row.max).contains(value)).ok_or_else(wrong)?;
        Ok(Self { row, value })
    }
}

/// A limit as operators see it.
#[derive(Debug)]
struct Row {
    /// The field, without its unit.
    name: &'static str,
    unit: Unit,
    /// The largest value that makes sense.
    max: u64,
    /// One number for all plugins together.
    of_all: bool,
    get: fn(&Limits) -> u64,
    set: fn(&mut Limits, u64),
}

#[derive(Clone, Copy, Debug)]
enum Unit {
    Milliseconds,
    Bytes,
    Count,
}

impl Unit {
    fn read(self, text: &str) -> Option<u64> {
        let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(at);
        let factor = match (self, unit) {
            (Self::Milliseconds, "ms") | (Self::Bytes | Self::Count, "") => 1,
            (Self::Milliseconds, "s") => 1_000,
            (Self::Bytes, "KiB") => 1 << 10,
            (Self::Bytes, "MiB") => 1 << 20,
            (Self::Bytes, "GiB") => 1 << 30,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(factor)
    }
}

const DAY_MS: u64 = 86_400_000;

macro_rules! deadline {
    ($field:ident) => {
        Row {
            name: stringify!($field),
            unit: Unit::Milliseconds,
            max: DAY_MS,
            of_all: false,
            get: |limits| u64::try_from(limits.$field.as_millis()).unwrap_or(u64::MAX),
            set: |limits, value| limits.$field = Duration::from_millis(value),
        }
    };
}

macro_rules! amount {
    ($name:literal, $unit:ident, $max:expr, $field:ident, $of_all:literal) => {
        Row {
            name: $name,
            unit: Unit::$unit,
            max: $max,
            of_all: $of_all,
            get: |limits| limits.$field as u64,
            // The row's maximum keeps it in range.
            set: |limits, value| limits.$field = value.try_into().unwrap_or(limits.$field),
        }
    };
}

/// Every limit.
const ROWS: &[Row] = &[
    deadline!(compile),
    deadline!(describe),
    deadline!(open),
    deadline!(advance),
    deadline!(pick),
    deadline!(fork),
    deadline!(rollback),
    deadline!(render),
    deadline!(push),
    deadline!(close),
    amount!("memory", Bytes, 4 << 30, memory_bytes, false),
    amount!("table_elements", Count, 10_000_000, table_elements, false),
    amount!("core_instances", Count, 1_000, core_instances, false),
    amount!("output", Bytes, 1 << 30, output_bytes, false),
    amount!("log", Bytes, 1 << 30, log_bytes, false),
    amount!("handles", Count, 1_000_000, handles, false),
    amount!("grammars", Count, 1_000, grammars, false),
    amount!("backtrack", Count, 4_096, backtrack, false),
    amount!("backtracks", Count, 1_000_000, backtracks, false),
    amount!("store", Bytes, 1 << 30, store_bytes, false),
    amount!("store_keys", Count, 1_000_000, store_keys, false),
    amount!("store_value", Bytes, 64 << 20, store_value_bytes, false),
    amount!("component", Bytes, 1 << 30, component_bytes, false),
    amount!("sessions", Count, 10_000, sessions, false),
    amount!("sessions_of_all", Count, 10_000, sessions_of_all, true),
];

/// What a plugin may use. A call that wants more ends in
/// [`Fault::Deadline`](minerva_engine::plugin::Fault::Deadline) or
/// [`Fault::Limit`](minerva_engine::plugin::Fault::Limit), and the session is not called again.
///
/// Deadlines are wall time, because that is what a request waits; they are kept to the millisecond. The defaults
/// leave room for a machine that is busy decoding: an honest plugin needs microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Compiling it, where it is not in the cache. Default 2 min.
    pub compile: Duration,
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
    /// Token sets and grammars that the sessions of one instance may hold. Default 256.
    pub handles: usize,
    /// Grammars among them; each may take 10 MB outside of the instance's memory, and most take little. Default 16.
    pub grammars: usize,
    /// Tokens that a sampler may hold and take back at a time: the largest `backtrack-max` that is loaded. Default 256.
    pub backtrack: u32,
    /// How often it may take tokens back in one answer. Default 256.
    pub backtracks: u32,
    /// What a plugin may remember, keys, values and 64 bytes for each entry. Default 1 MiB.
    pub store_bytes: usize,
    /// Keys that it may remember. Default 1,024.
    pub store_keys: usize,
    /// The longest value that it may remember. Default 64 KiB.
    pub store_value_bytes: usize,
    /// The size of a component. Default 64 MiB.
    pub component_bytes: u64,
    /// Instances of one plugin alive at a time. Default 1,024.
    pub sessions: u32,
    /// Instances alive at a time, of all plugins. Each reserves 4 GiB of address space, no memory. Default 1,024.
    pub sessions_of_all: u32,
}

impl Limits {
    /// Every limit by its name, the unit in the name: `pick_ms`, `memory_bytes`, `handles`.
    #[must_use]
    pub fn listed(&self) -> Vec<(String, u64)> {
        let listed = |row: &Row| {
            let unit = match row.unit {
                Unit::Milliseconds => "_ms",
                Unit::Bytes => "_bytes",
                Unit::Count => "",
            };
            (format!("{}{unit}", row.name), (row.get)(self))
        };
        ROWS.iter().filter(|row| !row.of_all).map(listed).collect()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            compile: Duration::from_secs(120),
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
            grammars: 16,
            backtrack: 256,
            backtracks: 256,
            store_bytes: 1 << 20,
            store_keys: 1_024,
            store_value_bytes: 64 << 10,
            component_bytes: 64 << 20,
            sessions: 1_024,
            sessions_of_all: 1_024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_set_for_all_and_for_one() {
        let mut options = Options::default();
        for text in ["memory=32MiB", "min-p:pick=5ms", "min-p@2:pick=7ms", "min-p:sessions=3", "close=2s"] {
            options.set_limit(text).unwrap();
        }
        let milliseconds = Duration::from_millis;
        let [min_p, second, other] = ["min-p", "min-p@2", "redact"].map(|name| options.limits_for(name));
        assert_eq!(
            (min_p.pick, second.pick, other.pick),
            (milliseconds(5), milliseconds(7), milliseconds(100))
        );
        assert_eq!((min_p.sessions, second.sessions, other.sessions), (3, 3, 1_024));
        assert!([&min_p, &second, &other].iter().all(|limits| limits.memory_bytes == 32 << 20));
        assert_eq!(other.close, milliseconds(2_000));
        options.set_limit("big:memory=1GiB").unwrap();
        assert_eq!(options.limits_max().memory_bytes, 1 << 30);
        let listed = min_p.listed();
        assert!(listed.contains(&("pick_ms".to_owned(), 5)) && listed.contains(&("handles".to_owned(), 256)));
    }

    #[test]
    fn every_limit_can_be_set_and_is_listed() {
        for row in ROWS {
            let mut limits = Limits::default();
            (row.set)(&mut limits, 3);
            assert_eq!((row.get)(&limits), 3, "{}", row.name);
            (row.set)(&mut limits, row.max);
            assert_eq!((row.get)(&limits), row.max, "{}", row.name);
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            ("pick", "'pick' is not LIMIT=VALUE"),
            ("pic=5ms", "there is no limit 'pic'; there are compile, describe, open"),
            ("pick=5", "'5' is not a value of 'pick' such as 5ms or 2s"),
            ("pick=0ms", "'0ms' is not a value of 'pick'"),
            ("memory=32MB", "'32MB' is not a value of 'memory' such as 65536, 64KiB or 32MiB"),
            ("memory=99999999GiB", "'99999999GiB' is not a value"),
            ("handles=many", "'many' is not a value of 'handles' such as 64"),
            ("min-p:sessions-of-all=3", "'sessions_of_all' is a limit of all plugins together"),
        ] {
            let error = Options::default().set_limit(text).unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
