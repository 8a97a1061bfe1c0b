//! What the kernel says of a process.

use std::time::{Duration, Instant};

pub(crate) use crate::campaign::subject::fault_of_threads;

/// A field of `/proc/PID/task/TID/status`; empty if the thread is gone.
pub fn status(pid: u32, tid: u32, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim_start_matches(':').trim().to_owned()
}

/// The ids of its threads; none if it is gone.
pub fn threads(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Its name.
pub fn name(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// Every thread is untraced, and neither in a tracing stop nor in a group-stop. The kernel lets a tracee go when its tracer
/// is reaped, which a caller that has waited for the tracer has seen.
pub fn assert_runs(pid: u32) {
    assert_eq!(fault_of_threads(pid), None);
}

/// Waits until all threads are in one of `states`.
pub fn wait_for_state(pid: u32, states: &[char]) {
    wait_until(&format!("threads of {pid} in a state of {states:?}"), || {
        threads(pid).iter().all(|tid| status(pid, *tid, "State").starts_with(states))
    });
}

/// Waits for `what` for as long as a busy machine may need.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !done() {
        assert!(Instant::now() < deadline, "never seen: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
