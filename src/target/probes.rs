//! What this machine lets us do, tried out on ourselves.

use super::page_size;
use super::urgency::{Rank, Urgency};
use nix::errno::Errno;
use nix::libc;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use std::fs::File;
use std::hint::black_box;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;

/// Whether the system call `ptrace` can be made at all: some containers' seccomp profiles refuse it whatever it is for.
pub fn may_call_ptrace() -> bool {
    // SAFETY: no process has the pid 0, so that the kernel finds nothing to act on, and neither pointer is used.
    let answer = unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, 0, 0, 0) };
    answer != -1 || Errno::last() == Errno::ESRCH
}

/// Whether memory can be read with `process_vm_readv`, which seccomp profiles may refuse: nobody else refuses us ourselves.
pub fn may_read_vectored() -> bool {
    let source = 7u8;
    let mut copy = [0u8];
    let remote = [RemoteIoVec { base: (&raw const source) as usize, len: 1 }];
    process_vm_readv(Pid::this(), &mut [IoSliceMut::new(&mut copy)], &remote).is_ok() && copy == [source]
}

/// Whether threads of ours may have real-time priority, as they want while a target stands still.
pub fn may_be_urgent() -> bool {
    let probe = || {
        let _urgency = Urgency::begin(Rank::Keeper);
        // SAFETY: 0 is the calling thread; nothing is written.
        matches!(unsafe { libc::sched_getscheduler(0) }, libc::SCHED_RR | libc::SCHED_FIFO)
    };
    std::thread::Builder::new().spawn(probe).ok().and_then(|thread| thread.join().ok()).unwrap_or(false)
}

/// Whether the kernel tracks which pages are written to (soft-dirty bits, Linux `Documentation/admin-guide/mm/soft-dirty.rst`),
/// proven on two pages of our own of which one is written to. Kernels that are built without it say nothing of that.
pub fn tracks_writes() -> bool {
    tracks_own_writes().unwrap_or(false)
}

/// Bit 55 of an entry of `/proc/PID/pagemap` (proc(5)).
const SOFT_DIRTY: u64 = 1 << 55;

/// What clears these bits of all pages of a process, written to its `clear_refs`.
const CLEAR_SOFT_DIRTY: &str = "4";

fn tracks_own_writes() -> std::io::Result<bool> {
    let page = page_size() as usize;
    let mut pages = memmap2::MmapMut::map_anon(2 * page)?;
    let start = pages.as_ptr() as u64;
    pages.iter_mut().step_by(page).for_each(|byte| *byte = 1);
    std::fs::write("/proc/self/clear_refs", CLEAR_SOFT_DIRTY)?;
    if let Some(first) = pages.first_mut() {
        *black_box(first) = 2;
    }
    let mut entries = [0u8; 16];
    File::open("/proc/self/pagemap")?.read_exact_at(&mut entries, start / page_size() * 8)?;
    black_box(&pages);
    let (entries, _) = entries.as_chunks::<8>();
    let dirty: Vec<bool> = entries.iter().map(|entry| u64::from_ne_bytes(*entry) & SOFT_DIRTY != 0).collect();
    Ok(dirty == [true, false])
}

/// The highest resident size that we have had, in bytes.
pub fn own_peak() -> Option<u64> {
    let status = procfs::process::Process::myself().and_then(|own| own.status()).ok()?;
    status.vmhwm.map(|kibibytes| kibibytes * 1024)
}

/// True in a user namespace that is not the machine's first: capabilities there count only for what was made in it.
pub fn in_user_namespace() -> bool {
    // In the first one, every user id is what it is.
    const ALL: [&str; 3] = ["0", "0", "4294967295"];
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !map.split_whitespace().eq(ALL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_leave_nothing_behind() {
        // Each is tried twice: the first must not change what the second sees.
        assert_eq!(tracks_writes(), tracks_writes());
        assert_eq!(may_be_urgent(), may_be_urgent());
        assert_eq!(may_call_ptrace(), may_call_ptrace());
        // SAFETY: 0 is the calling thread; nothing is written.
        assert_eq!(unsafe { libc::sched_getscheduler(0) }, libc::SCHED_OTHER);
    }

    #[test]
    fn who_may_read_others_reads_itself() {
        assert!(may_read_vectored());
        assert!(own_peak() > Some(0));
    }
}
