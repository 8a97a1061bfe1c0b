//! Processes that stand still, and the three views of one.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use poolscope::analysis::{Options, Silent, read_core, take};
use poolscope::debug::SearchOptions;
use poolscope::snapshot::model::Snapshot;
use std::path::Path;
use std::time::{Duration, Instant};

/// Every chunk, and debug info as this machine has it.
pub fn options() -> Options {
    Options { debug: SearchOptions::from_environment(), with_chunks: true, ..Options::default() }
}

/// Stops all threads of a process, as a shell's Ctrl-Z does: nothing of its memory changes from then on.
pub fn stop(pid: u32) {
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGSTOP).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !threads_are_stopped(pid) {
        assert!(Instant::now() < deadline, "process {pid} does not stop");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn threads_are_stopped(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.flatten().all(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    })
}

/// The snapshot of a process that lives.
pub fn live(pid: u32) -> Snapshot {
    take(pid.cast_signed(), &options(), &Silent).unwrap()
}

/// The snapshot of a core.
pub fn of_core(path: &Path) -> Snapshot {
    read_core(path, &options(), &Silent).unwrap()
}
