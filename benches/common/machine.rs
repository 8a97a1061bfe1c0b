//! What the figures were measured on.

use std::{fmt, fs};

use poolscope::snapshot::human::human_bytes;

/// The facts of a machine that matter here.
pub(crate) struct Machine {
    pub(crate) processors: usize,
    pub(crate) kernel: String,
    /// Bytes.
    pub(crate) memory: u64,
    /// Over one minute, five and fifteen, as `/proc/loadavg` gives it.
    pub(crate) load: String,
}

impl Machine {
    /// Looks now. What cannot be read is empty or 0.
    pub(crate) fn look() -> Machine {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Machine {
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            memory: field("/proc/meminfo", "MemTotal:").unwrap_or(0),
            load: load.split_whitespace().take(3).collect::<Vec<_>>().join(" "),
        }
    }
}

impl fmt::Display for Machine {
    /// All but the load.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (memory, architecture) = (human_bytes(self.memory), std::env::consts::ARCH);
        write!(f, "{} processors, {memory} of memory, Linux {} {architecture}", self.processors, self.kernel)
    }
}

/// Value, in bytes, of a line `name   123 kB`, as `/proc/meminfo` and `/proc/PID/status` have them.
pub(crate) fn field(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}
