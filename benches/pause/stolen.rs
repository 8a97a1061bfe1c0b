//! What a hypervisor takes: a virtual machine's processor can stand still itself, in the middle of a stop too.

use std::fs;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

/// Processor time that the hypervisor has taken from all processors since the start of the machine; zero where it does not say.
pub(crate) fn stolen() -> Duration {
    let ticks = ticks().unwrap_or(0) as f64;
    let in_a_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64;
    Duration::from_secs_f64(ticks / in_a_second)
}

/// The eighth figure of the first line of `/proc/stat` (`proc_stat(5)`).
fn ticks() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().next()?.split_whitespace().nth(8)?.parse().ok()
}
