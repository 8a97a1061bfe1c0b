//! How much memory a process can get before somebody is killed for it: its control group's limit, and the machine's.

use std::path::{Path, PathBuf};

/// Bytes of memory that this process has; 0 if that cannot be told.
pub fn own_resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * super::page_size()
}

/// Where the kernel shows control groups.
const CGROUPS: &str = "/sys/fs/cgroup";

/// A control group that limits memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupLimit {
    /// Its path below the root of its hierarchy.
    pub path: String,
    /// Bytes that it may have.
    pub limit: u64,
    /// Bytes that it has.
    pub usage: Option<u64>,
}

/// What limits a process's memory. What cannot be read is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryLimits {
    /// Bytes of memory of the machine.
    pub machine_total: Option<u64>,
    /// Bytes that can be had without swapping (`MemAvailable` of proc(5)).
    pub machine_available: Option<u64>,
    /// Of its control group and those above it, the one that allows least.
    pub cgroup: Option<CgroupLimit>,
}

impl MemoryLimits {
    /// The limits of the process `pid`.
    pub fn of(pid: i32) -> MemoryLimits {
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let (total, available) = (meminfo(&memory, "MemTotal:"), meminfo(&memory, "MemAvailable:"));
        // A group may "allow" more than there is: then it is the machine that limits.
        let cgroup =
            cgroup_limit(Path::new(CGROUPS), &groups).filter(|group| total.is_none_or(|total| group.limit < total));
        MemoryLimits { machine_total: total, machine_available: available, cgroup }
    }
}

fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// A hierarchy with its two files: version 2, and the controller of version 1 (Linux
/// `Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/memory.rst`).
fn hierarchy(line: &str) -> Option<(&str, &'static str, &'static str, &'static str)> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    match controllers {
        "" => Some((path, "", "memory.max", "memory.current")),
        names if names.split(',').any(|name| name == "memory") => {
            Some((path, "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"))
        }
        _ => None,
    }
}

fn cgroup_limit(root: &Path, groups: &str) -> Option<CgroupLimit> {
    let limits = groups.lines().filter_map(hierarchy).flat_map(|(path, below, limit_file, usage_file)| {
        let base = root.join(below);
        let own = PathBuf::from(path.trim_start_matches('/'));
        let levels: Vec<PathBuf> = own.ancestors().map(Path::to_path_buf).collect();
        levels.into_iter().filter_map(move |level| {
            let read = |file: &str| std::fs::read_to_string(base.join(&level).join(file)).ok()?.trim().parse().ok();
            let limit: u64 = read(limit_file)?;
            Some(CgroupLimit { path: format!("/{}", level.display()), limit, usage: read(usage_file) })
        })
    });
    limits.min_by_key(|group| group.limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_above_that_allows_less_is_the_limit() {
        let folder = std::env::temp_dir().join(format!("poolscope-cgroup-{}", std::process::id()));
        let inner = folder.join("system.slice/nginx.service");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(inner.join("memory.max"), "max\n").unwrap();
        std::fs::write(inner.parent().unwrap().join("memory.max"), "2097152\n").unwrap();
        std::fs::write(inner.parent().unwrap().join("memory.current"), "4096\n").unwrap();
        let found = cgroup_limit(&folder, "0::/system.slice/nginx.service\n");
        std::fs::remove_dir_all(&folder).unwrap();
        let expected = CgroupLimit { path: "/system.slice".into(), limit: 2_097_152, usage: Some(4096) };
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn the_memory_controller_of_version_1_is_found_among_others() {
        assert_eq!(hierarchy("5:cpu,cpuacct:/a"), None);
        assert_eq!(hierarchy("9:memory:/a:b").map(|(path, below, ..)| (path, below)), Some(("/a:b", "memory")));
    }

    #[test]
    fn this_machine_has_memory() {
        let limits = MemoryLimits::of(std::process::id() as i32);
        assert!(limits.machine_total > Some(0) && limits.machine_available <= limits.machine_total);
    }
}
