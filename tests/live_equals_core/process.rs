//! Processes that stand still, and the three views of one.

use poolscope::analysis::{Options, Silent, read_core, take};
use poolscope::debug::SearchOptions;
use poolscope::snapshot::model::Snapshot;
use std::path::Path;

/// Every chunk, and debug info as this machine has it.
pub fn options() -> Options {
    Options { debug: SearchOptions::from_environment(), with_chunks: true, ..Options::default() }
}

/// Stops a process: nothing of its memory changes from then on.
pub fn stop(pid: u32) {
    poolscope_fixtures::stop_at_rest(pid).unwrap();
}

/// The snapshot of a process that lives.
pub fn live(pid: u32) -> Snapshot {
    take(pid.cast_signed(), &options(), &Silent).unwrap()
}

/// The snapshot of a core.
pub fn of_core(path: &Path) -> Snapshot {
    read_core(path, &options(), &Silent).unwrap()
}
