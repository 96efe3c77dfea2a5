//! The memory of this machine, as far as this process may have it.

/// Memory of the host, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostMemory {
    /// All that this process may ever have: the machine's, or less where a control group says so.
    pub total: u64,
    /// What it may have now without pushing anybody out.
    pub free: u64,
    /// Whether a control group, as containers have one, allows less than there is.
    pub is_limited: bool,
}

/// The memory of this machine, where the system tells.
#[must_use]
pub fn host_memory() -> Option<HostMemory> {
    let machine = of_machine()?;
    let limits: Vec<Limit> = groups().iter().filter_map(|folder| Limit::read(folder)).collect();
    Some(within(machine, &limits))
}

/// What a control group allows, and how much of it is used.
#[derive(Clone, Copy, Debug)]
struct Limit {
    most: u64,
    used: u64,
}

fn within(machine: HostMemory, limits: &[Limit]) -> HostMemory {
    limits.iter().fold(machine, |memory, limit| HostMemory {
        total: memory.total.min(limit.most),
        free: memory.free.min(limit.most.saturating_sub(limit.used)),
        is_limited: memory.is_limited || limit.most < machine.total,
    })
}

#[cfg(target_os = "linux")]
fn of_machine() -> Option<HostMemory> {
    meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

/// ggml asks every other system for its total, and knows of no limits.
#[cfg(not(target_os = "linux"))]
fn of_machine() -> Option<HostMemory> {
    let devices = crate::devices().ok()?;
    let cpu = devices
        .into_iter()
        .find(|device| device.kind == crate::DeviceKind::Cpu && device.memory_total > 0)?;
    Some(HostMemory { total: cpu.memory_total, free: cpu.memory_free, is_limited: false })
}

#[cfg(target_os = "linux")]
fn meminfo(text: &str) -> Option<HostMemory> {
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    };
    let (total, free) = (bytes("MemTotal:")?, bytes("MemAvailable:")?);
    Some(HostMemory { total, free, is_limited: false })
}

/// The folders of the control groups that this process is in, innermost first: each of them limits it.
#[cfg(target_os = "linux")]
fn groups() -> Vec<std::path::PathBuf> {
    let Ok(text) = std::fs::read_to_string("/proc/self/cgroup") else { return Vec::new() };
    let mut folders = Vec::new();
    for line in text.lines() {
        // `0::/a/b` in version 2, `7:memory:/a/b` in version 1.
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next(), parts.next(), parts.next().unwrap_or("/"));
        let root = match (number, controllers) {
            (Some("0"), Some("")) => "/sys/fs/cgroup",
            (_, Some(names)) if names.split(',').any(|name| name == "memory") => "/sys/fs/cgroup/memory",
            _ => continue,
        };
        // In a container the path can be one of the host's, that is not to be seen: then only the root is.
        let path = std::path::Path::new(path.trim_start_matches('/'));
        folders.extend(path.ancestors().map(|path| std::path::Path::new(root).join(path)));
    }
    folders
}

#[cfg(not(target_os = "linux"))]
fn groups() -> Vec<std::path::PathBuf> {
    Vec::new()
}

impl Limit {
    /// The limit of a group, where it has one.
    fn read(folder: &std::path::Path) -> Option<Self> {
        let number = |names: [&str; 2]| {
            let text = names.iter().find_map(|name| std::fs::read_to_string(folder.join(name)).ok())?;
            text.trim().parse::<u64>().ok()
        };
        let most = number(["memory.max", "memory.limit_in_bytes"])?;
        let used = number(["memory.current", "memory.usage_in_bytes"]).unwrap_or(0);
        // What is used includes the cache of files, which goes when room is needed.
        let cached = std::fs::read_to_string(folder.join("memory.stat")).ok().and_then(|text| cached(&text));
        Some(Self { most, used: used.saturating_sub(cached.unwrap_or(0)) })
    }
}

/// The bytes of files that are kept in memory, but can go.
fn cached(statistics: &str) -> Option<u64> {
    let bytes = |key: &str| {
        let line = statistics.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().parse::<u64>().ok()
    };
    bytes("total_inactive_file ").or_else(|| bytes("inactive_file "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: HostMemory = HostMemory { total: 64 << 30, free: 40 << 30, is_limited: false };

    #[test]
    fn a_control_group_can_allow_less_than_there_is() {
        assert_eq!(within(MACHINE, &[]), MACHINE);
        let group = Limit { most: 8 << 30, used: 3 << 30 };
        let expected = HostMemory { total: 8 << 30, free: 5 << 30, is_limited: true };
        assert_eq!(within(MACHINE, &[group]), expected);
        // One around it that is full, and one that allows more than there is.
        let full = Limit { most: 9 << 30, used: 10 << 30 };
        let wide = Limit { most: 1 << 60, used: 0 };
        assert_eq!(within(MACHINE, &[group, full, wide]).free, 0);
        assert!(!within(MACHINE, &[wide]).is_limited);
        assert_eq!(cached("anon 5\ninactive_file 4096\nactive_file 7\n"), Some(4096));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernels_list_is_read() {
        let text = "MemTotal:       16 kB\nMemFree:         2 kB\nMemAvailable:    8 kB\n";
        let expected = HostMemory { total: 16 << 10, free: 8 << 10, is_limited: false };
        assert_eq!(meminfo(text), Some(expected));
        assert_eq!(meminfo("MemTotal: many kB"), None);
        let memory = host_memory().expect("Linux tells");
        assert!(memory.free <= memory.total && memory.total > 1 << 26, "{memory:?}");
    }
}
