//! Being a small guest: on a machine that is busy and short of memory, whatever it does is done behind everybody else.

use crate::target::urgency;
use nix::libc;

/// How far behind others: the half of `nice`'s range that still gets something done where all processors are busy.
const NICE: libc::c_int = 10;

/// Allocations from this size on get a mapping of their own, in bytes, and give it back when they are freed.
const MAPPED: libc::c_int = 64 << 10;

/// Makes this process a small guest.
pub(super) fn begin() {
    keep_memory_small();
    give_way();
}

/// glibc raises its mmap threshold up to 32 MiB as large allocations are freed, and keeps from then on what they took: lists of
/// millions of chunks, of which only one is to be there at a time.
fn keep_memory_small() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt only sets parameters of the allocator; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
        libc::mallopt(libc::M_TRIM_THRESHOLD, MAPPED);
    }
}

/// Gives way to others, but for the stops of a target, in which every thread that works has real-time priority. Who may not
/// have that stays as it is: a stop would take several times as long.
fn give_way() {
    // SAFETY: 0 is this process; nothing is written to memory. An error looks like a value that is less than ours.
    let is_nicer = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) } >= NICE;
    if !is_nicer && urgency::is_permitted() {
        // SAFETY: as above.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    }
}

/// What the kernel lets this process have beyond the limit: memory that is set aside and not touched counts there, too.
const UNTOUCHED: u64 = 128 << 20;

/// Has the kernel refuse what goes far beyond the limit: whatever was foreseen wrongly, the machine does not run short of
/// memory because of us. The process that is looked at runs on if this one ends.
pub(super) fn limit_memory(limit: Option<u64>) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Some(limit) = limit.map(|limit| limit.saturating_add(UNTOUCHED)) else { return };
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_DATA) {
        let limit = limit.min(soft).min(hard);
        // That it is not taken makes nothing worse.
        let _ = setrlimit(Resource::RLIMIT_DATA, limit, hard);
    }
}
