//! What this machine gives us for the stop.

use super::{Check, State};
use crate::analysis::capture;
use crate::target::probes;

/// Processors, priority, the way memory is read, and whether the kernel tracks writes.
pub(super) fn checks() -> Vec<Check> {
    vec![processors(), priority(), reading(), write_tracking()]
}

fn processors() -> Check {
    const WHAT: &str = "processors";
    match std::thread::available_parallelism().map_or(1, usize::from) {
        1 => Check::new(WHAT, State::Note, "1: it is read by one thread, while the process stands still"),
        count => Check::ok(WHAT, format!("{count}: it is read by {} threads at once", capture::threads())),
    }
}

fn priority() -> Check {
    const WHAT: &str = "priority";
    match probes::may_be_urgent() {
        true => Check::ok(WHAT, "real-time while it stands still"),
        false => Check::new(
            WHAT,
            State::Note,
            "ordinary (CAP_SYS_NICE is missing): on a busy machine a stop takes up to four times as long",
        )
        .way_out("run poolscope with sudo, or in a container with --cap-add=SYS_NICE"),
    }
}

fn reading() -> Check {
    const WHAT: &str = "reading";
    match probes::may_read_vectored() {
        true => Check::ok(WHAT, "process_vm_readv, many pieces at once"),
        false => Check::new(
            WHAT,
            State::Note,
            "through /proc/PID/mem piece by piece, which is slower: a seccomp profile refuses process_vm_readv",
        )
        .way_out("run poolscope on the host, or in a container with --security-opt seccomp=unconfined"),
    }
}

/// Nothing depends on it.
fn write_tracking() -> Check {
    const WHAT: &str = "write tracking";
    match probes::tracks_writes() {
        true => Check::ok(WHAT, "soft-dirty pages, proven on a page of our own; not used"),
        false => Check::ok(WHAT, "this kernel has none (soft-dirty pages); not needed"),
    }
}
