//! How many threads are worth starting.

/// The physical cores that this process may use: the processors of its affinity mask, two hyperthreads of a core
/// counted once, and no more than its control group's quota.
///
/// Hyperthreads share the units that a matrix product keeps busy, and a thread more than there are cores makes all
/// others wait for it at every step.
#[must_use]
pub fn physical_cores() -> u32 {
    let available = std::thread::available_parallelism().map_or(1, |count| count.get());
    let cores = distinct_cores().unwrap_or(available);
    u32::try_from(available.min(cores).max(1)).unwrap_or(1)
}

/// The cores behind the processors that this process may run on, where the system tells.
#[cfg(target_os = "linux")]
fn distinct_cores() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let cores: Option<std::collections::HashSet<String>> = processors(allowed.trim())?
        .into_iter()
        .map(|processor| {
            let siblings = format!("/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list");
            std::fs::read_to_string(siblings).ok()
        })
        .collect();
    cores.map(|cores| cores.len()).filter(|&count| count > 0)
}

#[cfg(not(target_os = "linux"))]
fn distinct_cores() -> Option<usize> {
    None
}

/// The numbers in a list as the kernel writes it: `0-3,8,10-11`.
#[cfg(target_os = "linux")]
fn processors(list: &str) -> Option<Vec<u32>> {
    let mut found = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        found.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
    }
    Some(found)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_list_of_processors_is_read() {
        assert_eq!(processors("0-3,8,10-11"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(processors("5"), Some(vec![5]));
        assert_eq!(processors("a"), None);
    }

    #[test]
    fn there_is_a_core() {
        assert!(physical_cores() >= 1);
    }
}
