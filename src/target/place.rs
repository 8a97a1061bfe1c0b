//! Where a thread stands, and what that means for the heap.

use super::registers::ThreadRegisters;
use std::fmt::Debug;

/// Where the target stood while it was read, of all threads the least favourable place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopPlace {
    /// Every thread waits in the kernel for events or work: nothing is half done.
    BetweenEvents,
    /// In a system call that malloc and the pools do not make: the heap is whole, an event may be half handled.
    InSystemCall,
    /// In user code, with neither malloc nor a pool function on the stack: the heap is whole, an event may be half handled.
    OutsideMalloc,
    /// In malloc or a pool function, or perhaps so: the heap may be half changed.
    InUserCode,
}

/// Tells by where threads stand whether the heap is whole.
pub trait Judge: Debug + Sync {
    /// Whether a thread with these registers, which stands still, is in the middle of an allocation.
    fn standing(&self, registers: &ThreadRegisters) -> Standing;

    /// True if some thread holds a lock of the heap.
    fn is_locked(&self) -> bool;
}

/// What a thread is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Of no allocation.
    Outside,
    /// Of an allocation, or of freeing.
    Inside,
    /// Of what cannot be told.
    Unknown,
}

/// What standing in a system call (or in none) means as far as its number tells. A stop at its entry and one in its middle mean
/// the same.
pub(super) fn place_of(system_call: Option<i64>, is_main: bool) -> StopPlace {
    match system_call {
        None => StopPlace::InUserCode,
        Some(number) if waits(number, is_main) => StopPlace::BetweenEvents,
        Some(number) if MADE_BY_MALLOC.contains(&number) => StopPlace::InUserCode,
        Some(_) => StopPlace::InSystemCall,
    }
}

/// True if a thread that has nothing to do waits in that system call.
fn waits(number: i64, is_main: bool) -> bool {
    EVENT_WAITS.contains(&number) || !is_main && IDLE_WAITS.contains(&number)
}

/// System calls in which an event loop waits for events, and a master for signals. aarch64 has no `epoll_wait` and `pause`: its
/// libc makes them of the others.
const EVENT_WAITS: &[i64] = &[
    #[cfg(target_arch = "x86_64")]
    nix::libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    nix::libc::SYS_pause,
    nix::libc::SYS_epoll_pwait,
    nix::libc::SYS_epoll_pwait2,
    nix::libc::SYS_rt_sigsuspend,
    nix::libc::SYS_rt_sigtimedwait,
];

/// System calls in which idle threads of a pool wait besides. In an event loop's own thread they are calls that block, in the middle of
/// an event: a handler that resolves a name with `getaddrinfo` (`poll`), sleeps, or waits for a lock. Event loops that wait
/// in `poll` or `select` (`use poll` of nginx, which nobody has where there is epoll) cannot be told from that, and count as that.
const IDLE_WAITS: &[i64] = &[
    #[cfg(target_arch = "x86_64")]
    nix::libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    nix::libc::SYS_select,
    nix::libc::SYS_ppoll,
    nix::libc::SYS_pselect6,
    nix::libc::SYS_clock_nanosleep,
    nix::libc::SYS_nanosleep,
    nix::libc::SYS_restart_syscall,
    nix::libc::SYS_futex,
];

/// System calls that glibc's malloc, free and malloc_trim make with the heap half changed; `prctl` names their mappings
/// where the tunable `glibc.mem.decorate_maps` is set.
const MADE_BY_MALLOC: &[i64] = &[
    nix::libc::SYS_brk,
    nix::libc::SYS_mmap,
    nix::libc::SYS_munmap,
    nix::libc::SYS_mremap,
    nix::libc::SYS_mprotect,
    nix::libc::SYS_madvise,
    nix::libc::SYS_prctl,
];

/// The same, with what the stack tells.
pub(super) fn judged_place(system_call: Option<i64>, is_main: bool, standing: impl FnOnce() -> Standing) -> StopPlace {
    let place = place_of(system_call, is_main);
    // A thread that waits for an arena's lock waits in a futex, too.
    if system_call.is_some_and(|number| number != nix::libc::SYS_futex && waits(number, is_main)) {
        return place;
    }
    match (standing(), system_call) {
        (Standing::Inside, _) => StopPlace::InUserCode,
        (Standing::Unknown, _) => place,
        (Standing::Outside, None) => StopPlace::OutsideMalloc,
        // Whoever mapped memory there, it was not malloc.
        (Standing::Outside, Some(_)) => place.min(StopPlace::InSystemCall),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_call_of_malloc_is_no_place_to_read_the_heap() {
        assert_eq!(place_of(Some(nix::libc::SYS_brk), true), StopPlace::InUserCode);
        assert_eq!(place_of(None, true), StopPlace::InUserCode);
        assert_eq!(place_of(Some(nix::libc::SYS_write), true), StopPlace::InSystemCall);
        assert_eq!(place_of(Some(nix::libc::SYS_epoll_pwait), true), StopPlace::BetweenEvents);
    }

    #[test]
    fn an_event_loop_that_sleeps_is_in_the_middle_of_an_event() {
        for call in [nix::libc::SYS_ppoll, nix::libc::SYS_clock_nanosleep, nix::libc::SYS_futex] {
            assert_eq!(place_of(Some(call), true), StopPlace::InSystemCall);
            assert_eq!(place_of(Some(call), false), StopPlace::BetweenEvents);
        }
    }

    #[test]
    fn the_stack_says_more_than_the_system_call() {
        let place = |call, standing| judged_place(call, false, || standing);
        assert_eq!(place(None, Standing::Outside), StopPlace::OutsideMalloc);
        assert_eq!(place(None, Standing::Unknown), StopPlace::InUserCode);
        assert_eq!(place(Some(nix::libc::SYS_mmap), Standing::Outside), StopPlace::InSystemCall);
        assert_eq!(place(Some(nix::libc::SYS_write), Standing::Inside), StopPlace::InUserCode);
        assert_eq!(place(Some(nix::libc::SYS_futex), Standing::Inside), StopPlace::InUserCode);
        assert_eq!(place(Some(nix::libc::SYS_futex), Standing::Outside), StopPlace::BetweenEvents);
        assert_eq!(place(Some(nix::libc::SYS_epoll_pwait), Standing::Unknown), StopPlace::BetweenEvents);
    }

    #[test]
    fn the_least_favourable_place_counts() {
        assert!(StopPlace::InUserCode > StopPlace::OutsideMalloc);
        assert!(StopPlace::OutsideMalloc > StopPlace::InSystemCall);
        assert!(StopPlace::InSystemCall > StopPlace::BetweenEvents);
    }
}
